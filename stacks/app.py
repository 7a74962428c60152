"""The one place that composes the stacks."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks, ServerlessChecks

from runtime.contract import PROJECT, Stack
from stacks.catalog import Catalog
from stacks.classifier.stack import ClassifierStack
from stacks.comparison.stack import ComparisonStack
from stacks.errors import DeploymentError
from stacks.packages import PackageArchives
from stacks.page.stack import PageStack
from stacks.settings.model import DeploymentSettings
from stacks.storage.stack import StorageStack
from stacks.streaming.stack import StreamingStack
from stacks.warmer.stack import WarmerStack

_FEATURE_FLAGS: Final = {
    "@aws-cdk/aws-s3:serverAccessLogsUseBucketPolicy": True,
    "@aws-cdk/aws-iam:minimizePolicies": True,
    "@aws-cdk/aws-lambda:recognizeLayerVersion": True,
    # An export cannot be changed or removed while another stack imports it, so that switching off
    # what one stack has of another would fail: outputs are read instead, by Fn::GetStackOutput
    # (AWS CloudFormation template reference, both functions; CDK's README, "Reference strength").
    "@aws-cdk/core:defaultCrossStackReferences": "weak",
}


def build_app(
    *,
    context: Mapping[str, Any] | None = None,
    archives: PackageArchives | None = None,
    outdir: str | None = None,
    checks: bool = True,
) -> cdk.App:
    """The app, ready to synthesize.

    Args:
        context: settings beside those that the `cdk` command hands over, as `-c` would give them.
        archives: where the packages lie; `build/` of this checkout by default.
        outdir: where the assembly goes; CDK's choice by default.
        checks: whether `synth` runs cdk-nag and fails on its findings.

    Raises:
        DeploymentError: when a setting is wrong or a package is missing.
    """
    app = cdk.App(
        context={**_FEATURE_FLAGS, **(context or {})},
        outdir=outdir,
        # It only warns, and takes most of the time of a synthesis: cfn-lint is run by the tests.
        builtin_cloud_formation_validation=False,
    )
    settings = DeploymentSettings.from_context(app.node.get_all_context())
    catalog = Catalog.load()
    archives = archives or PackageArchives()
    cdk.Tags.of(app).add(PROJECT, settings.prefix)

    def named(suffix: str) -> str:
        # A stack's id is its name, so that `cdk deploy visionstack-streaming` finds it.
        return f"{settings.prefix}-{suffix}"

    page_origin = None
    # A stack that the app no longer names would stay deployed, and destroy would miss it. One
    # without resources, `cdk deploy` deletes if it is there.
    if settings.cloudfront_page:
        page_origin = PageStack(app, named(Stack.PAGE), settings=settings).origin
    else:
        _empty(app, named(Stack.PAGE))
    cors_origin = settings.cors_origin or page_origin
    storage = StorageStack(app, named(Stack.STORAGE), settings=settings, cors_origin=cors_origin)
    StreamingStack(
        app,
        named(Stack.STREAMING),
        settings=settings,
        catalog=catalog,
        archives=archives,
        storage=storage,
        page_origin=page_origin,
    )
    classifier = ClassifierStack(
        app,
        named(Stack.CLASSIFIER),
        settings=settings,
        archives=archives,
        storage=storage,
        cors_origin=cors_origin,
    )
    if settings.cold_start != "warmer":
        _empty(app, named(Stack.WARMER))
    else:
        WarmerStack(
            app,
            named(Stack.WARMER),
            settings=settings,
            archives=archives,
            warmed=classifier.alias,
        )
    if not settings.instance_types:
        _empty(app, named(Stack.COMPARISON))
    else:
        ComparisonStack(
            app,
            named(Stack.COMPARISON),
            settings=settings,
            catalog=catalog,
            archives=archives,
            storage=storage,
        )
    if checks:
        cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app), ServerlessChecks(app))
    return app


def _empty(app: cdk.App, name: str) -> None:
    # CDK's report of its own use would be a resource.
    cdk.Stack(app, name, analytics_reporting=False)


def main() -> None:
    """Synthesize, or end with sentences and exit status 1."""
    try:
        app = build_app()
    except DeploymentError as error:
        sys.exit(str(error))
    app.synth()
