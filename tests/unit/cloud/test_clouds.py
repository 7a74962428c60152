"""Which cloud is talked to; a local command can reach no other machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from visionstack.cloud import clouds, local_state
from visionstack.cloud.deployment import Deployment, local_api_url
from visionstack.errors import UsageError, VisionstackError
from visionstack.processes import ProcessId


@pytest.fixture(autouse=True)
def nothing_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(local_state.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://sts.amazonaws.com",
        "http://10.0.0.1:4566",
        "http://127.0.0.1.example.com:4566",
        "http://localhost@example.com",
        "not a url",
    ],
)
def test_an_endpoint_that_is_not_loopback_is_refused(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)

    with pytest.raises(UsageError, match="not this machine"):
        clouds.cloud_environment("local")


def test_a_local_environment_has_nothing_of_the_users_aws_set_up() -> None:
    made = clouds.local_environment(
        "http://127.0.0.1:4566",
        environment={
            "AWS_PROFILE": "work",
            "AWS_SESSION_TOKEN": "secret",
            "AWS_ACCESS_KEY_ID": "AKIA",
            "AWS_ROLE_ARN": "arn",
            "PATH": "/usr/bin",
        },
    )

    assert made["PATH"] == "/usr/bin"
    assert made["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4566"
    assert made["AWS_ACCESS_KEY_ID"] == clouds.LOCAL_CREDENTIAL
    assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN"} & made.keys()


def test_without_an_embedded_cloud_auto_means_aws() -> None:
    assert clouds.resolve_cloud("auto") == "aws"


def test_auto_does_not_go_to_aws_because_the_embedded_cloud_has_crashed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with subprocess.Popen(["sleep", "60"]) as emulator:
        identity = ProcessId.of(emulator.pid)
        assert identity is not None
        folder = local_state.CloudFolder.from_environment()
        local_state.CloudState(4566, identity, None).write(folder)
        assert clouds.resolve_cloud("auto") == "local"
        emulator.kill()
    with pytest.raises(VisionstackError, match="has ended by itself"):
        clouds.resolve_cloud("auto")
    assert clouds.resolve_cloud("aws") == "aws"
    folder.state.unlink()
    assert clouds.resolve_cloud("auto") == "aws"


def test_a_loopback_endpoint_in_the_environment_makes_auto_local(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:4566")

    assert clouds.resolve_cloud("auto") == "local"


def test_aws_is_not_mistaken_for_the_embedded_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:4566")

    with pytest.raises(VisionstackError, match="stay on this machine"):
        clouds.resolve_cloud("aws")


def test_a_local_command_without_an_embedded_cloud_says_how_to_start_it() -> None:
    with pytest.raises(VisionstackError) as caught:
        clouds.local_endpoint()

    remedy = caught.value.remedy or ""
    for command in ("visionstack local up", "visionstack local deploy", "visionstack try"):
        assert command in remedy


def test_a_local_client_ignores_the_users_profile_and_keys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "does-not-exist")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAREAL")

    deployment = Deployment(cloud="local", prefix="p", endpoint_url="http://127.0.0.1:1")
    client = deployment.client("s3")

    assert client.meta.endpoint_url == "http://127.0.0.1:1"
    assert deployment.session.get_credentials().access_key == clouds.LOCAL_CREDENTIAL


def test_a_cloud_that_does_not_answer_is_told_in_a_sentence() -> None:
    deployment = Deployment(cloud="local", prefix="p", endpoint_url="http://127.0.0.1:1")

    with pytest.raises(VisionstackError) as caught:
        deployment.outputs("streaming")

    assert "p-streaming" in caught.value.message
    assert "visionstack local status" in (caught.value.remedy or "")


def test_aws_that_does_not_answer_is_no_matter_of_the_embedded_cloud() -> None:
    from botocore.exceptions import EndpointConnectionError

    from visionstack.cloud.aws_errors import translated

    with pytest.raises(VisionstackError) as caught, translated("read the stacks"):
        raise EndpointConnectionError(endpoint_url="https://ec2.us-east-1.example/")
    assert "online" in (caught.value.remedy or "")
    assert "local" not in (caught.value.remedy or "")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "https://abc.execute-api.us-east-1.amazonaws.com/v1/",
            "http://127.0.0.1:4566/_aws/execute-api/abc/v1",
        ),
        (
            "https://abc.execute-api.us-east-1.amazonaws.com/v1",
            "http://127.0.0.1:4566/_aws/execute-api/abc/v1",
        ),
        ("https://pictures.example.com/v1", "https://pictures.example.com/v1"),
    ],
)
def test_the_api_is_reached_where_the_embedded_cloud_serves_it(url: str, expected: str) -> None:
    assert local_api_url(url, endpoint="http://127.0.0.1:4566") == expected


@pytest.fixture
def profile_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up keys, and a profile whose region is another than the environment's."""
    (tmp_path / "config").write_text("[default]\nregion = ap-south-1\n")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAMADEUP")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made up")


@pytest.mark.parametrize(
    ("given", "region"),
    [
        ({"AWS_REGION": "eu-west-1"}, "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-1"),
        ({}, "ap-south-1"),
    ],
)
@pytest.mark.usefixtures("profile_elsewhere")
def test_boto3_and_cdk_go_to_the_same_region(
    given: dict[str, str], region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    deployment = Deployment(cloud="aws", prefix="p", endpoint_url=None)
    child = clouds.cloud_environment("aws")

    assert deployment.client("sts").meta.region_name == deployment.region == region
    assert child["AWS_REGION"] == child["AWS_DEFAULT_REGION"] == region


@pytest.mark.usefixtures("profile_elsewhere")
def test_without_any_region_an_error_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))

    for ask in (lambda one: one.region, lambda one: one.client("sqs")):
        with pytest.raises(VisionstackError, match="o AWS region") as said:
            ask(Deployment(cloud="aws", prefix="p", endpoint_url=None))
        assert "AWS_REGION" in (said.value.remedy or "")
