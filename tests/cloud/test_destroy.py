"""The end of a deployment. conftest.py sees to it that these tests run last."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.cloud.conftest import SMALL_SETTINGS
from visionstack.cloud.local_fleet import Fleet
from visionstack.deploy.local import destroy

if TYPE_CHECKING:
    from tests.cloud.conftest import EmbeddedCloud

pytestmark = pytest.mark.cloud
PATIENCE_S = 60


def test_destroy_leaves_no_stack_no_data_and_no_server(embedded_cloud: EmbeddedCloud) -> None:
    client = embedded_cloud.deployment.client
    buckets_of_cdk = 1

    destroy(context=SMALL_SETTINGS)

    stacks = client("cloudformation").describe_stacks()["Stacks"]
    left = [one["StackName"] for one in stacks if one["StackStatus"] != "DELETE_COMPLETE"]
    assert left == ["CDKToolkit"]
    assert len(client("s3").list_buckets()["Buckets"]) == buckets_of_cdk
    assert client("lambda").list_functions()["Functions"] == []
    assert client("apigateway").get_rest_apis()["items"] == []
    assert client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"] == []
    deadline = time.monotonic() + PATIENCE_S
    while (fleet := Fleet.read(embedded_cloud.folder)).instances and time.monotonic() < deadline:
        time.sleep(0.2)
    assert fleet.instances == []
    assert list(embedded_cloud.folder.instances.iterdir()) == []


def test_a_command_after_destroy_says_what_is_missing(embedded_cloud: EmbeddedCloud) -> None:
    done = embedded_cloud.visionstack("stream", "samples/dog.jpg")

    assert done.returncode == 1
    assert "visionstack-streaming is not deployed" in done.stderr
    assert "Traceback" not in done.stderr
