from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from runtime.contract import Output
from visionstack.classify.client import ClassifierClient
from visionstack.classify.trials import DeployedEnvironments, prove_warm_pool
from visionstack.cli.main import app
from visionstack.cloud.deployment import Deployment
from visionstack.errors import VisionstackError


class FakeLambda:
    """A function with an alias: its configuration, versions and reserved concurrency."""

    def __init__(self) -> None:
        self.configuration = {"Description": "classifies", "MemorySize": 3008}
        self.versions = {"1": dict(self.configuration)}
        self.alias = "1"
        self.reserved: int | None = None
        self.report: dict[str, Any] = {"target": 5, "reached": 5, "environments": ["a"],
                                       "rounds": 1, "sleep_ms": 400}  # fmt: skip
        self.events: list[dict[str, Any]] = []
        self.failures: list[str] = []

    def get_alias(self, **_: Any) -> dict[str, str]:
        return {"FunctionVersion": self.alias}

    def get_function_configuration(self, **_: Any) -> dict[str, Any]:
        return dict(self.configuration)

    def update_function_configuration(self, **call: Any) -> None:
        self.configuration = {name: call[name] for name in ("Description", "MemorySize")}

    def get_paginator(self, name: str) -> Any:
        assert name == "list_versions_by_function"
        versions = [{"Version": "$LATEST", **self.configuration}]
        versions += [{"Version": number, **one} for number, one in self.versions.items()]
        return SimpleNamespace(paginate=lambda **call: [{"Versions": versions}])

    def publish_version(self, **_: Any) -> dict[str, str]:
        if self.configuration not in self.versions.values():
            self.versions[str(len(self.versions) + 1)] = dict(self.configuration)
        return {"Version": max(self.versions)}

    def update_alias(self, **call: Any) -> None:
        self.alias = call["FunctionVersion"]

    def delete_function(self, **call: Any) -> None:
        if "delete_function" in self.failures:
            self.failures = []
            raise ClientError({"Error": {"Code": "ServiceException", "Message": ""}}, "Delete")
        assert call["Qualifier"] != self.alias
        del self.versions[call["Qualifier"]]

    def get_waiter(self, _: str) -> Any:
        return SimpleNamespace(wait=lambda **call: None)

    def get_function_concurrency(self, **_: Any) -> dict[str, int]:
        return {} if self.reserved is None else {"ReservedConcurrentExecutions": self.reserved}

    def put_function_concurrency(self, **call: Any) -> None:
        self.reserved = call["ReservedConcurrentExecutions"]

    def delete_function_concurrency(self, **_: Any) -> None:
        self.reserved = None

    def invoke(self, **call: Any) -> dict[str, Any]:
        self.events.append(json.loads(call["Payload"]))
        return {"Payload": io.BytesIO(json.dumps(self.report).encode())}


@pytest.fixture
def fake() -> FakeLambda:
    return FakeLambda()


@pytest.fixture
def deployment(fake: FakeLambda) -> Deployment:
    outputs = {Output.CLASSIFIER_FUNCTION: "f", Output.CLASSIFIER_ALIAS: "live"}
    made: Any = SimpleNamespace(
        cloud="local",
        client=lambda name: fake,
        outputs=lambda stack: outputs,
        output=lambda stack, key: "warmer",
    )
    return cast(Deployment, made)


@pytest.fixture
def environments(deployment: Deployment) -> DeployedEnvironments:
    return DeployedEnvironments(deployment)


def test_retiring_points_the_alias_at_new_environments_and_restoring_undoes_all(
    fake: FakeLambda, environments: DeployedEnvironments
) -> None:
    environments.retire()
    assert fake.alias == "2"
    environments.retire(memory_mib=768)
    assert fake.alias == "3"
    assert fake.versions["3"]["MemorySize"] == 768
    environments.restore()
    assert (fake.alias, list(fake.versions)) == ("1", ["1"])
    assert fake.configuration == {"Description": "classifies", "MemorySize": 3008}


@pytest.mark.parametrize("before", [None, 7])
def test_a_limit_is_taken_back_to_what_was_before(
    fake: FakeLambda, environments: DeployedEnvironments, before: int | None
) -> None:
    fake.reserved = before
    environments.limit(5)
    environments.limit(6)
    assert (fake.reserved, fake.alias) == (6, "$LATEST")
    environments.restore()
    assert (fake.reserved, fake.alias) == (before, "1")


