"""CloudFormation custom resource: on delete, removes every object and version of one bucket.

Deployed as inline code (under 4 KiB, boto3 from the Lambda runtime). Properties: `BucketName`.
Create and update do nothing, so that only an end of the stack empties anything.
"""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import boto3


def empty(s3: Any, bucket: str) -> None:
    """Delete all objects, versions and delete markers of `bucket`; one that is gone is fine."""
    try:
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            found = page.get("Versions", []) + page.get("DeleteMarkers", [])
            keys = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in found]
            if keys:
                answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
                if answer.get("Errors"):
                    raise RuntimeError(f"{bucket}: {answer['Errors'][0]}")
    except s3.exceptions.NoSuchBucket:
        return


def handle(event: dict[str, Any], context: object) -> None:
    """Answer CloudFormation at the URL it gave, whatever happened."""
    bucket = event["ResourceProperties"]["BucketName"]
    status, reason = "SUCCESS", ""
    try:
        if event["RequestType"] == "Delete":
            empty(boto3.client("s3"), bucket)
    except Exception as error:
        status, reason = "FAILED", f"could not empty {bucket}: {error}"
    answer = {
        "Status": status,
        "Reason": reason,
        "PhysicalResourceId": event.get("PhysicalResourceId") or f"empty-{bucket}",
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
    }
    body = json.dumps(answer).encode()
    request = urllib.request.Request(  # noqa: S310 - CloudFormation's own address
        event["ResponseURL"], data=body, method="PUT", headers={"Content-Type": ""}
    )
    urllib.request.urlopen(request, timeout=30).close()  # noqa: S310
