"""A bucket nobody but this deployment's roles can read."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy, Tags
from aws_cdk import aws_s3 as s3
from constructs import Construct

from runtime.contract import EMPTY_ON_DELETE_TAG


class PrivateBucket(s3.Bucket):
    """Private, encrypted, reached by TLS only; uploads that were never finished are removed.

    `expire_prefixes` maps a key prefix ("" for everything) to the days after which what lies below
    it is deleted. With `retain` the bucket outlives the stack; without, its tag lets BucketEmptier
    empty it first.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        retain: bool,
        expire_prefixes: dict[str, int] | None = None,
        access_logs: s3.IBucket | None = None,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            removal_policy=RemovalPolicy.RETAIN if retain else RemovalPolicy.DESTROY,
            server_access_logs_bucket=access_logs,
            server_access_logs_prefix=f"s3/{construct_id.lower()}/" if access_logs else None,
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="AbortIncompleteUploads",
                    abort_incomplete_multipart_upload_after=Duration.days(1),
                ),
                *(
                    s3.LifecycleRule(
                        id=f"Expire{prefix.strip('/').title() or 'All'}",
                        prefix=prefix or None,
                        expiration=Duration.days(days),
                    )
                    for prefix, days in (expire_prefixes or {}).items()
                ),
            ],
        )
        if not retain:
            Tags.of(self).add(EMPTY_ON_DELETE_TAG, "true")
