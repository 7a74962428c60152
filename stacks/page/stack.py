"""The page by CloudFront: a private bucket, its one reader, and the files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aws_cdk import Aws, CfnOutput, DefaultStackSynthesizer, Duration, Stack
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_deployment as deployment
from constructs import Construct

from runtime.contract import Output
from runtime.page_headers import HEADERS, content_security_policy
from stacks.page.files import PageFiles, find_runtime
from stacks.parts.acknowledgment import acknowledge
from stacks.parts.function import ExpiringLogGroup
from stacks.settings.model import DeploymentSettings
from stacks.storage.bucket_emptier import BucketEmptier
from stacks.storage.private_bucket import PrivateBucket

_OF_CLOUDFRONT: Final = frozenset({"X-Content-Type-Options", "Referrer-Policy"})
"""Headers that a policy has fields of its own for, and takes nowhere else."""
_COPIER: Final = "Custom::CDKBucketDeployment"
_OF_CDK: Final = "CDK's own function, with CDK's own rights, on the page's bucket and CDK's assets."
_YEAR: Final = Duration.days(365)


class PageStack(Stack):
    """`origin` is the page's, which API, bucket and stream server admit.

    It is made before all of them and knows none: API and bucket are named in its security policy by
    what is fixed of their addresses, the stream by the settings. So no two stacks wait for each
    other.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, settings: DeploymentSettings
    ) -> None:
        super().__init__(scope, construct_id, description="visionstack: the page by CloudFront")
        stream = settings.trusted_stream
        files = PageFiles.of(
            stream=f"https://{stream}" if stream else None, runtime_folder=find_runtime()
        )
        bucket = PrivateBucket(self, "Files", retain=False)
        acknowledge(
            bucket,
            {"AwsSolutions-S1": "CloudFront alone reads it, and what it holds is this source."},
        )
        # Names of CloudFront are an account's, not a region's.
        own_name = f"{settings.prefix}-page-{Aws.REGION}"
        access = cloudfront.S3OriginAccessControl(
            self, "Access", origin_access_control_name=own_name
        )
        distribution = cloudfront.Distribution(
            self,
            "Distribution",
            comment=f"{settings.prefix}: page",
            default_root_object="index.html",
            price_class=cloudfront.PriceClass.PRICE_CLASS_100,
            http_version=cloudfront.HttpVersion.HTTP2_AND_3,
            default_behavior=cloudfront.BehaviorOptions(
                origin=origins.S3BucketOrigin.with_origin_access_control(
                    bucket, origin_access_control=access
                ),
                viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.REDIRECT_TO_HTTPS,
                # Goes by each file's Cache-Control.
                cache_policy=cloudfront.CachePolicy.CACHING_OPTIMIZED,
                response_headers_policy=_headers(self, name=own_name, stream=stream),
            ),
        )
        acknowledge(
            distribution,
            {
                "AwsSolutions-CFR1": "Who may use stream and API is decided there, not by country.",
                "AwsSolutions-CFR2": "Public files only; waf=true is for the API.",
                "AwsSolutions-CFR3": "Public files only; what the page does is logged where it does"
                " it.",
                "AwsSolutions-CFR4": "CloudFront's own name comes with its own certificate, whose"
                " oldest protocol cannot be chosen.",
            },
        )
        self._deploy(files, bucket=bucket, settings=settings)
        BucketEmptier(self, "Emptier", log_retention_days=settings.log_retention_days).empties(
            bucket
        )
        self.origin = f"https://{distribution.distribution_domain_name}"
        CfnOutput(self, Output.PAGE_URL, value=self.origin)

    def _deploy(
        self, files: PageFiles, *, bucket: s3.IBucket, settings: DeploymentSettings
    ) -> None:
        """Files first, then the document that names them; older ones stay for who has them open."""
        written = ExpiringLogGroup(self, "DeploymentLogs", days=settings.log_retention_days)
        kept = [deployment.CacheControl.from_string("public, max-age=31536000, immutable")]
        parts = [("Modules", files.folder, files.files)]
        if files.runtime_files:
            parts.append(("Runtime", f"{files.folder}/onnxruntime", files.runtime_files))
        made = [
            self._copied(
                name,
                bucket=bucket,
                log_group=written,
                sources=[_just(chosen)],
                prefix=prefix,
                cache=kept,
            )
            for name, prefix, chosen in parts
        ]
        document = self._copied(
            "Document",
            bucket=bucket,
            log_group=written,
            sources=[deployment.Source.data("index.html", files.document)],
            prefix=None,
            cache=[deployment.CacheControl.no_cache()],
        )
        document.node.add_dependency(*made)
        (copier,) = (one for one in self.node.children if one.node.id.startswith(_COPIER))
        home = self.resolve(bucket.bucket_arn)["Fn::GetAtt"][0]
        acknowledge(copier, dict.fromkeys(_copier_findings(home), _OF_CDK))

    def _copied(
        self,
        name: str,
        *,
        bucket: s3.IBucket,
        log_group: logs.ILogGroup,
        sources: list[deployment.ISource],
        prefix: str | None,
        cache: list[deployment.CacheControl],
    ) -> deployment.BucketDeployment:
        return deployment.BucketDeployment(
            self,
            name,
            destination_bucket=bucket,
            destination_key_prefix=prefix,
            sources=sources,
            cache_control=cache,
            prune=False,
            memory_limit=512,
            log_group=log_group,
        )


