"""What AWS refuses, in this program's words."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import NoCredentialsError, NoRegionError
from botocore.retries.standard import ThrottledRetryableChecker

from runtime.contract import Stack
from tests.unit.aws_wire import Wire, refusal, result, wire
from visionstack.cloud.aws_errors import THROTTLED, CredentialsError, TemporaryError, translated
from visionstack.cloud.deployment import Deployment
from visionstack.errors import VisionstackError

__all__ = ["wire"]


def deployed(wire: Wire) -> Deployment:
    found = Deployment("aws", "visionstack", None)
    found.__dict__["session"] = wire.session
    return found


def test_the_codes_of_throttling_are_those_that_the_sdk_repeats() -> None:
    assert set(ThrottledRetryableChecker._THROTTLED_ERROR_CODES) == THROTTLED


@pytest.mark.parametrize(
    ("code", "status", "kind", "said"),
    [
        ("ExpiredTokenException", 400, CredentialsError, "the AWS credentials have expired"),
        ("UnrecognizedClientException", 400, CredentialsError, "does not take the credentials"),
        ("ThrottlingException", 400, TemporaryError, "calls AWS too often"),
        ("InternalServiceError", 500, TemporaryError, "InternalServiceError"),
        ("AccessDeniedException", 400, VisionstackError, "AccessDeniedException"),
    ],
)
def test_a_refusal_is_a_sentence_with_what_to_do(
    wire: Wire, code: str, status: int, kind: type[VisionstackError], said: str
) -> None:
    wire.answers["secrets-manager.GetSecretValue"] = [refusal(code, status=status, kind="json")]
    with pytest.raises(VisionstackError) as caught, translated("read the token of the stream"):
        deployed(wire).client("secretsmanager").get_secret_value(SecretId="token")
    assert type(caught.value) is kind
    assert caught.value.message.startswith("Could not read the token of the stream: ")
    assert said in caught.value.message
    assert (caught.value.remedy is None) == (kind is VisionstackError)


def test_a_call_that_is_throttled_for_a_moment_is_repeated(wire: Wire) -> None:
    busy = refusal("ThrottlingException", "Rate exceeded", kind="json")
    good = 200, json.dumps({"SecretString": "token"})
    wire.answers["secrets-manager.GetSecretValue"] = [*[busy] * 7, good]
    answer = deployed(wire).client("secretsmanager").get_secret_value(SecretId="token")
    assert answer["SecretString"] == "token"


@pytest.mark.parametrize("status", ["ROLLBACK_FAILED", "ROLLBACK_COMPLETE", "DELETE_FAILED"])
def test_a_stack_that_was_never_made_is_told_from_one_without_the_output(
    wire: Wire, status: str
) -> None:
    name = "visionstack-streaming"
    described = (
        f"<Stacks><member><StackName>{name}</StackName><StackStatus>{status}</StackStatus>"
        "<StackStatusReason>The following resource(s) failed to delete: [Group]</StackStatusReason>"
        "<CreationTime>2026-11-25T00:00:00Z</CreationTime></member></Stacks>"
    )
    wire.answers["cloudformation.DescribeStacks"] = [result("DescribeStacks", described)]
    with pytest.raises(VisionstackError) as said:
        deployed(wire).output(Stack.STREAMING, "StreamHost")
    assert f"{name} is in {status}" in said.value.message
    assert "[Group]" in said.value.message
    assert f"npx cdk destroy {name}" in str(said.value.remedy)


@pytest.mark.parametrize("reason", [NoRegionError(), NoCredentialsError()])
def test_who_has_no_account_is_told_what_works_without(reason: Exception) -> None:
    with pytest.raises(VisionstackError) as said, translated("look"):
        raise reason
    assert "visionstack local deploy" in str(said.value.remedy)
    assert "visionstack try" in str(said.value.remedy)
