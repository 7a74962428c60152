from __future__ import annotations

import json
from typing import Any

import runtime.emptier.handler
from runtime.contract import EMPTY_ON_DELETE_TAG

BUCKET = "AWS::S3::Bucket"
STACK = "visionstack-storage"


def test_every_bucket_is_private_and_encrypted(defaults: Any) -> None:
    buckets = defaults.resources(STACK, BUCKET)
    assert len(buckets) == 3
    for bucket in buckets:
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        assert bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]


def test_every_bucket_refuses_requests_without_tls(defaults: Any) -> None:
    policies = defaults.resources(STACK, "AWS::S3::BucketPolicy")
    assert len(policies) == 3
    for policy in policies:
        refused = [
            statement
            for statement in policy["PolicyDocument"]["Statement"]
            if statement["Effect"] == "Deny"
            and statement.get("Condition", {}).get("Bool") == {"aws:SecureTransport": "false"}
        ]
        assert len(refused) == 1


def test_pictures_expire_and_unfinished_uploads_are_aborted(defaults: Any) -> None:
    rules = [
        rule
        for bucket in defaults.resources(STACK, BUCKET)
        for rule in bucket["LifecycleConfiguration"]["Rules"]
    ]
    assert sum("AbortIncompleteMultipartUpload" in rule for rule in rules) == 3
    (pictures,) = [rule for rule in rules if rule.get("Prefix") == "pictures/"]
    assert pictures["ExpirationInDays"] == 1


def test_by_default_destroy_empties_and_deletes_the_buckets(defaults: Any) -> None:
    policies = {bucket["DeletionPolicy"] for bucket in defaults.whole(STACK, BUCKET)}
    assert policies == {"Delete"}
    assert len(defaults.resources(STACK, "Custom::EmptyBucket")) == 3


def test_an_emptied_bucket_is_one_that_its_function_may_empty(defaults: Any) -> None:
    (policy,) = defaults.resources(STACK, "AWS::IAM::Policy")
    allowed = json.dumps(policy["PolicyDocument"])
    for emptied in defaults.resources(STACK, "Custom::EmptyBucket"):
        assert emptied["BucketName"]["Ref"] in allowed


def tagged(bucket: dict[str, Any]) -> bool:
    return {"Key": EMPTY_ON_DELETE_TAG, "Value": "true"} in bucket["Tags"]


def test_retained_data_survives_destroy(arm: Any) -> None:
    buckets = arm.whole("second-storage", BUCKET)
    assert {bucket["DeletionPolicy"] for bucket in buckets} == {"Retain"}
    assert not any(tagged(bucket["Properties"]) for bucket in buckets)


def test_switching_retain_data_takes_no_resource_out_of_the_stack(defaults: Any, arm: Any) -> None:
    """Taken out, the emptier would get a delete, and once emptied what was to be kept."""
    emptied = arm.resources("second-storage", "Custom::EmptyBucket")
    assert len(emptied) == len(defaults.resources(STACK, "Custom::EmptyBucket")) == 3


def test_only_what_ends_with_the_stack_is_marked_to_be_emptied(defaults: Any) -> None:
    assert all(tagged(bucket) for bucket in defaults.resources(STACK, BUCKET))
    assert runtime.emptier.handler.TAG == EMPTY_ON_DELETE_TAG


def test_logs_that_are_still_on_their_way_are_waited_for(defaults: Any) -> None:
    settle = {
        emptied["SettleSeconds"] for emptied in defaults.resources(STACK, "Custom::EmptyBucket")
    }
    assert settle == {"0", "15"}
    (policy,) = defaults.resources(STACK, "AWS::IAM::Policy")
    assert "s3:PutBucketPolicy" in json.dumps(policy["PolicyDocument"])
