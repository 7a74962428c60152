"""The serverless lane alone on an embedded cloud of its own, deployed by cdk as for a user."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks._inputs import model_folder
from runtime.contract import Stack
from visionstack.cloud import local_state
from visionstack.cloud.deployment import Deployment, connect, default_prefix
from visionstack.cloud.local_state import CloudFolder
from visionstack.deploy.cdk import bootstrap_embedded_cloud, cdk
from visionstack.deploy.local import build_model, publish_models
from visionstack.localcloud import lifecycle


@contextmanager
def embedded_cloud() -> Iterator[CloudFolder]:
    """Up on a port of its own, and wiped at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    changed = {local_state.PORT_VARIABLE: str(port)}
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
    prefix = default_prefix()
    settings = {"classifier_model": model, **context}
    stacks = [Stack.CLASSIFIER]
    if settings.get("cold_start", "warmer") == "warmer":
        stacks.append(Stack.WARMER)
    deployment = connect(cloud="local")
    build_model(model, random=True)
    for names in ([Stack.STORAGE], stacks):
        wanted = [f"{prefix}-{name}" for name in names]
        cdk(
            ["deploy", *wanted, "--exclusively", "--require-approval", "never"],
            cloud="local",
            context=settings,
        )
        if names == [Stack.STORAGE]:
            # SnapStart loads the model when the version is published.
            model_folder(model)
            publish_models(deployment, (model,))
    return deployment
