"""Changes of settings on deployed stacks that have data in their buckets.

Every pair of settings is checked on templates (tests/infrastructure/test_transitions.py); here the
likeliest are deployed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from runtime.contract import Output, Stack
from visionstack import paths
from visionstack.classify.client import ClassifierClient
from visionstack.cloud.deployment import Deployment, connect
from visionstack.deploy.cdk import cdk
from visionstack.deploy.local import publish_models
from visionstack.rehearse import leftovers

if TYPE_CHECKING:
    from tests.cloud.conftest import Cloud

pytestmark = pytest.mark.cloud
PREFIX = "moved"
CLASSIFIER = "efficientnet-lite0"
BEFORE = {"prefix": PREFIX, "classifier_model": CLASSIFIER}
AFTER = {
    **BEFORE,
    "retain_data": "true",
    "auth": "iam",
    "cold_start": "none",
    "packaging": "package",
}
STACKS = [f"{PREFIX}-{stack}" for stack in (Stack.STORAGE, Stack.CLASSIFIER, Stack.WARMER)]
IMAGENET_DOGS = range(151, 269)


def buckets(s3: Any) -> list[str]:
    names = (one["Name"] for one in s3.list_buckets()["Buckets"])
    return [name for name in names if name.startswith(f"{PREFIX}-")]


def contents(s3: Any) -> dict[str, set[str]]:
    """Keys by bucket."""
    return {
        name: {one["Key"] for one in s3.list_objects_v2(Bucket=name).get("Contents", [])}
        for name in buckets(s3)
    }


@pytest.fixture
def moved(own_cloud: Cloud) -> Iterator[Deployment]:
    """A serverless lane of its own, and nothing of it afterwards: what it keeps is removed here."""
    del own_cloud
    found = connect(cloud="local", prefix=PREFIX)
    yield found
    s3 = found.client("s3")
    for name, keys in contents(s3).items():
        for key in keys:
            s3.delete_object(Bucket=name, Key=key)
        s3.delete_bucket(Bucket=name)


def test_data_outlives_a_change_of_auth_cold_start_packaging_and_retention_and_the_stacks(
    moved: Deployment,
) -> None:
    def deploy(settings: dict[str, str]) -> None:
        cdk(
            ["deploy", *STACKS, "--exclusively", "--require-approval", "never"],
            cloud="local",
            context=settings,
        )

    s3 = moved.client("s3")
    deploy(BEFORE)
    publish_models(moved, (CLASSIFIER,))
    for name in buckets(s3):
        s3.put_object(Bucket=name, Key="kept/by the user", Body=b"1")
    before = contents(s3)
    assert len(before) == 3
    assert Output.API_KEY_ID in moved.outputs(Stack.CLASSIFIER)

    deploy(AFTER)

    assert contents(s3) == before
    assert f"{PREFIX}-{Stack.WARMER}" not in leftovers.stacks(moved)
    assert Output.API_KEY_ID not in moved.outputs(Stack.CLASSIFIER)
    with ClassifierClient.of(moved) as client:
        answer = client.classify(paths.SAMPLES / "dog.jpg")
    # The package has no model now: it came out of the bucket.
    assert int(answer.top[0].id) in IMAGENET_DOGS

    after = contents(s3)
    assert all(before[name] <= after[name] for name in before)
    cdk(["destroy", *STACKS, "--exclusively", "--force"], cloud="local", context=BEFORE)
    assert not [name for name in leftovers.stacks(moved) if name.startswith(f"{PREFIX}-")]
    assert contents(s3) == after
