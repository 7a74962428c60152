"""The embedded cloud of the tests that deploy what they need themselves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runtime.contract import Stack
from tests.cloud.conftest import SMALL_SETTINGS, Cloud, free_port, named, stopped_afterwards
from visionstack.cloud.deployment import connect
from visionstack.deploy.cdk import bootstrap_embedded_cloud, cdk
from visionstack.deploy.local import build_model
from visionstack.localcloud import lifecycle


@pytest.fixture(scope="session")
def _own_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    port = free_port()
    with stopped_afterwards(tmp_path_factory.mktemp("own")) as folder:
        with named(folder, port):
            # The package brings it along where it is built: one package then, whoever asks first.
            build_model(str(SMALL_SETTINGS["classifier_model"]))
            lifecycle.up()
            bootstrap_embedded_cloud()
            deployment = connect(cloud="local")
            # Something of somebody else's, which has to be there afterwards.
            cdk(
                ["deploy", deployment.stack_name(Stack.STORAGE), "--require-approval", "never"],
                cloud="local",
                context=SMALL_SETTINGS,
            )
        yield Cloud(folder, port, deployment)


@pytest.fixture
def own_cloud(_own_cloud: Cloud) -> Iterator[Cloud]:
    """Up and bootstrapped for CDK, with a storage stack. Found by the environment in a test only:
    the cloud with both lanes may be another test's of this process."""
    with named(_own_cloud.folder, _own_cloud.port):
        yield _own_cloud
