from __future__ import annotations

import json
from typing import Any

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


def test_retained_data_survives_destroy(arm: Any) -> None:
    policies = {bucket["DeletionPolicy"] for bucket in arm.whole("second-storage", BUCKET)}
    assert policies == {"Retain"}
    assert arm.resources("second-storage", "Custom::EmptyBucket") == []
