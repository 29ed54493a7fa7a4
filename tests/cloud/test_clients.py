import functools
import subprocess
import sys
import threading

import pytest
from botocore.exceptions import EndpointConnectionError

from workbench.cloud import clients
from workbench.cloud.clients import client
from workbench.errors import SettingError
from workbench.settings import Endpoints

LOCAL = Endpoints(cloud="embedded", aws_url="http://127.0.0.1:1")


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """No client or session of another test, and none left to one."""
    monkeypatch.setattr(clients, "_session", functools.cache(clients._session.__wrapped__))
    monkeypatch.setattr(clients, "_client", functools.cache(clients._client.__wrapped__))


def test_one_client_for_equal_endpoints_from_any_thread():
    endpoints = Endpoints(cloud="embedded", aws_url="http://127.0.0.1:2")
    made = []
    threads = [threading.Thread(target=lambda: made.append(client("kinesis", endpoints))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8 and len({id(each) for each in made}) == 1
    assert made[0] is client("kinesis", Endpoints(cloud="embedded", aws_url="http://127.0.0.1:2"))
    assert client("kinesis", LOCAL) is not made[0]


def test_local_clouds_never_see_the_users_keys(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAREAL")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "real")
    for cloud in ("embedded", "localstack"):
        endpoints = Endpoints(cloud=cloud, aws_url="http://127.0.0.1:3")
        assert client("sts", endpoints)._request_signer._credentials.access_key == "test"
    aws = client("sts", Endpoints(cloud="aws", region="eu-west-3"))
    assert aws._request_signer._credentials.access_key == "AKIAREAL"
    assert aws.meta.endpoint_url == "https://sts.eu-west-3.amazonaws.com"


def test_a_profile_that_does_not_exist_is_no_matter_of_a_local_cloud(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    assert client("iam", Endpoints(cloud="embedded", aws_url="http://127.0.0.1:6")).meta.endpoint_url == "http://127.0.0.1:6"


def test_aws_url_moves_a_client_of_aws_too(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "000000000000")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    assert client("dynamodb", Endpoints(cloud="aws", aws_url="http://127.0.0.1:4")).meta.endpoint_url == "http://127.0.0.1:4"


def test_localstack_without_a_url_follows_its_own_conventions(monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("LOCALSTACK_HOST", "127.0.0.1:4599")
    endpoints = Endpoints(cloud="localstack", region="eu-west-1")
    assert client("sqs", endpoints).meta.endpoint_url == "http://127.0.0.1:4599"


def test_the_embedded_cloud_needs_its_url():
    with pytest.raises(SettingError, match="aws_url = None"):
        client("kinesis", Endpoints(cloud="embedded"))


def test_an_invoke_is_not_retried_while_the_function_may_still_run():
    assert client("lambda", LOCAL).meta.config.read_timeout > 900
    assert client("kinesis", LOCAL).meta.config.max_pool_connections >= 32
    assert client("kinesis", LOCAL).meta.config.tcp_keepalive


def test_a_key_is_in_no_text():
    endpoints = Endpoints(cloud="embedded", aws_url="http://127.0.0.1:5", vectors_key="s3cret-v", embeddings_key="s3cret-e")
    with pytest.raises(EndpointConnectionError) as caught:
        client("sts", endpoints).get_caller_identity()
    for text in (str(caught.value), repr(endpoints), str(endpoints.to_dict())):
        assert "s3cret" not in text


def test_importing_it_needs_boto3_alone():
    code = (
        "import sys, workbench.cloud.clients as c\n"
        "extra = {'msgspec', 'localstack_client', 'ministack', 'numpy', 'workbench.settings'} & set(sys.modules)\n"
        "assert not extra, extra"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
