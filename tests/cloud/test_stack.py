import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from workbench.cloud import stack
from workbench.cloud.clients import client
from workbench.errors import StackError
from workbench.settings import Endpoints

BROKEN = """
Parameters: {CodeBucket: {Type: String, Default: ""}, CodeKey: {Type: String, Default: ""}}
Resources:
  First: {Type: AWS::SQS::Queue}
  Second: {Type: AWS::SQS::Queue, DependsOn: First, Properties: {RedrivePolicy: "{", MessageRetentionPeriod: -5}}
"""
LEAKY = """
Parameters: {VectorsKey: {Type: String, NoEcho: true}, CodeBucket: {Type: String}, CodeKey: {Type: String}}
Resources:
  Queue: {Type: AWS::SQS::Queue, Properties: {QueueName: !Sub "bad ${VectorsKey}", RedrivePolicy: !Ref VectorsKey}}
"""
LONELY = "Resources: {First: {Type: AWS::SQS::Queue}}"


def _get(url: str) -> tuple[int, dict]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def _invoke(endpoints: Endpoints, function: str, event: dict) -> dict:
    answer = client("lambda", endpoints).invoke(FunctionName=function, Payload=json.dumps(event))
    assert "FunctionError" not in answer, answer["Payload"].read()
    return json.loads(answer["Payload"].read())


def _everything(endpoints: Endpoints) -> dict[str, list]:
    listed = {
        "streams": client("kinesis", endpoints).list_streams()["StreamNames"],
        "tables": client("dynamodb", endpoints).list_tables()["TableNames"],
        "queues": client("sqs", endpoints).list_queues().get("QueueUrls", []),
        "functions": [f["FunctionName"] for f in client("lambda", endpoints).list_functions()["Functions"]],
        "roles": [role["RoleName"] for role in client("iam", endpoints).list_roles()["Roles"]],
        "apis": [api["id"] for api in client("apigateway", endpoints).get_rest_apis()["items"]],
        "logs": [group["logGroupName"] for group in client("logs", endpoints).describe_log_groups()["logGroups"]],
        "mappings": client("lambda", endpoints).list_event_source_mappings()["EventSourceMappings"],
        "buckets": [bucket["Name"] for bucket in client("s3", endpoints).list_buckets()["Buckets"]],
    }
    return {kind: sorted(names) for kind, names in listed.items() if names}