def test_a_limited_function_is_resized_in_place_and_back(
    fake: FakeLambda, environments: DeployedEnvironments
) -> None:
    environments.limit(1)
    for size in (512, 1769):
        environments.resize(size)
        assert (fake.alias, fake.configuration["MemorySize"]) == ("$LATEST", size)
    environments.restore()
    assert (fake.alias, fake.configuration["MemorySize"], fake.reserved) == ("1", 3008, None)


@pytest.mark.parametrize("before", [None, 7])
def test_a_trial_that_was_killed_is_undone_by_the_next(
    fake: FakeLambda, environments: DeployedEnvironments, before: int | None,
    deployment: Deployment, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    fake.reserved = before
    killed = environments
    killed.limit(5)
    killed.retire(memory_mib=768)

    following = DeployedEnvironments(deployment)
    following.retire()
    assert (fake.alias, fake.configuration["MemorySize"]) == ("3", 3008)
    following.restore()

    assert (fake.alias, fake.reserved, list(fake.versions)) == ("1", before, ["1"])
    assert fake.configuration == {"Description": "classifies", "MemorySize": 3008}
    assert "cut off" in capsys.readouterr().err


def test_a_restoring_that_fails_half_way_is_finished_by_the_next(
    fake: FakeLambda, environments: DeployedEnvironments, deployment: Deployment
) -> None:
    environments.retire(memory_mib=768)
    fake.failures = ["delete_function"]
    with pytest.raises(VisionstackError, match="next trial"):
        environments.restore()

    following = DeployedEnvironments(deployment)
    following.limit(3)
    following.restore()

    assert (fake.alias, fake.reserved, list(fake.versions)) == ("1", None, ["1"])
    assert fake.configuration == {"Description": "classifies", "MemorySize": 3008}


def test_restoring_what_was_never_changed_changes_nothing(
    fake: FakeLambda, environments: DeployedEnvironments
) -> None:
    environments.restore()
    assert (fake.alias, fake.reserved) == ("1", None)


def test_a_warmer_that_failed_is_told_with_its_message(
    fake: FakeLambda, environments: DeployedEnvironments
) -> None:
    fake.report = {"errorMessage": "no such function"}
    with pytest.raises(VisionstackError, match="no such function"):
        environments.warm(5)


@pytest.mark.parametrize(("busy", "exit_code"), [(1, 0), (0, 1)])
def test_a_wakeup_is_short_of_what_is_neither_reached_nor_at_work(
    fake: FakeLambda, deployment: Deployment, monkeypatch: pytest.MonkeyPatch,
    busy: int, exit_code: int,
) -> None:  # fmt: skip
    fake.report |= {"reached": 4, "busy": busy, "cold": 0, "spares": []}
    monkeypatch.setattr("visionstack.cloud.deployment.connect", lambda **options: deployment)
    done = CliRunner().invoke(app, ["wakeup"])
    assert done.exit_code == exit_code
    assert f"4 of 5 environments in 1 round(s) of 400 ms; 0 started, 0 spare, {busy} at work" in (
        " ".join(done.stdout.split())
    )


def test_the_proof_counts_cold_calls_without_and_with_the_warmer_and_restores(
    fake: FakeLambda, environments: DeployedEnvironments, picture_file: Path,
    service: Callable[[httpx.Request], httpx.Response],
) -> None:  # fmt: skip
    with ClassifierClient("http://api.test", "k", transport=httpx.MockTransport(service)) as client:
        proof = prove_warm_pool(client, 5, environments=environments, picture=picture_file)
    assert (proof.cold_calls_without, proof.cold_calls_with) == (5, 0)
    assert (proof.target, proof.reached) == (5, 5)
    assert fake.events == [{"target": 5}]
    assert fake.alias == "1"


@pytest.fixture
def picture_file(tmp_path: Path) -> Path:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"jpeg")
    return path


@pytest.fixture
def service(fake: FakeLambda) -> Callable[[httpx.Request], httpx.Response]:
    """Cold until the warmer was invoked."""

    def answer(request: httpx.Request) -> httpx.Response:
        top = {f"TOP{n}_{key}": 0.1 if key == "softmax" else "x" for n in range(1, 6)
               for key in ("ID", "label", "softmax")}  # fmt: skip
        about = {"environment": "e", "model": {"name": "m", "version": "v"}}
        body = {**top, **about, "cold": not fake.events, "file_path": "p"}
        return httpx.Response(200, json=body)

    return answer
