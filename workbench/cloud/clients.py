"""The only place that makes AWS clients. It is deployed with the function, so it needs boto3 and nothing else.

Clients are cached for the life of the process and are safe to share between threads.
"""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING

import boto3
import botocore.session
from botocore.config import Config

from workbench.errors import SettingError

if TYPE_CHECKING:
    from workbench.settings import Endpoints

_LONGEST_FUNCTION_S = 900  # Lambda's limit on a function's timeout
_creating = threading.Lock()  # a boto3 session must not create two clients at once


def client(service: str, endpoints: Endpoints):
    """The boto3 client of ``service`` ("kinesis", "dynamodb", ...): the same one for equal arguments.

    ``aws`` takes credentials from boto3's ordinary chain, ``aws_url`` overriding its address where given. The local clouds
    get a dummy key, never the user's own. ``localstack`` without a URL follows LocalStack's conventions (``LOCALSTACK_HOST``).

    Raises:
        SettingError: the embedded cloud without its URL.
    """
    with _creating:
        return _client(service, endpoints.cloud, endpoints.aws_url, endpoints.region)


@functools.cache
def _client(service: str, cloud: str, url: str | None, region: str):
    if cloud == "localstack" and not url:
        from localstack_client.config import get_service_endpoint  # never deployed: the function is given a URL

        url = get_service_endpoint(service)
    if cloud == "embedded" and not url:
        raise SettingError("aws_url", url, "the embedded cloud answers on a loopback URL: start it, or name one that runs")
    session = _session(region, local=cloud != "aws")
    return session.client(service, endpoint_url=url, config=_config(service, local=cloud != "aws"))


@functools.cache
def _session(region: str, *, local: bool) -> boto3.session.Session:
    if not local:
        return boto3.session.Session(region_name=region)
    # Without the variable that names a profile: the user's AWS_PROFILE is for AWS, and an unknown one would be an error.
    core = botocore.session.Session(session_vars={"profile": (None, None, None, None)})
    # Any key will do, but not one of 12 digits: emulators take that for an account's number.
    return boto3.session.Session("test", "test", region_name=region, botocore_session=core)


def _config(service: str, *, local: bool) -> Config:
    """For many small calls: connections stay open, and nothing is compressed or checked twice."""
    options = {
        "max_pool_connections": 64,
        "tcp_keepalive": True,
        "connect_timeout": 2 if local else 5,
        # A read timeout is retried, and an Invoke that is retried runs the function twice: wait as long as one may take.
        "read_timeout": _LONGEST_FUNCTION_S + 10 if service == "lambda" else 60,
        "retries": {"mode": "standard", "total_max_attempts": 4},
        # A fixed name: boto3 builds its own anew for each call, which takes a tenth of the call's processor time.
        "user_agent": "vector-stream-workbench",
        # The service checks its input; doing it here as well takes 0.5 to 0.8 ms of processor a call of 25 to 100 items.
        "parameter_validation": False,
        "disable_request_compression": True,
        # Bodies are checked by TLS and the signature already; these would hash every S3 body once more.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    if local:
        options["inject_host_prefix"] = False  # no "data-kinesis." in front of a loopback address
        options["s3"] = {"addressing_style": "path"}
    return Config(**options)