def test_the_stack_works_end_to_end_and_leaves_nothing(embedded_cloud, name, make_code):
    before = _everything(embedded_cloud)
    made = stack.deploy(
        embedded_cloud,
        name,
        code_zip=make_code("one"),
        parameters={"ShardCount": 3, "FunctionSettings": '{"a": 1}'},
    )
    assert made == stack.outputs(embedded_cloud, name)
    assert len(client("kinesis", embedded_cloud).list_shards(StreamName=made.stream_name)["Shards"]) == 3
    sqs = client("sqs", embedded_cloud)
    attributes = sqs.get_queue_attributes(QueueUrl=made.dead_letter_queue_url, AttributeNames=["All"])["Attributes"]
    assert attributes["QueueArn"] == made.dead_letter_queue_arn and attributes["MessageRetentionPeriod"] == str(14 * 86400)
    keys = {
        made.profiles_table: "user_id",
        made.products_table: "product_id",
        made.recommendations_table: "user_id",
        made.checkpoints_table: "shard_id",
    }
    for table, key in keys.items():
        described = client("dynamodb", embedded_cloud).describe_table(TableName=table)["Table"]
        assert [each["AttributeName"] for each in described["KeySchema"]] == [key]
        assert described["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"

    answer = _invoke(embedded_cloud, made.process_function, {"Records": []})
    assert (answer["marker"], answer["settings"]) == ("one", '{"a": 1}')
    assert "workbench-cloud-" in answer["origin"]  # from the zip, not from this repository

    assert _get(f"{made.api_url}?user_id=42") == (200, {"user_id": "42"})
    # MiniStack does not enforce the method's required parameter, so the function has to refuse as well.
    status, body = _get(made.api_url)
    assert status == 400 and "user_id" in body["message"]

    stack.delete(embedded_cloud, name)
    assert _everything(embedded_cloud) == before
    stack.delete(embedded_cloud, name)
    with pytest.raises(StackError, match=f"stack {name} on embedded: it does not exist: deploy it first"):
        stack.outputs(embedded_cloud, name)


def test_deploying_again_changes_nothing(embedded_cloud, name, make_code):
    lines = []
    first = stack.deploy(embedded_cloud, name, code_zip=make_code("one"), progress=lines.append)
    assert f"{name} CREATE_COMPLETE" in lines
    lines.clear()
    assert stack.deploy(embedded_cloud, name, code_zip=make_code("one"), progress=lines.append) == first
    assert lines == []


def test_a_changed_parameter_and_changed_code_reach_the_function(embedded_cloud, name, make_code):
    first = stack.deploy(embedded_cloud, name, code_zip=make_code("one"), parameters={"FunctionSettings": "1"})
    assert _invoke(embedded_cloud, first.process_function, {})["settings"] == "1"
    lines = []
    second = stack.deploy(
        embedded_cloud,
        name,
        code_zip=make_code("two"),
        parameters={"FunctionSettings": "2", "ShardCount": 4},
        progress=lines.append,
    )
    assert second == first and not any("CREATE" in line for line in lines)
    answer = _invoke(embedded_cloud, second.process_function, {})
    assert (answer["settings"], answer["marker"]) == ("2", "two")
    summary = client("kinesis", embedded_cloud).describe_stream_summary(StreamName=second.stream_name)["StreamDescriptionSummary"]
    assert summary["OpenShardCount"] == 4


def test_another_number_of_shards_keeps_the_records(embedded_cloud, name, make_code):
    """In calls that double or halve at most, as UpdateShardCount allows."""
    kinesis = client("kinesis", embedded_cloud)
    made = stack.deploy(embedded_cloud, name, code_zip=make_code("one"), parameters={"ShardCount": 1})
    for number in range(20):
        kinesis.put_record(StreamName=made.stream_name, PartitionKey=f"user-{number}", Data=str(number))
    lines = []
    for count in (5, 1):
        stack.deploy(embedded_cloud, name, code_zip=make_code("one"), parameters={"ShardCount": count}, progress=lines.append)
    steps = [line.removeprefix("Stream RESHARDED from ") for line in lines if "RESHARDED" in line]
    assert steps == [f"{pair} shards" for pair in ("1 to 2", "2 to 4", "4 to 5", "5 to 3", "3 to 2", "2 to 1")]
    read = []
    for shard in kinesis.list_shards(StreamName=made.stream_name)["Shards"]:
        start = {"StreamName": made.stream_name, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        read += kinesis.get_records(ShardIterator=kinesis.get_shard_iterator(**start)["ShardIterator"])["Records"]
    assert sorted(int(record["Data"]) for record in read) == list(range(20))


def test_the_clouds_own_mapping_is_a_parameter(embedded_cloud, name, make_code):
    mappings = client("lambda", embedded_cloud).list_event_source_mappings
    made = stack.deploy(embedded_cloud, name, code_zip=make_code("one"))
    assert mappings(FunctionName=made.process_function)["EventSourceMappings"] == []
    stack.deploy(embedded_cloud, name, code_zip=make_code("one"), parameters={"UseEventSourceMapping": "true", "BatchSize": 7})
    [mapping] = mappings(FunctionName=made.process_function)["EventSourceMappings"]
    assert mapping["EventSourceArn"] == made.stream_arn and mapping["BatchSize"] == 7
    stack.deploy(embedded_cloud, name, code_zip=make_code("one"))
    assert mappings(FunctionName=made.process_function)["EventSourceMappings"] == []


def test_the_first_failing_resource_is_named_and_the_next_deploy_recovers(embedded_cloud, name, make_code, tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text(BROKEN)
    with pytest.raises(StackError, match=f"^stack {name} on embedded: Second CREATE_FAILED: .+") as caught:
        stack.deploy(embedded_cloud, name, code_zip=make_code("one"), template=broken)
    assert "\n" not in str(caught.value)
    assert _status(embedded_cloud, name) == "ROLLBACK_COMPLETE"
    lines = []
    made = stack.deploy(embedded_cloud, name, code_zip=make_code("one"), progress=lines.append)
    assert lines[0] == f"{name} was left ROLLBACK_COMPLETE: it is deleted and made again"
    assert _invoke(embedded_cloud, made.process_function, {})["marker"] == "one"


def test_a_stack_still_being_made_by_a_killed_run_is_waited_for(embedded_cloud, name, make_code, tmp_path):
    template = tmp_path / "lonely.yaml"
    template.write_text(LONELY)
    client("cloudformation", embedded_cloud).create_stack(StackName=name, TemplateBody=template.read_text())
    made = stack.deploy(embedded_cloud, name, code_zip=make_code("one"))  # CREATE_IN_PROGRESS, then updated
    assert _invoke(embedded_cloud, made.process_function, {})["marker"] == "one"


def test_a_stack_only_reviewed_is_made(embedded_cloud, name, make_code):
    client("cloudformation", embedded_cloud).create_change_set(
        StackName=name, ChangeSetName="review", ChangeSetType="CREATE", TemplateBody=LONELY
    )
    assert _status(embedded_cloud, name) == "REVIEW_IN_PROGRESS"
    with pytest.raises(StackError, match=r"has no stream_name, .*: deploy it again"):
        stack.outputs(embedded_cloud, name)
    stack.deploy(embedded_cloud, name, code_zip=make_code("one"))
    assert _status(embedded_cloud, name) == "CREATE_COMPLETE"


def test_a_stack_whose_creation_failed_is_made_again(embedded_cloud, name, make_code):
    client("cloudformation", embedded_cloud).create_stack(StackName=name, TemplateBody=BROKEN, OnFailure="DO_NOTHING")
    stack.deploy(embedded_cloud, name, code_zip=make_code("one"))
    assert _status(embedded_cloud, name) == "CREATE_COMPLETE"


def test_a_stack_that_a_killed_run_was_deleting_is_made_again(embedded_cloud, name, make_code):
    stack.deploy(embedded_cloud, name, code_zip=make_code("one"))
    client("cloudformation", embedded_cloud).delete_stack(StackName=name)
    stack.deploy(embedded_cloud, name, code_zip=make_code("one"))
    assert _status(embedded_cloud, name) == "CREATE_COMPLETE"


def test_other_stacks_artifacts_keep_the_bucket(embedded_cloud, name, make_code):
    other = f"{name}-other"
    stack.deploy(embedded_cloud, name, code_zip=make_code("one"))
    stack.deploy(embedded_cloud, other, code_zip=make_code("one"))
    stack.delete(embedded_cloud, name)
    s3 = client("s3", embedded_cloud)
    bucket = "workbench-artifacts-000000000000-us-east-1"
    assert [entry["Key"].split("/")[0] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [other]
    stack.delete(embedded_cloud, other)
    assert bucket not in [each["Name"] for each in s3.list_buckets()["Buckets"]]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"ShardCount": 0}, "ShardCount"),
        ({"ShardCount": "many"}, "ShardCount"),
        ({"Runtime": "python2.7"}, "Runtime"),
        ({"Shards": 2}, "no parameter Shards to give; it has .*ShardCount"),
        ({"CodeKey": "mine"}, "no parameter CodeKey to give"),
    ],
)
def test_a_bad_parameter_is_one_line_that_names_it(embedded_cloud, name, make_code, parameters, said):
    with pytest.raises(StackError, match=said) as caught:
        stack.deploy(embedded_cloud, name, code_zip=make_code("one"), parameters=parameters)
    assert "\n" not in str(caught.value)


def test_no_secret_is_in_an_error_or_in_progress(embedded_cloud, name, make_code, tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text(LEAKY)
    lines = []
    with pytest.raises(StackError) as caught:
        stack.deploy(
            embedded_cloud,
            name,
            code_zip=make_code("one"),
            parameters={"VectorsKey": "s3cret"},
            template=broken,
            progress=lines.append,
        )
    assert "s3cret" not in str(caught.value) + "".join(lines) and caught.value.__cause__ is None


def test_a_missing_template_says_how_to_install(embedded_cloud, name):
    with pytest.raises(StackError, match=r"nowhere\.yaml is missing: install the workbench from its repository"):
        stack.deploy(embedded_cloud, name, code_zip=b"", template=Path("nowhere.yaml"))


def test_a_cloud_that_does_not_answer_is_one_line():
    gone = Endpoints(cloud="embedded", aws_url="http://127.0.0.1:9")
    with pytest.raises(StackError, match=r"^stack nobody on embedded: Could not connect to the endpoint URL"):
        stack.outputs(gone, "nobody")


def _status(endpoints: Endpoints, name: str) -> str:
    return client("cloudformation", endpoints).describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]
