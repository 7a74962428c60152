"""Everything between nothing and a served deployment on the embedded cloud, in one call.

On AWS these are the user's own steps: `npx cdk bootstrap`, `npx cdk deploy --all`,
`visionstack models publish …`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from runtime.contract import Output, Stack
from stacks.settings.model import DeploymentSettings
from visionstack import paths
from visionstack.cloud import local_defaults
from visionstack.cloud.aws_errors import translated
from visionstack.cloud.deployment import Deployment, StreamEndpoint, connect
from visionstack.console import err
from visionstack.deploy.cdk import bootstrap_embedded_cloud, cdk
from visionstack.localcloud import lifecycle
from visionstack.packaging.build import settings_from
from visionstack.packaging.libraries import publish_libraries

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
    lifecycle.up()
    bootstrap_embedded_cloud()
    deployment = connect(cloud="local", prefix=settings.prefix)
    if settings.cold_start in INITIALISED_WHILE_DEPLOYED:
        _cdk_deploy(deployment.stack_name(Stack.STORAGE), context=context)
        published = _publish(deployment, settings)
        _cdk_deploy("--all", context=context)
    else:
        _cdk_deploy("--all", context=context)
        published = _publish(deployment, settings)
    with err.status("waiting for the stream server …"):
        stream = deployment.stream_endpoint(wait_s=SERVED_WITHIN_S)
    return Deployed(deployment, stream, published, settings.lambda_memory_mib)


def _cdk_deploy(what: str, *, context: Mapping[str, object] | None) -> None:
    cdk(["deploy", what, "--require-approval", "never"], cloud="local", context=context)


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


def publish_models(deployment: Deployment, names: tuple[str, ...]) -> tuple[str, ...]:
    """Build what is not built, publish what is not published; returns what was uploaded."""
    from visionstack.models.building import ready
    from visionstack.models.catalog import find_recipe
    from visionstack.models.publishing import publish

    bucket = deployment.output(Stack.STORAGE, Output.ARTIFACTS_BUCKET)
    client = deployment.client("s3")
    uploaded = []
    for name in names:
        with err.status(f"model {name} …"):
            artifact = ready(find_recipe(name), root=paths.MODELS)
            if publish(artifact, client=client, bucket=bucket):
                uploaded.append(name)
    return tuple(uploaded)
