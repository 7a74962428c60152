"""The deployed API: held to its document, its own limits, and to losing nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import schemathesis
import schemathesis.openapi
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from runtime.contract import MAX_WAKEUP_SLEEP_MS, Output, Route, Stack
from visionstack import paths
from visionstack.classify.client import BackOff, Classification, ClassifierClient, ClassifierError
from visionstack.classify.trials import DeployedEnvironments
from visionstack.cloud import local_state
from visionstack.cloud.clouds import LOCAL_CREDENTIAL
from visionstack.cloud.deployment import ClassifierApi
from visionstack.cloud.signing import SERVICE
from visionstack.errors import VisionstackError
from visionstack.localcloud.cpu_share import CpuShare, environments_of

if TYPE_CHECKING:
    from tests.cloud.conftest import EmbeddedCloud

pytestmark = pytest.mark.cloud
DOG = paths.SAMPLES / "dog.jpg"
DOCUMENT = json.loads((paths.IMPORT_ROOT / "docs" / "api" / "openapi.json").read_text())


@pytest.fixture(scope="module")
def client(embedded_cloud: EmbeddedCloud) -> Iterator[ClassifierClient]:
    with ClassifierClient.of(embedded_cloud.deployment) as made:
        yield made


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(
    "route", [Route.CLASSIFICATION, Route.WAKEUP, Route.IMAGES, Route.RECOGNITIONS]
)
def test_the_deployed_service_does_what_its_document_says(
    embedded_cloud: EmbeddedCloud, route: str, mode: GenerationMode
) -> None:
    api = embedded_cloud.deployment.classifier_api()
    schema = schemathesis.openapi.from_dict({**DOCUMENT, "servers": [{"url": api.url}]})
    cases = schema[route]["POST"].as_strategy(generation_mode=mode)
    # A file_path that is well formed still names no picture, and bytes need not be one: 404 and 422
    # are what the document says.
    uncertain = route in (Route.CLASSIFICATION, Route.RECOGNITIONS)
    excluded = [positive_data_acceptance] if uncertain else []
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
    assert ids(again) == ids(answer)
    assert ids(client.classify_stored(again.file_path)) == ids(answer)


def ids(answer: Classification) -> list[str]:
    """Environments differ in the last digits: a wake-up has settled some and others not yet."""
    return [one.id for one in answer.top]


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


def test_a_function_killed_in_mid_call_loses_no_call_and_no_picture(
    embedded_cloud: EmbeddedCloud, client: ClassifierClient
) -> None:
    first = client.classify(DOG)
    api = embedded_cloud.deployment.classifier_api()
    function = embedded_cloud.deployment.output(Stack.CLASSIFIER, Output.CLASSIFIER_FUNCTION)
    retried = threading.Event()

    def note(seconds: float) -> None:
        retried.set()
        time.sleep(seconds)

    with (
        ClassifierClient(api.url, api.key, sleep=note) as caller,
        ThreadPoolExecutor(1) as pool,
    ):
        # Held for so long that it is under way when its environment is killed.
        call = pool.submit(caller.wakeup, MAX_WAKEUP_SLEEP_MS)
        while not retried.wait(0.05) and not call.done():
            for pid in environments_of(function, port=embedded_cloud.port):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        assert retried.is_set()
        assert call.result()["environment"] != first.environment
    answer = client.classify(DOG)
    assert ids(answer) == ids(first)
    assert answer.environment != first.environment


def test_a_body_over_what_lambda_takes_is_refused_with_code_and_message(
    embedded_cloud: EmbeddedCloud,
) -> None:
    api = embedded_cloud.deployment.classifier_api()
    headers = {"x-api-key": api.key, "content-type": "image/jpeg"}
    # AWS refuses the first for its size; the embedded cloud hands it on, and it is no picture.
    for megabytes, statuses in ((7, {413, 422}), (11, {413})):
        body = b"\xff\xd8" + bytes(megabytes * 1024 * 1024)
        answer = httpx.post(api.url + Route.RECOGNITIONS, content=body, headers=headers, timeout=60)
        assert answer.status_code in statuses
        assert answer.json()["code"] in {"picture_too_large", "too_large", "not_a_picture"}
        assert answer.json()["message"]


def test_a_call_over_the_functions_time_limit_is_cut_off_and_the_next_is_answered(
    embedded_cloud: EmbeddedCloud, client: ClassifierClient
) -> None:
    api = embedded_cloud.deployment.classifier_api()
    function = embedded_cloud.deployment.output(Stack.CLASSIFIER, Output.CLASSIFIER_FUNCTION)
    configure = embedded_cloud.deployment.client("lambda").update_function_configuration
    environments = DeployedEnvironments(embedded_cloud.deployment)
    once = BackOff(server_error_attempts=1)
    try:
        configure(FunctionName=function, Timeout=3)
        environments.retire()
        with ClassifierClient(api.url, api.key, back_off=once) as caller:
            assert caller.wakeup(0)["cold"]
            with pytest.raises(ClassifierError) as caught:
                caller.wakeup(MAX_WAKEUP_SLEEP_MS)
        assert caught.value.status in {502, 504}
        assert len(client.classify(DOG).top) == 5
    finally:
        environments.restore()
        configure(FunctionName=function, Timeout=30)


def test_a_memory_sweep_runs_at_awss_share_of_a_processor_or_says_why_it_cannot(
    embedded_cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    lambda_ = embedded_cloud.deployment.client("lambda")
    function = embedded_cloud.deployment.output(Stack.CLASSIFIER, Output.CLASSIFIER_FUNCTION)
    before = lambda_.get_function_configuration(FunctionName=function)
    try:
        with CpuShare(f"visionstack-probe-{os.getpid()}"):
            allowed = True
    except VisionstackError:
        allowed = False

    done = embedded_cloud.visionstack(
        *("load", "--memory", "512", "--memory", "1769", "--concurrency", "2", "--repeats", "2"),
        *("--out", str(tmp_path), "--json"),
    )

    after = lambda_.get_function_configuration(FunctionName=function)
    for name in ("Description", "MemorySize"):
        assert after[name] == before[name]
    if not allowed:
        assert (done.returncode, "Control groups" in done.stderr) == (1, True)
        return
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)["steps"]
    assert [(step["memory_mib"], step["answered"]) for step in steps] == [(512, 4), (1769, 4)]


class Recording(httpx.HTTPTransport):
    """Keeps the requests that it sends."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return super().handle_request(request)


