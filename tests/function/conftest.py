"""The function's tables on the embedded cloud, new for every test, and clients that obey a script."""

import uuid

import boto3
import pytest
from botocore.stub import Stubber

from workbench.cloud.clients import client
from workbench.function import package
from workbench.function.tables import Tables

KEYS = {"profiles": "user_id", "products": "product_id", "recommendations": "user_id"}


@pytest.fixture
def dynamodb(embedded_cloud):
    return client("dynamodb", embedded_cloud)


@pytest.fixture
def tables(dynamodb):
    """The three tables as the stack makes them."""
    names = {table: f"{table}-{uuid.uuid4().hex[:8]}" for table in KEYS}
    for table, name in names.items():
        dynamodb.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": KEYS[table], "AttributeType": "S"}],
            KeySchema=[{"AttributeName": KEYS[table], "KeyType": "HASH"}],
        )
    yield Tables(**names)
    for name in names.values():
        dynamodb.delete_table(TableName=name)


@pytest.fixture
def scripted():
    """A real DynamoDB client whose answers a test queues; what is asked must be what was announced."""
    made = boto3.client(
        "dynamodb", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test", aws_session_token="test"
    )
    with Stubber(made) as script:
        made.script = script
        yield made
        script.assert_no_pending_responses()


@pytest.fixture
def naps(monkeypatch):
    """What would have been slept, in s."""
    taken: list[float] = []
    monkeypatch.setattr("workbench.function.tables.time.sleep", taken.append)
    return taken


@pytest.fixture(scope="session")
def function_zip() -> bytes:
    """The functions' zip; making it takes seconds."""
    return package.build()
