"""The serverless lane alone on an embedded cloud of its own, deployed by cdk as for a user."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks._peers.servers import free_port
from runtime.contract import Stack
from visionstack.cloud import local_state
from visionstack.cloud.deployment import Deployment, connect
from visionstack.cloud.local_state import CloudFolder
from visionstack.deploy.cdk import bootstrap_embedded_cloud, cdk
from visionstack.deploy.local import build_model, publish_models
from visionstack.localcloud import lifecycle


@contextmanager
def embedded_cloud() -> Iterator[CloudFolder]:
    """Up on a port of its own, and wiped at the end."""
    changed = {local_state.PORT_VARIABLE: str(free_port())}
    with tempfile.TemporaryDirectory(prefix="visionstack-bench-") as root:
        changed[local_state.FOLDER_VARIABLE] = root
        before = {name: os.environ.get(name) for name in changed}
        os.environ.update(changed)
        folder = CloudFolder(Path(root).resolve())
        try:
            lifecycle.up()
            bootstrap_embedded_cloud()
            yield folder
        finally:
            lifecycle.down(wipe=True, folder=folder)
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def deploy_classifier(*, model: str, context: Mapping[str, object]) -> Deployment:
    """Storage, the model in it, classifier and, unless `context` says otherwise, the warmer."""
    settings = {"classifier_model": model, **context}
    stacks = [Stack.CLASSIFIER]
    if settings.get("cold_start", "warmer") == "warmer":
        stacks.append(Stack.WARMER)
    deployment = connect(cloud="local")

    def deploy(*names: str) -> None:
        wanted = [deployment.stack_name(name) for name in names]
        words = ["--exclusively", "--require-approval", "never"]
        cdk(["deploy", *wanted, *words], cloud="local", context=settings)

    build_model(model, random=True)
    deploy(Stack.STORAGE)
    # SnapStart loads the model when the version is published.
    publish_models(deployment, (model,))
    deploy(*stacks)
    return deployment
