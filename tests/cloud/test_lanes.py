"""Both lanes as deployed by cdk, through the commands that a user types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cloud.conftest import until
from visionstack import paths

if TYPE_CHECKING:
    from tests.cloud.conftest import EmbeddedCloud

pytestmark = pytest.mark.cloud
DOG = paths.SAMPLES / "dog.jpg"
IMAGENET_DOGS = range(151, 269)


def test_a_picture_streamed_to_the_deployed_server_comes_back_with_its_objects(
    embedded_cloud: EmbeddedCloud,
) -> None:
    frame = embedded_cloud.json("stream", str(DOG))

    labels = {one["label"] for one in frame["detections"]}
    assert {"dog", "bicycle"} <= labels
    assert labels & {"car", "truck"}


def test_the_stream_server_runs_from_its_own_folder_and_not_from_the_checkout(
    embedded_cloud: EmbeddedCloud,
) -> None:
    instances = embedded_cloud.json("local", "status")["instances"]
    (instance,) = [one for one in instances if one["group"].endswith("-stream")]
    home = embedded_cloud.folder.instances / instance["id"]

    log = Path(instance["log"]).read_text()
    assert instance["state"] == "healthy"
    assert (home / "root" / "requirements.lock").read_text().count("--hash=sha256:") > 5
    assert str(home / "user-data.sh") in log
    installed = (home / "root" / "venv" / "lib").glob("python*/site-packages/*")
    names = {path.name for path in installed}
    assert "numpy" in names
    assert not names & {"visionstack", "stacks", "aws_cdk", "torch"}


def test_status_finds_both_lanes_and_the_versions_that_they_serve(
    embedded_cloud: EmbeddedCloud,
) -> None:
    (told,) = embedded_cloud.json("status", "--cloud", "local")

    streaming, serverless = told["lanes"]
    assert told["next"] == "visionstack open --cloud local"
    assert streaming["runs"].endswith("1 healthy")
    assert streaming["models"][0].startswith("yolov3-tiny ")
    assert serverless["models"][0].startswith("efficientnet-lite0 ")
    assert streaming["usd_per_hour"] > serverless["usd_per_hour"] > 0
    assert streaming["trouble"] == serverless["trouble"] == []


def test_the_logs_of_what_is_deployed_are_read(embedded_cloud: EmbeddedCloud) -> None:
    def told() -> list[object]:
        done = embedded_cloud.visionstack("logs", "streaming", "--since", "1h", "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["message"] for line in done.stdout.splitlines()]

    until(
        lambda: any(
            isinstance(one, dict) and one.get("message") == "model loaded" for one in told()
        ),
        message="no model loaded",
    )


def test_a_wrong_token_is_refused_by_the_deployed_server(embedded_cloud: EmbeddedCloud) -> None:
    endpoint = embedded_cloud.stream
    done = embedded_cloud.visionstack(
        *("stream", str(DOG), "--connect", f"{endpoint.host}:{endpoint.port}"),
        *("--token", "wrong", "--fingerprint", endpoint.fingerprint or ""),
    )

    assert done.returncode == 1
    assert "token" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_picture_sent_to_the_deployed_function_comes_back_classified(
    embedded_cloud: EmbeddedCloud,
) -> None:
    done = embedded_cloud.visionstack("classify", str(DOG), "--json")

    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    answer = answer[0] if isinstance(answer, list) else answer
    best = answer["top"][0]
    assert int(best["id"]) in IMAGENET_DOGS
    assert 0 < best["softmax"] <= 1


def test_the_warmer_reaches_five_of_five_environments(embedded_cloud: EmbeddedCloud) -> None:
    reached = embedded_cloud.json("wakeup", "--target", "5")

    assert reached["reached"] == 5


def test_publishing_again_uploads_nothing_and_keeps_the_current_pointer(
    embedded_cloud: EmbeddedCloud,
) -> None:
    (answer,) = embedded_cloud.json("models", "publish", "efficientnet-lite0")

    s3 = embedded_cloud.deployment.client("s3")
    current = s3.get_object(Bucket=answer["bucket"], Key="models/efficientnet-lite0/current")
    assert answer["uploaded"] is False
    assert current["Body"].read().decode().splitlines()[0] == answer["version"]
    told = embedded_cloud.visionstack("models", "publish", "efficientnet-lite0", "--no-promote")
    assert told.stdout.startswith("already published, still current: ")
