"""CloudFormation custom resource: on delete, removes every object and version of one bucket.

Deployed as this one file (boto3 from the Lambda runtime). Properties: `BucketName`,
`BucketArn` and `SettleSeconds`, for which the bucket must stay empty before it counts as such.
Create and update do nothing. A delete empties only a bucket whose tag says so: it may also come
from an update that takes this resource out of the template, or from a rollback, and then the
bucket stays. The tag is gone by then, since CloudFormation deletes after it has changed what stays
(CDK's own handler does so too: aws-cdk pull request 16756, "setting autoDeleteObjects to false
empties the bucket").

Access logs arrive hours after what they tell of, also between the emptying and the deletion. So all
puts are refused first ("Adding deny conditions to a bucket policy might prevent Amazon S3 from
delivering access logs": Amazon S3 User Guide, Logging requests using server access logging), and
what is still on its way is deleted until nothing comes any more. A run that fails or runs out of
time says so, and the next `cdk destroy` starts it again.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import boto3

TAG = "visionstack:empty-on-delete"
SID = "VisionstackEmptying"
RESERVE_S = 30


def marked(s3: Any, bucket: str) -> bool:
    """Whether the bucket's tag asks for it to be emptied; one that is gone is not marked."""
    try:
        tags = s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
    except s3.exceptions.ClientError as error:
        if error.response["Error"]["Code"] in {"NoSuchTagSet", "NoSuchBucket"}:
            return False
        raise
    return {"Key": TAG, "Value": "true"} in tags


def refuse_puts(s3: Any, bucket: str, arn: str) -> None:
    """Deny every put by the bucket's policy, log delivery's too; what it said before stays."""
    try:
        policy = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    except s3.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchBucketPolicy":
            raise
        policy = {"Version": "2012-10-17", "Statement": []}
    if any(statement.get("Sid") == SID for statement in policy["Statement"]):
        return
    refusal = {
        "Sid": SID,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": f"{arn}/*",
    }
    policy["Statement"].append(refusal)
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))


def empty(s3: Any, bucket: str, *, settle_s: float, left_s: Callable[[], float]) -> None:
    """Delete what is in `bucket` until nothing more comes for `settle_s` seconds.

    `left_s` says how many seconds this run still has. RuntimeError when they do not suffice, or
    when an object cannot be deleted.
    """
    settled = False
    while True:
        if sweep(s3, bucket, left_s):
            settled = False
        elif settled or not settle_s:
            return
        else:
            time.sleep(settle_s)
            settled = True


def sweep(s3: Any, bucket: str, left_s: Callable[[], float]) -> bool:
    """Delete all objects, versions, delete markers and unfinished uploads; whether any was."""
    any_found = False
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        found = page.get("Versions", []) + page.get("DeleteMarkers", [])
        keys = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in found]
        if keys:
            any_found = True
            answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
            if answer.get("Errors"):
                raise RuntimeError(f"{bucket}: {answer['Errors'][0]}")
        if left_s() < RESERVE_S:
            raise RuntimeError("it holds more than one run can delete; destroy again to go on")
    for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
        for one in page.get("Uploads", []):
            s3.abort_multipart_upload(Bucket=bucket, Key=one["Key"], UploadId=one["UploadId"])
            any_found = True
    return any_found


def handle(event: dict[str, Any], context: Any) -> None:
    """Answer CloudFormation at the URL it gave, whatever happened."""
    properties = event["ResourceProperties"]
    bucket = properties["BucketName"]
    status, reason = "SUCCESS", ""
    identity = f"empty-{bucket}"
    try:
        if event["RequestType"] == "Delete":
            identity = event["PhysicalResourceId"]
            s3 = boto3.client("s3")
            if marked(s3, bucket):
                refuse_puts(s3, bucket, properties["BucketArn"])
                empty(
                    s3,
                    bucket,
                    settle_s=float(properties["SettleSeconds"]),
                    left_s=lambda: context.get_remaining_time_in_millis() / 1000,
                )
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
