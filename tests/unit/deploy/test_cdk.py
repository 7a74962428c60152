"""What the CDK command line's trouble is told as."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.aws_wire import Wire, result, wire
from visionstack import paths
from visionstack.cloud import local_state
from visionstack.cloud.deployment import Deployment
from visionstack.deploy.cdk import cdk, command_line
from visionstack.errors import VisionstackError

__all__ = ["wire"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose `cdk` is a script of the test's; AWS is asked for, so nothing is up."""
    monkeypatch.setattr(paths, "PROJECT", tmp_path)
    monkeypatch.setattr(paths, "OUT", tmp_path / "out")
    monkeypatch.setenv(local_state.FOLDER_VARIABLE, str(tmp_path / "cloud"))
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    return tmp_path


def _script(checkout: Path, text: str) -> None:
    place = checkout / "node_modules" / "aws-cdk" / "bin" / "cdk"
    place.parent.mkdir(parents=True)
    place.write_text(text)


def test_a_machine_without_node_is_told_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(VisionstackError) as caught:
        command_line({"PATH": str(tmp_path)})

    assert "Node.js is not installed" in caught.value.message
    assert "npm ci" in (caught.value.remedy or "")


def test_a_checkout_without_node_modules_is_told_to_run_npm(checkout: Path) -> None:
    with pytest.raises(VisionstackError) as caught:
        command_line(os.environ)

    assert str(caught.value.remedy) == "Run `npm ci` here."


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("SSM parameter /cdk-bootstrap/hnb659fds/version not found.", "not bootstrapped"),
        ("Unable to resolve AWS account to use.", "no valid AWS credentials"),
        ("something else broke", "something else broke"),
        ("ExpiredToken: The security token included in the request is expired", "have expired"),
        ("Rate exceeded", "calls AWS too often"),
        (
            "Failed deleting stack a that had previously failed creation (current state: "
            "DELETE_FAILED)",
            "could not be made, nor taken back",
        ),
        (
            "Stack is in a paused fail state (UPDATE_ROLLBACK_FAILED) and command line arguments "
            "do not include",
            "in UPDATE_ROLLBACK_FAILED",
        ),
    ],
)
def test_a_failure_of_cdk_is_told_by_its_cause(checkout: Path, output: str, told: str) -> None:
    _script(checkout, f"console.error({output!r}); process.exit(1)")

    with pytest.raises(VisionstackError) as caught:
        cdk(["deploy", "--all"], cloud="aws")

    assert told in caught.value.message
    assert caught.value.remedy
    assert output in (checkout / "out" / "logs" / "cdk-deploy.log").read_text()


def test_roles_that_cannot_be_assumed_do_not_hide_the_cause(checkout: Path) -> None:
    role = "current credentials could not be used to assume a role. Proceeding anyway."
    _script(
        checkout,
        f"console.error('the cause'); for (let n = 0; n < 20; n += 1) console.error({role!r}); "
        "process.exit(1)",
    )
    with pytest.raises(VisionstackError) as caught:
        cdk(["deploy", "--all"], cloud="aws")
    assert caught.value.message == "cdk deploy failed with exit code 1:\n  the cause"


def test_a_deployment_that_waited_for_nothing_says_why_ec2_started_nothing(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, wire: Wire
) -> None:
    _script(
        checkout,
        "console.log('visionstack-streaming | 9/9 | CREATE_FAILED | AWS::AutoScaling::"
        "AutoScalingGroup | Group Received 0 SUCCESS signal(s) out of 1');process.exit(1)",
    )
    told = "We currently do not have sufficient c7i.xlarge capacity"
    wire.answers["auto-scaling.DescribeScalingActivities"] = [
        result(
            "DescribeScalingActivities",
            "<Activities><member><ActivityId>1</ActivityId><StatusCode>Failed</StatusCode>"
            f"<StatusMessage>{told}</StatusMessage></member></Activities>",
        )
    ]
    monkeypatch.setattr(Deployment, "client", lambda _, service: wire.session.client(service))

    with pytest.raises(VisionstackError) as caught:
        cdk(["deploy", "--all"], cloud="aws", context={"prefix": "mine"})

    assert "CREATE_FAILED" in caught.value.message
    assert told in caught.value.message
    assert "extra_instance_types" in str(caught.value.remedy)


def test_arguments_and_context_reach_cdk_as_they_are(checkout: Path) -> None:
    _script(checkout, "console.log(JSON.stringify(process.argv.slice(2)))")

    log = cdk(["synth", "-q"], cloud="aws", context={"instance_type": "g6.xlarge"})

    assert log.read_text().strip() == ('["synth","-q","-c","instance_type=g6.xlarge","--no-color"]')


def test_on_the_embedded_cloud_cdk_gets_its_settings_and_its_endpoint(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    monkeypatch.setenv("AWS_PROFILE", "work")
    _script(
        checkout,
        "console.log(process.argv.slice(2).join(' '));"
        "console.log(process.env.AWS_ENDPOINT_URL, process.env.AWS_PROFILE)",
    )

    text = cdk(["synth"], cloud="local", context={"ami_id": "ami-mine"}).read_text()

    assert "-c ami_id=ami-mine" in text
    assert "-c lambda_wheels_python=" in text
    assert "http://127.0.0.1:4566 undefined" in text
