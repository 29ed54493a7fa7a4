"""The template as text: what each role may do, and that the linter has nothing to say."""

import subprocess
import sysconfig
from pathlib import Path

import pytest
import yaml

from workbench.cloud.stack import TEMPLATE

# The calls each function makes, and for the processing function those that AWS makes in its name for an event source mapping.
ALLOWED = {
    "ProcessRole": {
        ("dynamodb:BatchGetItem", "Profiles.Arn"),
        ("dynamodb:BatchGetItem", "Products.Arn"),
        ("dynamodb:BatchGetItem", "Recommendations.Arn"),
        ("dynamodb:PutItem", "Recommendations.Arn"),
        ("kinesis:DescribeStream", "Stream.Arn"),
        ("kinesis:DescribeStreamSummary", "Stream.Arn"),
        ("kinesis:GetRecords", "Stream.Arn"),
        ("kinesis:GetShardIterator", "Stream.Arn"),
        ("kinesis:ListShards", "Stream.Arn"),
        ("sqs:SendMessage", "DeadLetters.Arn"),
        ("logs:CreateLogStream", "ProcessLogs.Arn"),
        ("logs:PutLogEvents", "ProcessLogs.Arn"),
    },
    "ReadRole": {
        ("dynamodb:GetItem", "Recommendations.Arn"),
        ("logs:CreateLogStream", "ReadLogs.Arn"),
        ("logs:PutLogEvents", "ReadLogs.Arn"),
    },
}


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, each read as its operand."""


_Loader.add_multi_constructor("!", lambda loader, _, node: getattr(loader, f"construct_{node.id}")(node))


@pytest.fixture(scope="module")
def resources() -> dict:
    return yaml.load(TEMPLATE.read_text(), _Loader)["Resources"]


def _as_list(value) -> list:
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("role", ALLOWED)
def test_a_role_allows_exactly_what_is_documented(resources, role):
    policies = resources[role]["Properties"]["Policies"]
    statements = [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]
    assert all(statement["Effect"] == "Allow" for statement in statements)
    allowed = {
        (action, resource)
        for statement in statements
        for action in _as_list(statement["Action"])
        for resource in _as_list(statement["Resource"])
    }
    assert allowed == ALLOWED[role]
    assert "ManagedPolicyArns" not in resources[role]["Properties"]


def test_there_are_no_other_roles_and_no_role_is_shared(resources):
    roles = {name for name, resource in resources.items() if resource["Type"].startswith("AWS::IAM::")}
    assert roles == set(ALLOWED)
    used = [r["Properties"]["Role"] for r in resources.values() if r["Type"] == "AWS::Lambda::Function"]
    assert sorted(used) == ["ProcessRole.Arn", "ReadRole.Arn"]


def test_cloudformation_names_everything_it_can(resources):
    naming = {"Stream": "Name", "Table": "TableName", "Queue": "QueueName", "Function": "FunctionName", "Role": "RoleName"}
    naming["LogGroup"] = "LogGroupName"
    for resource in resources.values():
        assert naming.get(resource["Type"].split("::")[-1]) not in resource["Properties"]


def test_secrets_are_not_echoed():
    parameters = yaml.load(TEMPLATE.read_text(), _Loader)["Parameters"]
    assert {name for name, parameter in parameters.items() if parameter.get("NoEcho")} == {"VectorsKey", "EmbeddingsKey"}


def test_the_linter_has_nothing_to_say():
    linter = Path(sysconfig.get_path("scripts")) / "cfn-lint"
    done = subprocess.run([linter, TEMPLATE], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cfn-lint" not in yaml.load(TEMPLATE.read_text(), _Loader).get("Metadata", {}), "no rule is switched off"


def test_the_template_is_where_the_package_looks_for_it():
    assert TEMPLATE.is_file()
