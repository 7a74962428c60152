"""Everything between nothing and a served deployment on the embedded cloud, in one call.

On AWS these are the user's own steps: `npx cdk bootstrap`, `npx cdk deploy --all`,
`visionstack models publish …`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runtime.contract import Output, Stack
from visionstack import paths
from visionstack.cdk import bootstrap_embedded_cloud, cdk
from visionstack.console import err
from visionstack.deployment import Deployment, StreamEndpoint, connect
from visionstack.localcloud import defaults, lifecycle
from visionstack.packaging.build import settings_from

SERVED_WITHIN_S = 180


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
    settings = settings_from({**defaults.context(), **(context or {})})
    lifecycle.up()
    bootstrap_embedded_cloud()
    cdk(["deploy", "--all", "--require-approval", "never"], cloud="local", context=context)
    deployment = connect(cloud="local", prefix=settings.prefix)
    wanted = dict.fromkeys([*settings.stream_model, settings.classifier_model])
    published = publish_models(deployment, tuple(wanted))
    with err.status("waiting for the stream server …"):
        stream = deployment.stream_endpoint(wait_s=SERVED_WITHIN_S)
    return Deployed(deployment, stream, published, settings.lambda_memory_mib)


def destroy() -> None:
    """`cdk destroy --all` on the embedded cloud; the cloud itself stays up."""
    cdk(["destroy", "--all", "--force"], cloud="local")


def publish_models(deployment: Deployment, names: tuple[str, ...]) -> tuple[str, ...]:
    """Build what is not built, publish what is not published; returns what was uploaded."""
    from visionstack.models.building import build
    from visionstack.models.catalog import find_recipe
    from visionstack.models.publishing import publish

    bucket = deployment.output(Stack.STORAGE, Output.ARTIFACTS_BUCKET)
    client = deployment.client("s3")
    uploaded = []
    for name in names:
        with err.status(f"model {name} …"):
            built = build(find_recipe(name), root=paths.MODELS)
            if publish(built.artifact, client=client, bucket=bucket):
                uploaded.append(name)
    return tuple(uploaded)
