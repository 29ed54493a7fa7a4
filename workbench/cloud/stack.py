"""Deploys ``localstack/stack.yaml`` to any of the three clouds, and takes it away again.

Whatever state a killed run left the stack in, ``deploy`` ends in a complete stack or in one error that names the resource at
fault. Status names are CloudFormation's.
"""

import contextlib
import dataclasses
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from workbench.cloud import artifacts
from workbench.cloud.clients import client
from workbench.errors import StackError
from workbench.settings import Endpoints

TEMPLATE = Path(__file__).parents[2] / "localstack" / "stack.yaml"  # the package is installed editable, from its repository
Progress = Callable[[str], None]

_OWN_PARAMETERS = ("CodeBucket", "CodeKey")
_COMPLETE = ("CREATE_COMPLETE", "UPDATE_COMPLETE")
# What no update can bring up to date: a stack that never was complete, or that is partly deleted.
_BEYOND_REPAIR = ("CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED", "REVIEW_IN_PROGRESS")
_TIMEOUT_S = 1800.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class StackOutputs:
    """Names and addresses of what the stack made; ``api_url`` answers ``GET ?user_id=…`` on the cloud in use."""

    stream_name: str
    stream_arn: str
    profiles_table: str
    products_table: str
    recommendations_table: str
    checkpoints_table: str
    dead_letter_queue_url: str
    dead_letter_queue_arn: str
    process_function: str
    read_function: str
    api_id: str
    api_url: str


def deploy(
    endpoints: Endpoints,
    name: str,
    *,
    code_zip: bytes,
    parameters: Mapping[str, object] | None = None,
    template: Path = TEMPLATE,
    progress: Progress = lambda line: None,
) -> StackOutputs:
    """Create the stack or bring it up to date; without a change, do nothing.

    Args:
        code_zip: the functions' deployment package.
        parameters: the template's, without CodeBucket and CodeKey. One left out takes the template's default.
        progress: told of every resource that changes its status, a line each.

    Raises:
        StackError: the template is missing, the cloud refused, or a resource failed: it says which one was first, and why.
    """
    if not template.is_file():
        raise StackError(f"{template} is missing: install the workbench from its repository (pip install -e .)")
    body = template.read_text(encoding="utf-8")
    values = {key: str(value) for key, value in (parameters or {}).items()}
    with _one_error(endpoints, name):
        secret = _parameters(endpoints, body, values)
    secrets = [values[key] for key in values if secret[key] and values[key]]
    with _one_error(endpoints, name, secrets):
        bucket, key = artifacts.upload(endpoints, name, code_zip)
        request = {
            "StackName": name,
            "TemplateBody": body,
            "Parameters": [
                {"ParameterKey": parameter, "ParameterValue": value}
                for parameter, value in {**values, "CodeBucket": bucket, "CodeKey": key}.items()
            ],
            "Capabilities": ["CAPABILITY_IAM"],
        }
        change = _Stack(endpoints, name, lambda line: progress(_without(secrets, line)))
        change.deploy(request)
        if endpoints.cloud == "embedded":
            change.reshard()
    return outputs(endpoints, name)


def outputs(endpoints: Endpoints, name: str) -> StackOutputs:
    """What the deployed stack made.

    Raises:
        StackError: there is no complete stack of that name.
    """
    with _one_error(endpoints, name):
        described = _describe(client("cloudformation", endpoints), name)
        if described is None:
            raise StackError("it does not exist: deploy it first")
        values = {_snake(output["OutputKey"]): output["OutputValue"] for output in described.get("Outputs", ())}
        missing = [field.name for field in dataclasses.fields(StackOutputs) if field.name not in values]
        if missing:
            raise StackError(f"it is {described['StackStatus']} and has no {', '.join(missing)}: deploy it again")
    url = _api_url(endpoints, values)
    return StackOutputs(**{field.name: values[field.name] for field in dataclasses.fields(StackOutputs)} | {"api_url": url})


def delete(endpoints: Endpoints, name: str, *, progress: Progress = lambda line: None) -> None:
    """Delete the stack and its artifacts; the artifact bucket too, unless other stacks' are in it. Repeating it is harmless.

    Raises:
        StackError: a resource could not be deleted; it says which one was first, and why.
    """
    with _one_error(endpoints, name):
        _Stack(endpoints, name, progress).delete()
        artifacts.remove(endpoints, name)


