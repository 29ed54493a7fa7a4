"""Each call that the pipeline makes, once, over the wire."""

import json
import uuid

from workbench.cloud.clients import client


def test_kinesis_gives_back_what_was_put(embedded_cloud):
    kinesis = client("kinesis", embedded_cloud)
    stream = f"stream-{uuid.uuid4().hex[:8]}"
    kinesis.create_stream(StreamName=stream, ShardCount=2)
    kinesis.get_waiter("stream_exists").wait(StreamName=stream, WaiterConfig={"Delay": 1})
    put = kinesis.put_records(
        StreamName=stream, Records=[{"Data": f"event {i}".encode(), "PartitionKey": str(i % 5)} for i in range(100)]
    )
    assert put["FailedRecordCount"] == 0
    read = {}
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        start = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")
        records = kinesis.get_records(ShardIterator=start["ShardIterator"], Limit=1000)["Records"]
        assert [r["SequenceNumber"] for r in records] == sorted((r["SequenceNumber"] for r in records), key=int)
        read.update({record["SequenceNumber"]: record["Data"] for record in records})
    assert [read[record["SequenceNumber"]] for record in put["Records"]] == [f"event {i}".encode() for i in range(100)]
    kinesis.delete_stream(StreamName=stream)


def test_dynamodb_reads_in_a_batch_what_was_written_in_a_batch(embedded_cloud):
    dynamodb = client("dynamodb", embedded_cloud)
    table = f"table-{uuid.uuid4().hex[:8]}"
    dynamodb.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "user_id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "user_id", "KeyType": "HASH"}],
    )
    dynamodb.get_waiter("table_exists").wait(TableName=table, WaiterConfig={"Delay": 1})
    items = [{"user_id": {"S": str(i)}, "income": {"S": "50-74K"}} for i in range(25)]
    written = dynamodb.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": item}} for item in items]})
    assert written["UnprocessedItems"] == {}
    keys = [{"user_id": {"S": str(i)}} for i in range(30)]
    found = dynamodb.batch_get_item(RequestItems={table: {"Keys": keys}})["Responses"][table]
    assert sorted(found, key=lambda item: int(item["user_id"]["S"])) == items  # the five unknown keys are left out
    assert "Item" not in dynamodb.get_item(TableName=table, Key={"user_id": {"S": "unknown"}})
    dynamodb.delete_table(TableName=table)


def test_sqs_holds_a_dead_letter(embedded_cloud):
    sqs = client("sqs", embedded_cloud)
    queue = sqs.create_queue(QueueName=f"queue-{uuid.uuid4().hex[:8]}")["QueueUrl"]
    assert queue.startswith(embedded_cloud.aws_url)
    sqs.send_message(QueueUrl=queue, MessageBody=json.dumps({"condition": "RetryAttemptsExhausted"}))
    message = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=2)["Messages"][0]
    assert json.loads(message["Body"]) == {"condition": "RetryAttemptsExhausted"}
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    assert "Messages" not in sqs.receive_message(QueueUrl=queue)
    sqs.delete_queue(QueueUrl=queue)


def test_s3_keeps_a_large_object(embedded_cloud):
    s3 = client("s3", embedded_cloud)
    bucket, body = f"bucket-{uuid.uuid4().hex[:8]}", bytes(range(256)) * 40_000  # 10 MB, more than one read of the server's
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="a/code.zip", Body=body)
    assert s3.get_object(Bucket=bucket, Key="a/code.zip")["Body"].read() == body
    s3.delete_object(Bucket=bucket, Key="a/code.zip")
    s3.delete_bucket(Bucket=bucket)


def test_lambda_runs_a_handler_without_the_owners_environment(embedded_cloud, zipped):
    functions = client("lambda", embedded_cloud)
    name = f"function-{uuid.uuid4().hex[:8]}"
    code = "import os\ndef handler(event, context):\n    print('ran')\n    return {'got': event, 'names': sorted(os.environ)}\n"
    functions.create_function(
        FunctionName=name,
        Runtime="python3.12",
        Handler="module.handler",
        Role="arn:aws:iam::000000000000:role/any",
        Code={"ZipFile": zipped({"module.py": code})},
        Environment={"Variables": {"OWN": "1"}},
    )
    functions.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    answer = json.loads(functions.invoke(FunctionName=name, Payload=json.dumps({"n": 1}))["Payload"].read())
    assert answer["got"] == {"n": 1}
    assert {"OWN", "AWS_ENDPOINT_URL", "AWS_REGION"} <= set(answer["names"])
    assert "PYTEST_CURRENT_TEST" not in answer["names"]
    functions.delete_function(FunctionName=name)


def test_a_failing_handler_is_a_function_error(embedded_cloud, zipped):
    functions = client("lambda", embedded_cloud)
    name = f"function-{uuid.uuid4().hex[:8]}"
    functions.create_function(
        FunctionName=name,
        Runtime="python3.12",
        Handler="module.handler",
        Role="arn:aws:iam::000000000000:role/any",
        Code={"ZipFile": zipped({"module.py": "def handler(event, context):\n    raise ValueError('no such user')\n"})},
    )
    answer = functions.invoke(FunctionName=name, Payload=b"{}")
    assert answer["FunctionError"] == "Unhandled"
    assert "no such user" in answer["Payload"].read().decode()
    functions.delete_function(FunctionName=name)


def test_warm_invocations_reuse_the_worker(embedded_cloud, zipped):
    functions = client("lambda", embedded_cloud)
    name = f"function-{uuid.uuid4().hex[:8]}"
    code = """
import os
CALLS = []
def handler(event, context):
    CALLS.append(1)
    print("ran")
    return [os.getpid(), len(CALLS)]
"""
    functions.create_function(
        FunctionName=name,
        Runtime="python3.12",
        Handler="module.handler",
        Role="arn:aws:iam::000000000000:role/any",
        Code={"ZipFile": zipped({"module.py": code})},
    )
    answers = [json.loads(functions.invoke(FunctionName=name, Payload=b"{}")["Payload"].read()) for _ in range(3)]
    assert len({pid for pid, _ in answers}) == 1 and [calls for _, calls in answers] == [1, 2, 3]
    functions.delete_function(FunctionName=name)
