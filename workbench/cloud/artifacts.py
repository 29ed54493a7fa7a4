"""The bucket that CloudFormation takes the functions' code from: one an account and region, a folder in it for each stack."""

import hashlib

from botocore.exceptions import ClientError

from workbench.cloud.clients import client
from workbench.settings import Endpoints


def upload(endpoints: Endpoints, stack: str, code_zip: bytes) -> tuple[str, str]:
    """The bucket and key under which the zip now is. Equal zips have equal keys."""
    s3 = client("s3", endpoints)
    bucket, owner = _bucket(endpoints)
    key = f"{stack}/{hashlib.sha256(code_zip).hexdigest()}.zip"
    try:
        s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=owner)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": endpoints.region}}
        s3.create_bucket(Bucket=bucket, **({} if endpoints.region == "us-east-1" else elsewhere))
    s3.put_object(Bucket=bucket, Key=key, Body=code_zip, ExpectedBucketOwner=owner)
    return bucket, key


def remove(endpoints: Endpoints, stack: str) -> None:
    """Remove what was uploaded for the stack, and the bucket once it is empty. Repeating it is harmless."""
    s3 = client("s3", endpoints)
    bucket, owner = _bucket(endpoints)
    try:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{stack}/", ExpectedBucketOwner=owner):
            for entry in page.get("Contents", ()):
                s3.delete_object(Bucket=bucket, Key=entry["Key"], ExpectedBucketOwner=owner)
        s3.delete_bucket(Bucket=bucket, ExpectedBucketOwner=owner)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("NoSuchBucket", "BucketNotEmpty"):
            raise


def _bucket(endpoints: Endpoints) -> tuple[str, str]:
    """The artifact bucket's name and its owner's account. The account is checked: anyone may take a name on AWS."""
    account = client("sts", endpoints).get_caller_identity()["Account"]
    return f"workbench-artifacts-{account}-{endpoints.region}", account
