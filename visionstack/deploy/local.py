"""Everything between nothing and a served deployment on the embedded cloud, in one call.

On AWS these are the user's own steps: `npx cdk bootstrap`, `npx cdk deploy --all`,
`visionstack models publish …`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rich.markup import escape

from runtime.contract import Env, Output, Precision, Stack
from runtime.inference.artifact import Artifact
from stacks.settings.model import DeploymentSettings
from visionstack import extras, paths
from visionstack.cloud import local_defaults
from visionstack.cloud.aws_errors import translated
from visionstack.cloud.deployment import (
    Deployment,
    StreamEndpoint,
    connect,
    find_stack,
    outputs_of,
)
from visionstack.console import err
from visionstack.deploy.cdk import bootstrap_embedded_cloud, cdk
from visionstack.errors import UsageError
from visionstack.localcloud import lifecycle
from visionstack.models.named import find_model
from visionstack.models.publishing import publish
from visionstack.packaging.build import settings_from
from visionstack.packaging.libraries import publish_libraries
from visionstack.packaging.recipes import BRINGS_MODEL

SERVED_WITHIN_S: Final = 180
INITIALISED_WHILE_DEPLOYED: Final = frozenset({"provisioned", "snapstart"})
"""Cold-start answers whose environments load the model before the deployment has ended."""


@dataclass(frozen=True)
class Deployed:
    """What `deploy` left running."""

    deployment: Deployment
    stream: StreamEndpoint
    published: tuple[str, ...]
    """Models that were uploaded by this call."""
    lambda_memory_mib: int


def deploy(*, context: Mapping[str, object] | None = None) -> Deployed:
    """Up, bootstrap, `cdk deploy --all`, models built and published, stream server healthy.

    Every step that is done already is passed over. `context` is what `-c` would be given.
    VisionstackError of whichever step fails.
    """
    settings = settings_from({**local_defaults.context(), **(context or {})})
    _refuse_what_it_lacks(settings)
    _check_models(settings)
    extras.require("aws_cdk", "cdk_nag")
    lifecycle.up()
    bootstrap_embedded_cloud()
    deployment = connect(cloud="local", prefix=settings.prefix)
    if "classifier_model" not in (context or {}):
        _tell_of_another_classifier(deployment, settings)
    if settings.packaging in BRINGS_MODEL:
        build_model(settings.classifier_model)
    published = _deploy_and_publish(deployment, settings, context=context)
    with err.status("waiting for the stream server …"):
        stream = deployment.stream_endpoint(wait_s=SERVED_WITHIN_S)
    return Deployed(deployment, stream, published, settings.lambda_memory_mib)


def replaced_classifier(deployment: Deployment, settings: DeploymentSettings) -> str | None:
    """The model that the deployed classifier serves, where `settings` would have another."""
    outputs = outputs_of(find_stack(deployment, Stack.CLASSIFIER))
    if Output.CLASSIFIER_FUNCTION not in outputs:
        return None
    with translated("look at the classifier"):
        function = deployment.client("lambda").get_function_configuration(
            FunctionName=outputs[Output.CLASSIFIER_FUNCTION],
            Qualifier=outputs[Output.CLASSIFIER_ALIAS],
        )
    served: str = function["Environment"]["Variables"][Env.MODEL]
    return served if served != settings.classifier_model else None


def keeping_classifier(deployment: Deployment) -> str:
    """What to add to a command that deploys, so that the classifier keeps its model; or nothing."""
    if paths.PROJECT is None:
        return ""
    served = replaced_classifier(deployment, settings_from({}))
    return f" -c classifier_model={served}" if served else ""


def _tell_of_another_classifier(deployment: Deployment, settings: DeploymentSettings) -> None:
    if served := replaced_classifier(deployment, settings):
        told = (
            f"The classifier goes from {served} to {settings.classifier_model}: neither -c nor "
            f"cdk.json names the model. To keep it: -c classifier_model={served}, or in cdk.json "
            f'"visionstack": {{"classifier_model": "{served}"}}'
        )
        err.print(f"[yellow]{escape(told)}[/]", soft_wrap=True)


def deploy_to_aws(*, context: Mapping[str, object]) -> Deployment:
    """The user's own steps in one: `cdk deploy --all` with `context`, and what it names published.

    VisionstackError of whichever step fails; the account must be bootstrapped.
    """
    settings = settings_from(context)
    _check_models(settings)
    deployment = connect(cloud="aws", prefix=settings.prefix)
    _deploy_and_publish(deployment, settings, context=context)
    return deployment


def _refuse_what_it_lacks(settings: DeploymentSettings) -> None:
    """Raises `UsageError` for what the embedded cloud does not know or would record only."""
    lacking = [
        words
        for words, asked in (
            ("waf=true", settings.waf),
            ("flow_logs=true", settings.flow_logs),
            # MiniStack keeps a distribution's description and serves nothing by it.
            ("cloudfront_page=true", settings.cloudfront_page),
            (
                "warm_hours with cold_start=provisioned",
                settings.cold_start == "provisioned" and bool(settings.warm_hours),
            ),
        )
        if asked
    ]
    if lacking:
        raise UsageError(
            f"The embedded cloud cannot take {', '.join(lacking)}: nothing does the work there.",
            remedy="Leave it out here; on AWS `npx cdk deploy --all` takes it.",
        )


def _check_models(settings: DeploymentSettings) -> None:
    """Raises `UsageError` for a model that nobody knows, before anything is started."""
    for name in settings.stream_model:
        find_model(name, task="detect")
    find_model(settings.classifier_model, task="classify")


def _deploy_and_publish(
    deployment: Deployment, settings: DeploymentSettings, *, context: Mapping[str, object] | None
) -> tuple[str, ...]:
    """All stacks and what they name; returns the models that were uploaded."""

    def bring(what: str) -> None:
        cdk(
            ["deploy", what, "--require-approval", "never"],
            cloud=deployment.cloud,
            context=context,
        )

    first = settings.cold_start in INITIALISED_WHILE_DEPLOYED
    bring(deployment.stack_name(Stack.STORAGE) if first else "--all")
    published = _publish(deployment, settings)
    if first:
        bring("--all")
    return published


def _publish(deployment: Deployment, settings: DeploymentSettings) -> tuple[str, ...]:
    names = dict.fromkeys([*settings.stream_model, settings.classifier_model])
    published = publish_models(deployment, tuple(names))
    package = paths.BUILD / settings.classifier_package().folder
    bucket = deployment.output(Stack.STORAGE, Output.ARTIFACTS_BUCKET)
    with translated("upload the classifier's libraries"):
        publish_libraries(package, client=deployment.client("s3"), bucket=bucket)
    return published


def destroy(*, context: Mapping[str, object] | None = None) -> None:
    """`cdk destroy --all` on the embedded cloud; the cloud itself stays up."""
    cdk(["destroy", "--all", "--force"], cloud="local", context=context)


def build_model(name: str, *, precision: Precision = "fp32", random: bool = False) -> Artifact:
    """A model, built unless it is; what is not in fp32 has its precision in its name.

    `random` takes random weights where the real ones cannot be had.
    """
    with err.status(f"model {name} …"):
        return find_model(name, precision=precision, random=random)()


def publish_models(deployment: Deployment, names: tuple[str, ...]) -> tuple[str, ...]:
    """Build what is not built, publish what is not published; returns what was uploaded.

    A name is one of the catalog's, or of a model that lies in `.models`, such as a trained one.
    """
    bucket = deployment.output(Stack.STORAGE, Output.ARTIFACTS_BUCKET)
    client = deployment.client("s3")
    uploaded = []
    for name in names:
        artifact = build_model(name)
        with err.status(f"publishing {name} …"):
            if publish(artifact, client=client, bucket=bucket):
                uploaded.append(name)
    return tuple(uploaded)