class _Stack:
    """One stack being changed, and the events that CloudFormation has recorded of it so far."""

    def __init__(self, endpoints: Endpoints, name: str, progress: Progress) -> None:
        self._cloudformation = client("cloudformation", endpoints)
        self._kinesis = client("kinesis", endpoints)
        self._name = name
        self._progress = progress
        self._interval_s = 2.0 if endpoints.cloud == "aws" else 0.05
        self._seen: set[str] = set()
        self._failures: list[str] = []
        described = _describe(self._cloudformation, name)
        if described is not None:
            self._seen.update(event["EventId"] for event in self._events(described["StackId"]))

    def deploy(self, request: dict) -> None:
        status = self._settled()
        if status == "UPDATE_ROLLBACK_FAILED":
            self._cloudformation.continue_update_rollback(StackName=self._name)
            status = self._settled()
        if status in _BEYOND_REPAIR:
            self._progress(f"{self._name} was left {status}: it is deleted and made again")
            self.delete()
            status = None
        self._failures.clear()  # those of what a killed run had begun
        try:
            if status is None:
                self._cloudformation.create_stack(**request)
            else:
                self._cloudformation.update_stack(**request)
        except ClientError as error:
            if "No updates are to be performed" in str(error):
                return
            raise
        status = self._settled()
        if status not in _COMPLETE:
            raise StackError(self._failures[0] if self._failures else f"it ended {status}, without a reason")

    def delete(self) -> None:
        if self._settled() is None:
            return
        self._failures.clear()
        self._cloudformation.delete_stack(StackName=self._name)
        status = self._settled()
        if status is not None:
            raise StackError(self._failures[0] if self._failures else f"it ended {status}, without a reason")

    def _settled(self) -> str | None:
        """The status once nothing is under way; None: there is no such stack.

        Raises:
            StackError: something is still under way after half an hour.
        """
        deadline = time.monotonic() + _TIMEOUT_S
        while True:
            described = _describe(self._cloudformation, self._name)
            if described is None:
                return None
            self._note_events(described["StackId"])
            status = described["StackStatus"]
            if not status.endswith("_IN_PROGRESS") or status == "REVIEW_IN_PROGRESS":
                return status
            if time.monotonic() > deadline:
                raise StackError(f"it is still {status} after {_TIMEOUT_S:.0f} s")
            time.sleep(self._interval_s)

    def _note_events(self, stack_id: str) -> None:
        for event in reversed(list(self._events(stack_id))):
            self._seen.add(event["EventId"])
            line = f"{event['LogicalResourceId']} {event['ResourceStatus']}"
            if event["ResourceStatus"].endswith("_FAILED"):
                line += f": {event.get('ResourceStatusReason', 'no reason given')}"
                self._failures.append(line)
            self._progress(line)

    def _events(self, stack_id: str) -> Iterator[dict]:
        """Those not seen yet, newest first."""
        for page in self._cloudformation.get_paginator("describe_stack_events").paginate(StackName=stack_id):
            for event in page["StackEvents"]:
                if event["EventId"] in self._seen:
                    return
                yield event

    def reshard(self) -> None:
        """Give the stream the shards that the template asks for: MiniStack's CloudFormation leaves them as they were."""
        described = _describe(self._cloudformation, self._name)
        parameters = {each["ParameterKey"]: each["ParameterValue"] for each in described["Parameters"]}
        stream = next(each["OutputValue"] for each in described["Outputs"] if each["OutputKey"] == "StreamName")
        wanted = int(parameters["ShardCount"])
        found = self._kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["OpenShardCount"]
        while found != wanted:
            target = max(min(wanted, 2 * found), -(-found // 2))  # one call no more than doubles or halves
            self._kinesis.update_shard_count(StreamName=stream, TargetShardCount=target, ScalingType="UNIFORM_SCALING")
            self._progress(f"Stream RESHARDED from {found} to {target} shards")
            found = target


def _describe(cloudformation, name: str) -> dict | None:
    try:
        described = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    return None if described["StackStatus"] == "DELETE_COMPLETE" else described


def _parameters(endpoints: Endpoints, body: str, given: Mapping[str, str]) -> dict[str, bool]:
    """The template's parameters that a caller may give, and whether each is a secret.

    Raises:
        StackError: one that was given is not among them. MiniStack would ignore it.
    """
    declared = client("cloudformation", endpoints).validate_template(TemplateBody=body)["Parameters"]
    known = {each["ParameterKey"]: bool(each.get("NoEcho")) for each in declared if each["ParameterKey"] not in _OWN_PARAMETERS}
    for parameter in given:
        if parameter not in known:
            raise StackError(f"the template has no parameter {parameter} to give; it has {', '.join(sorted(known))}")
    return known


def _api_url(endpoints: Endpoints, values: Mapping[str, str]) -> str:
    if endpoints.cloud == "aws":
        return values["api_url"]
    # The form that MiniStack and every LocalStack answer, without a name that must be resolved.
    address = client("cloudformation", endpoints).meta.endpoint_url
    return f"{address}/restapis/{values['api_id']}/v1/_user_request_/recommendations"


def _snake(output: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", output).lower()


def _without(secrets: list[str], text: str) -> str:
    for secret in secrets:
        text = text.replace(secret, "****")
    return text


@contextlib.contextmanager
def _one_error(endpoints: Endpoints, name: str, secrets: list[str] | None = None) -> Iterator[None]:
    """Every refusal as one StackError that says which stack, on which cloud, and carries no secret."""
    try:
        yield
    except (ClientError, BotoCoreError, StackError) as error:
        raise StackError(_without(secrets or [], f"stack {name} on {endpoints.cloud}: {error}")) from None