def _copier_findings(bucket: str) -> list[str]:
    """Of the function that CDK copies files with; `bucket` is the bucket's logical id."""
    actions = ("GetBucket*", "GetObject*", "List*", "Abort*", "DeleteObject*")
    objects = (
        f"<{bucket}.Arn>/*",
        f"arn:<AWS::Partition>:s3:::cdk-{DefaultStackSynthesizer.DEFAULT_QUALIFIER}"
        "-assets-<AWS::AccountId>-<AWS::Region>/*",
    )
    managed = "arn:<AWS::Partition>:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
    return [
        f"AwsSolutions-IAM4[Policy::{managed}]",
        *(f"AwsSolutions-IAM5[Action::s3:{action}]" for action in actions),
        *(f"AwsSolutions-IAM5[Resource::{one}]" for one in objects),
        "AwsSolutions-L1",
        "Serverless-LambdaLatestVersion",
        "Serverless-LambdaDLQ",
        "Serverless-LambdaTracing",
    ]


def _just(files: tuple[Path, ...]) -> deployment.ISource:
    """These files of their one folder."""
    (folder,) = {path.parent for path in files}
    return deployment.Source.asset(str(folder), exclude=["*", *(f"!{path.name}" for path in files)])


def _headers(
    scope: Construct, *, name: str, stream: str | None
) -> cloudfront.ResponseHeadersPolicy:
    policy = content_security_policy(
        # Their first parts are known only after what needs this page's origin.
        f"https://*.execute-api.{Aws.REGION}.{Aws.URL_SUFFIX}",
        f"https://*.s3.{Aws.REGION}.{Aws.URL_SUFFIX}",
        *([f"https://{stream}", f"wss://{stream}"] if stream else []),
    )
    return cloudfront.ResponseHeadersPolicy(
        scope,
        "Headers",
        response_headers_policy_name=name,
        comment="visionstack: page",
        security_headers_behavior=cloudfront.ResponseSecurityHeadersBehavior(
            content_security_policy=cloudfront.ResponseHeadersContentSecurityPolicy(
                content_security_policy=policy, override=True
            ),
            content_type_options=cloudfront.ResponseHeadersContentTypeOptions(override=True),
            referrer_policy=cloudfront.ResponseHeadersReferrerPolicy(
                referrer_policy=cloudfront.HeadersReferrerPolicy.NO_REFERRER, override=True
            ),
            strict_transport_security=cloudfront.ResponseHeadersStrictTransportSecurity(
                access_control_max_age=_YEAR, override=True
            ),
        ),
        custom_headers_behavior=cloudfront.ResponseCustomHeadersBehavior(
            custom_headers=[
                cloudfront.ResponseCustomHeader(header=name, value=value, override=True)
                for name, value in HEADERS.items()
                if name not in _OF_CLOUDFRONT
            ]
        ),
    )
