"""Which machine image instances start from, and when another one is taken."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from runtime.image.handler import Pinned, newest, pinned

PARAMETER = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
STACK = "visionstack-streaming"


class Aws:
    """Has published `image` last; the stack is in `status`."""

    def __init__(self, image: str, status: str) -> None:
        self.image = image
        self.status = status

    def get_parameter(self, *, Name: str) -> dict[str, Any]:  # noqa: N803
        return {"Parameter": {"Value": self.image if Name == PARAMETER else f"{self.image}-arm"}}

    def describe_stacks(self, *, StackName: str) -> dict[str, Any]:  # noqa: N803
        assert StackName == "arn:the-stack"
        return {"Stacks": [{"StackStatus": self.status}]}


def step(
    before: Pinned | None,
    *,
    newest: str,
    asked: str = "",
    parameter: str = PARAMETER,
    status: str = "UPDATE_IN_PROGRESS",
) -> Pinned:
    event = {
        "RequestType": "Update" if before else "Create",
        "StackId": "arn:the-stack",
        "PhysicalResourceId": str(before),
        "ResourceProperties": {"Parameter": parameter, "Asked": asked},
    }
    aws = Aws(newest, status)
    return pinned(event, ssm=aws, cloudformation=aws)


def test_a_new_stack_takes_the_newest_and_keeps_it() -> None:
    first = step(None, newest="ami-1")
    assert first.image == "ami-1"
    assert step(first, newest="ami-2") == first


def test_a_later_one_is_taken_once_when_it_is_asked_for() -> None:
    first = step(None, newest="ami-1")
    asked = step(first, newest="ami-2", asked="2026-11-25")
    assert asked.image == "ami-2"
    assert step(asked, newest="ami-3", asked="2026-11-25").image == "ami-2"
    no_more = step(asked, newest="ami-3")
    assert no_more.image == "ami-2"
    assert step(no_more, newest="ami-3", asked="2026-12-01").image == "ami-3"


@pytest.mark.parametrize("handed", ["new", "old"])
def test_a_rollback_goes_back_to_the_image_before(handed: str) -> None:
    """Whichever physical id CloudFormation hands over then."""
    first = step(None, newest="ami-1")
    kept = step(step(first, newest="ami-2", asked="a"), newest="ami-3")
    new = step(kept, newest="ami-4", asked="b")
    assert (kept.image, new.image) == ("ami-2", "ami-4")
    at = {"new": new, "old": kept}[handed]
    back = step(at, newest="ami-5", status="UPDATE_ROLLBACK_IN_PROGRESS")
    assert back.image == "ami-2"
    assert step(back, newest="ami-5").image == "ami-2"


def test_another_kind_of_instance_takes_its_own() -> None:
    first = step(None, newest="ami-1")
    assert step(first, newest="ami-2", parameter="/aws/of/another-kind").image == "ami-2-arm"


def test_no_parameter_of_the_stack_is_read_anew_by_an_update(defaults: Any, gpu: Any) -> None:
    """CloudFormation reads SSM parameters of a template at every update, and rolls instances."""
    for templates in (defaults, gpu):
        kinds = {one.get("Type") for one in templates.parameters(STACK).values()}
        assert not [kind for kind in kinds if "EC2::Image" in str(kind)]
        (image,) = templates.resources(STACK, "Custom::PinnedImage")
        (template,) = templates.resources(STACK, "AWS::EC2::LaunchTemplate")
        assert template["LaunchTemplateData"]["ImageId"]["Fn::GetAtt"][1] == "ImageId"
        policies = templates.resources(STACK, "AWS::IAM::Policy")
        assert f"::parameter{image['Parameter']}" in str(policies)


def test_an_image_that_is_named_needs_no_look_up(arm: Any) -> None:
    assert arm.resources("second-streaming", "Custom::PinnedImage") == []


class Denying(Aws):
    """Refuses so many calls, as AWS does while it does not know the role everywhere."""

    def __init__(self, calls: int) -> None:
        super().__init__("ami-1", "CREATE_IN_PROGRESS")
        self.left = calls

    def get_parameter(self, *, Name: str) -> dict[str, Any]:  # noqa: N803
        if self.left:
            self.left -= 1
            error = {"Code": "AccessDeniedException", "Message": "is not authorized to perform"}
            raise ClientError({"Error": error}, "GetParameter")
        return super().get_parameter(Name=Name)


def test_a_role_that_is_not_known_everywhere_yet_is_waited_for() -> None:
    slept: list[float] = []
    assert newest(Denying(3), PARAMETER, sleep=slept.append) == "ami-1"
    assert len(slept) == 3


def test_a_role_that_stays_refused_is_told_before_the_function_is_cut_off() -> None:
    slept: list[float] = []
    with pytest.raises(ClientError, match="AccessDenied"):
        newest(Denying(100), PARAMETER, sleep=slept.append)
    assert sum(slept) <= 30
