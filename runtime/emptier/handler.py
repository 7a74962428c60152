"""CloudFormation custom resource: on delete, removes every object and version of one bucket.

Deployed as inline code (under 4 KiB, boto3 from the Lambda runtime). Properties: `BucketName`.
Create and update do nothing. A delete empties only a bucket whose tag says so: it may also come
from an update that takes this resource out of the template, or from a rollback, and then the
bucket stays. The tag is gone by then, since CloudFormation deletes after it has changed what stays
(CDK's own handler does so too: aws-cdk pull request 16756, "setting autoDeleteObjects to false
empties the bucket").
"""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import boto3

TAG = "visionstack:empty-on-delete"


def marked(s3: Any, bucket: str) -> bool:
    """Whether the bucket's tag asks for it to be emptied; one that is gone is not marked."""
    try:
        tags = s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
    except s3.exceptions.ClientError as error:
        if error.response["Error"]["Code"] in {"NoSuchTagSet", "NoSuchBucket"}:
            return False
        raise
    return {"Key": TAG, "Value": "true"} in tags


def empty(s3: Any, bucket: str) -> None:
    """Delete all objects, versions and delete markers of `bucket`."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        found = page.get("Versions", []) + page.get("DeleteMarkers", [])
        keys = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in found]
        if keys:
            answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
            if answer.get("Errors"):
                raise RuntimeError(f"{bucket}: {answer['Errors'][0]}")


def handle(event: dict[str, Any], context: object) -> None:
    """Answer CloudFormation at the URL it gave, whatever happened."""
    bucket = event["ResourceProperties"]["BucketName"]
    status, reason = "SUCCESS", ""
    identity = f"empty-{bucket}"
    try:
        if event["RequestType"] == "Delete":
            identity = event["PhysicalResourceId"]
            s3 = boto3.client("s3")
            if marked(s3, bucket):
                empty(s3, bucket)
    except Exception as error:
        status, reason = "FAILED", f"could not empty {bucket}: {error}"
    answer = {
        "Status": status,
        "Reason": reason,
        # Another bucket is another identity, and CloudFormation then deletes the old one's.
        "PhysicalResourceId": identity,
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
    }
    body = json.dumps(answer).encode()
    request = urllib.request.Request(  # noqa: S310 - CloudFormation's own address
        event["ResponseURL"], data=body, method="PUT", headers={"Content-Type": ""}
    )
    urllib.request.urlopen(request, timeout=30).close()  # noqa: S310