@pytest.fixture
def with_auth_iam(embedded_cloud: EmbeddedCloud) -> Iterator[ClassifierApi]:
    """The deployed API, its methods changed to what auth=iam deploys; as they were afterwards."""
    deployment = embedded_cloud.deployment
    gateway = deployment.client("apigateway")
    api = deployment.classifier_api()
    rest_api = api.url.split("/")[-2]
    resources = [
        one["id"]
        for one in gateway.get_resources(restApiId=rest_api, limit=500)["items"]
        if "POST" in one.get("resourceMethods", {})
    ]
    assert len(resources) == 4

    def change(authorization: str, key: dict[str, str]) -> None:
        for resource in resources:
            gateway.update_method(
                restApiId=rest_api,
                resourceId=resource,
                httpMethod="POST",
                patchOperations=[
                    {"op": "replace", "path": "/authorizationType", "value": authorization},
                    {"path": "/apiKeyRequired", **key},
                ],
            )
        gateway.create_deployment(restApiId=rest_api, stageName=api.url.split("/")[-1])

    # MiniStack takes any text for true.
    change("AWS_IAM", {"op": "remove"})
    try:
        yield ClassifierApi(api.url, "", deployment.signing(), cloud="local")
    finally:
        change("NONE", {"op": "add", "value": "true"})


def test_an_api_with_auth_iam_answers_signed_calls_and_no_others(
    embedded_cloud: EmbeddedCloud, with_auth_iam: ClassifierApi
) -> None:
    api = with_auth_iam
    key = embedded_cloud.deployment.classifier_api().key
    with ClassifierClient(api.url, key) as stranger, pytest.raises(ClassifierError) as caught:
        stranger.wakeup(0)
    assert (caught.value.status, caught.value.code) == (403, "forbidden")

    sent = Recording()
    with ClassifierClient(api.url, "", signing=api.signing, transport=sent) as client:
        path = client.upload(DOG.read_bytes(), "image/jpeg", name="dog.jpg")
        assert ids(client.classify_stored(path)) == ids(client.classify(DOG))

    # The embedded cloud looks at no signature: these are what botocore makes of the same requests.
    signed = [one for one in sent.requests if one.url.path.startswith("/_aws/execute-api/")]
    assert len(signed) == 3
    for request in signed:
        assert request.headers["authorization"].endswith(f"Signature={signature(request)}")
    for upload in (one for one in sent.requests if one not in signed):
        assert "authorization" not in upload.headers


def signature(request: httpx.Request) -> str:
    """botocore's, of what the gateway gets."""
    headers = {name: request.headers[name] for name in ("host", "content-type")}
    ours = AWSRequest(request.method, str(request.url), headers, data=request.content)
    ours.context["timestamp"] = ours.headers["X-Amz-Date"] = request.headers["x-amz-date"]
    signer = SigV4Auth(Credentials(LOCAL_CREDENTIAL, LOCAL_CREDENTIAL), SERVICE, local_state.REGION)
    return signer.signature(signer.string_to_sign(ours, signer.canonical_request(ours)), ours)
