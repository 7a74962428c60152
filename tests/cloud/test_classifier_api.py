"""The deployed API: held to its document, its own limits, and to losing nothing."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import schemathesis
import schemathesis.openapi
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from runtime.contract import Output, Route, Stack
from visionstack import paths
from visionstack.client.classifier import ClassifierClient, ClassifierError

if TYPE_CHECKING:
    from tests.cloud.conftest import EmbeddedCloud

pytestmark = pytest.mark.cloud
DOG = paths.SAMPLES / "dog.jpg"
DOCUMENT = json.loads((paths.CHECKOUT / "docs" / "api" / "openapi.json").read_text())


@pytest.fixture(scope="module")
def client(embedded_cloud: EmbeddedCloud) -> Iterator[ClassifierClient]:
    with ClassifierClient.of(embedded_cloud.deployment) as made:
        yield made


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("route", [Route.CLASSIFICATION, Route.WAKEUP, Route.IMAGES])
def test_the_deployed_service_does_what_its_document_says(
    embedded_cloud: EmbeddedCloud, route: str, mode: GenerationMode
) -> None:
    api = embedded_cloud.deployment.classifier_api()
    schema = schemathesis.openapi.from_dict({**DOCUMENT, "servers": [{"url": api.url}]})
    cases = schema[route]["POST"].as_strategy(generation_mode=mode)
    # A file_path that is well formed still names no picture: 404 is what the document says.
    excluded = [positive_data_acceptance] if route == Route.CLASSIFICATION else []
    reached: set[int] = set()

    @given(cases)
    @settings(max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def holds(case: schemathesis.Case) -> None:
        response = case.call_and_validate(
            base_url=api.url, headers={"x-api-key": api.key}, excluded_checks=excluded
        )
        reached.add(response.status_code)

    holds()
    assert reached - {403}


def test_the_papers_six_steps_give_the_top_five(client: ClassifierClient) -> None:
    path = client.upload(DOG.read_bytes(), "image/jpeg", name="dog.jpg")
    answer = client.classify_stored(path)
    assert len(answer.top) == 5
    again = client.classify(DOG)
    assert again.top == answer.top
    assert client.classify_stored(again.file_path).top == answer.top


def upload_form(embedded_cloud: EmbeddedCloud) -> dict[str, Any]:
    api = embedded_cloud.deployment.classifier_api()
    body = {"method": "images", "content_type": "image/jpeg"}
    answer = httpx.post(
        api.url + Route.IMAGES, json=body, headers={"x-api-key": api.key}, timeout=60
    )
    assert answer.status_code == 200, answer.text
    form: dict[str, Any] = answer.json()["upload"]
    return form


@pytest.mark.parametrize(
    ("changed", "content"),
    [
        ({"Content-Type": "text/html"}, b"small"),
        ({"key": "pictures/elsewhere.jpg"}, b"small"),
        ({}, bytes(10 * 1024 * 1024 + 1)),
    ],
    ids=["another type", "another place", "too large"],
)
def test_an_upload_outside_what_was_presigned_is_refused(
    embedded_cloud: EmbeddedCloud, changed: dict[str, str], content: bytes
) -> None:
    form = upload_form(embedded_cloud)
    refused = httpx.post(
        form["url"], data={**form["fields"], **changed}, files={"file": content}, timeout=60
    )
    assert 400 <= refused.status_code < 500


def test_a_wrong_key_is_refused_with_code_and_message(embedded_cloud: EmbeddedCloud) -> None:
    api = embedded_cloud.deployment.classifier_api()
    with ClassifierClient(api.url, "wrong") as stranger, pytest.raises(ClassifierError) as caught:
        stranger.wakeup(0)
    assert (caught.value.status, caught.value.code) == (403, "forbidden")


def test_a_large_picture_goes_by_the_upload_and_is_answered(
    client: ClassifierClient, tmp_path: Path
) -> None:
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(1).integers(0, 256, (1500, 1500, 3), np.uint8)
    picture = tmp_path / "large.png"
    Image.fromarray(noise).save(picture)
    assert 6 * 1024 * 1024 < picture.stat().st_size < 10 * 1024 * 1024
    assert len(client.classify(picture).top) == 5


def test_what_is_no_picture_is_listed_as_failed_and_the_others_answered(
    embedded_cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(DOG.read_bytes()[:2000])
    done = embedded_cloud.visionstack("classify", str(DOG), str(broken), "--json")
    good, bad = json.loads(done.stdout)
    assert done.returncode == 1
    assert len(good["top"]) == 5
    assert bad["code"] == "truncated_picture"
    assert "Traceback" not in done.stderr


def test_a_folder_job_answers_every_picture_and_lists_the_bad_ones(
    embedded_cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_bytes(DOG.read_bytes())
    (tmp_path / "bad.png").write_bytes(b"no picture")
    done = embedded_cloud.visionstack("classify", str(tmp_path), "--job", "--json", timeout=240)
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert (report["pictures"], len(report["answers"])) == (5, 4)
    assert [Path(failure["file"]).name for failure in report["failures"]] == ["bad.png"]


def test_a_function_killed_in_mid_call_loses_no_picture(
    embedded_cloud: EmbeddedCloud, client: ClassifierClient
) -> None:
    first = client.classify(DOG)
    for pid in _environments_of(embedded_cloud):
        os.kill(pid, signal.SIGKILL)
    answer = client.classify(DOG)
    assert answer.top == first.top
    assert answer.environment != first.environment


def _environments_of(embedded_cloud: EmbeddedCloud) -> list[int]:
    """Processes of this cloud's classifier, by the port that they call home to."""
    outputs = embedded_cloud.deployment.outputs(Stack.CLASSIFIER)
    name = f"AWS_LAMBDA_FUNCTION_NAME={outputs[Output.CLASSIFIER_FUNCTION]}".encode()
    port = f"GATEWAY_PORT={embedded_cloud.port}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if name in environment and port in environment:
            found.append(int(process.name))
    return found
