"""Faults of AWS amid a comparison: each ends in a sentence, and nothing runs on."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.contract import Output
from tests.unit.aws_wire import Wire, refusal, result, wire
from tests.unit.compare.conftest import Plan
from tests.unit.compare.conftest import result as measured
from visionstack.cloud.deployment import Deployment
from visionstack.compare import fleets
from visionstack.compare.fleets import StackFleets
from visionstack.compare.record import Record, Status, load
from visionstack.compare.runner import Executors, run
from visionstack.errors import VisionstackError

__all__ = ["wire"]
TYPE = "c7i.xlarge"
GROUP = f"visionstack-compare-compare-{TYPE.replace('.', '-')}"
STORAGE, COMPARISON = "visionstack-compare-storage", "visionstack-compare-comparison"


def stack(name: str, status: str = "CREATE_COMPLETE", *, reason: str = "", **outputs: str) -> str:
    told = "".join(
        f"<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>"
        for key, value in outputs.items()
    )
    return (
        f"<Stacks><member><StackName>{name}</StackName><StackStatus>{status}</StackStatus>"
        f"<StackStatusReason>{reason}</StackStatusReason>"
        f"<CreationTime>2026-11-25T00:00:00Z</CreationTime><Outputs>{told}</Outputs>"
        "</member></Stacks>"
    )


STORED = result("DescribeStacks", stack(STORAGE, **{Output.ARTIFACTS_BUCKET: "bucket"}))
NOT_THERE = refusal("ValidationError", f"Stack with id {STORAGE} does not exist")
NO_RESULT_YET = refusal("NoSuchKey", "The specified key does not exist.", status=404, kind="s3")
SOLD_OUT = (
    f"We currently do not have sufficient {TYPE} capacity in the Availability Zone you requested "
    "(us-east-1a). Launching EC2 instance failed."
)
NO_PROFILE = (
    "Value (visionstack-compare-Profile) for parameter iamInstanceProfile.name is invalid. "
    "Invalid IAM Instance Profile name. Launching EC2 instance failed."
)


def launches(*failures: str) -> Any:
    told = "".join(
        f"<member><ActivityId>{number}</ActivityId><StatusCode>Failed</StatusCode>"
        f"<StatusMessage>{message}</StatusMessage></member>"
        for number, message in enumerate(failures)
    )
    return result("DescribeScalingActivities", f"<Activities>{told}</Activities>")


ONE_ZONE = result(
    "DescribeAutoScalingGroups",
    f"<AutoScalingGroups><member><AutoScalingGroupName>{GROUP}</AutoScalingGroupName>"
    "<AvailabilityZones><member>us-east-1a</member></AvailabilityZones></member>"
    "</AutoScalingGroups>",
)


class Comparison:
    """One compared type, whose stacks stand and whose instance was told to start."""

    def __init__(self, wire: Wire, plan: Plan, folder: Path, monkeypatch: Any) -> None:
        self.wire, self.folder = wire, folder
        self.record: Record = plan(instance_types=[TYPE])
        self.now = itertools.count(step=0.1)
        self.waited = 0.0
        self.deployment = Deployment("aws", "visionstack-compare", None)
        self.deployment.__dict__["session"] = wire.session
        self.cdk: list[str] = []
        monkeypatch.setattr("visionstack.compare.fleets.cdk", self._no_cdk)
        wire.answers |= {
            "cloudformation.DescribeStacks": [STORED],
            "s3.GetObject": [NO_RESULT_YET],
            "auto-scaling.DescribeScalingActivities": [launches()],
            "auto-scaling.DescribeAutoScalingGroups": [ONE_ZONE],
            "auto-scaling.SetDesiredCapacity": [result("SetDesiredCapacity")],
            "cloudformation.DeleteStack": [result("DeleteStack")],
        }

    def _no_cdk(self, arguments: Any, **_: Any) -> None:
        self.cdk.append(arguments[0])
        raise VisionstackError("cdk failed")

    def finished(self) -> tuple[int, str]:
        return 200, json.dumps(measured(self.record).to_json())

    def run(self) -> None:
        watching = StackFleets(
            self.deployment,
            self.record,
            artifact=SimpleNamespace(),  # type: ignore[arg-type]
            picture=Path("dog.jpg"),
            minutes=5,
        )
        watching._groups = {TYPE: GROUP}
        watching.deploy = lambda _names: None  # type: ignore[method-assign]

        def sleep(seconds: float) -> None:
            self.waited += seconds

        run(
            self.record,
            self.folder,
            Executors(
                here=None,  # type: ignore[arg-type]
                fleets=watching,
                functions=None,  # type: ignore[arg-type]
                destroy=lambda what: fleets.destroy(what, deployment=self.deployment),
            ),
            minutes=20,
            clock=lambda: next(self.now) + self.waited,
            sleep=sleep,
        )

    @property
    def row(self) -> Any:
        return self.record.row(TYPE)

    def gone(self) -> bool:
        """Whether both stacks were deleted and the record knows of none."""
        deleted = self.wire.asked.count("cloudformation.DeleteStack")
        return deleted == 2 and self.record.deployed == []


@pytest.fixture
def comparison(
    wire: Wire, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Comparison:
    found = Comparison(wire, plan, tmp_path, monkeypatch)
    # Asked for the bucket, then whether a deleted stack is still there.
    once = iter([STORED] * 200)

    def described(request: Any, **_: Any) -> None:
        del request
        deleted = "cloudformation.DeleteStack" in wire.asked
        wire.answers["cloudformation.DescribeStacks"] = [NOT_THERE if deleted else next(once)]

    wire.session.events.register_first("before-send.cloudformation.DescribeStacks", described)
    return found


def test_a_throttled_look_costs_no_measurement(comparison: Comparison) -> None:
    slow = refusal("SlowDown", "Please reduce your request rate.", status=503, kind="s3")
    comparison.wire.answers["s3.GetObject"] = [*[slow] * 6, comparison.finished()]
    comparison.wire.answers["s3.ListObjectsV2"] = [(200, "<ListBucketResult/>")]
    comparison.run()
    assert (comparison.row.status, comparison.row.reason) == (Status.MEASURED, None)
    assert comparison.gone()


def test_an_instance_that_cannot_be_seen_for_minutes_is_given_up_and_ended(
    comparison: Comparison,
) -> None:
    busy = refusal("Throttling", "Rate exceeded")
    comparison.wire.answers["auto-scaling.DescribeScalingActivities"] = [busy]
    comparison.run()
    assert comparison.row.status is Status.FAILED
    assert "calls AWS too often (Throttling)" in comparison.row.reason
    assert comparison.gone()


def test_no_capacity_is_the_rows_reason_and_the_group_stops_trying(comparison: Comparison) -> None:
    comparison.wire.answers["auto-scaling.DescribeScalingActivities"] = [launches(SOLD_OUT)]
    comparison.run()
    assert comparison.row.status is Status.NOT_RUN
    assert f"sufficient {TYPE} capacity" in comparison.row.reason
    assert "auto-scaling.SetDesiredCapacity" in comparison.wire.asked
    assert comparison.gone()


def test_a_role_that_is_not_known_everywhere_yet_is_waited_for(comparison: Comparison) -> None:
    comparison.wire.answers["auto-scaling.DescribeScalingActivities"] = [
        launches(NO_PROFILE),
        launches(NO_PROFILE, NO_PROFILE),
    ]
    comparison.wire.answers["s3.GetObject"] = [
        NO_RESULT_YET,
        NO_RESULT_YET,
        comparison.finished(),
    ]
    comparison.wire.answers["s3.ListObjectsV2"] = [(200, "<ListBucketResult/>")]
    comparison.run()
    assert comparison.row.status is Status.MEASURED
    assert "auto-scaling.SetDesiredCapacity" not in comparison.wire.asked
    assert comparison.gone()


def test_a_role_that_stays_unknown_is_the_rows_reason(comparison: Comparison) -> None:
    always = launches(*[NO_PROFILE] * 4)
    comparison.wire.answers["auto-scaling.DescribeScalingActivities"] = [always]
    comparison.run()
    assert comparison.row.status is Status.NOT_RUN
    assert "Invalid IAM Instance Profile" in comparison.row.reason
    assert comparison.gone()


def test_credentials_that_expire_end_it_with_what_to_do_and_resume_destroys(
    comparison: Comparison,
) -> None:
    expired = refusal("ExpiredToken", "The provided token has expired.", kind="s3")
    comparison.wire.answers["s3.GetObject"] = [NO_RESULT_YET, expired]
    comparison.wire.answers["cloudformation.DeleteStack"] = [
        refusal("ExpiredToken", "The security token included in the request is expired", status=403)
    ]
    with pytest.raises(VisionstackError) as said:
        comparison.run()
    assert "the AWS credentials have expired" in said.value.message
    remedy = str(said.value.remedy)
    assert f"{STORAGE}, {COMPARISON}" in remedy
    assert "aws sso login" in remedy
    assert "end by themselves" in remedy
    assert "visionstack compare resume" in remedy
    # One attempt is enough to know that the others are refused too.
    assert comparison.wire.asked.count("cloudformation.DeleteStack") == 1

    left = load(comparison.folder)
    assert left.deployed == [STORAGE, COMPARISON]
    assert left.row(TYPE).status is Status.FAILED
    assert "credentials have expired" in str(left.row(TYPE).reason)
    comparison.wire.asked.clear()
    comparison.wire.answers["cloudformation.DeleteStack"] = [result("DeleteStack")]
    fleets.destroy(comparison.record, deployment=comparison.deployment)
    assert comparison.gone()


def test_a_stack_that_stays_is_named_with_its_reason_and_holds_up_no_other(
    wire: Wire, plan: Plan
) -> None:
    record = plan(instance_types=[TYPE])
    record.deployed = [STORAGE, COMPARISON]
    events = "".join(
        f"<member><StackId>s</StackId><EventId>{number}</EventId><StackName>c</StackName>"
        f"<LogicalResourceId>{logical}</LogicalResourceId><PhysicalResourceId>{physical}"
        f"</PhysicalResourceId><ResourceType>{kind}</ResourceType>"
        f"<Timestamp>2026-11-25T00:00:00Z</Timestamp><ResourceStatus>DELETE_FAILED"
        f"</ResourceStatus><ResourceStatusReason>{reason}</ResourceStatusReason></member>"
        for number, (logical, physical, kind, reason) in enumerate(
            [
                ("c", "s", "AWS::CloudFormation::Stack", "The following failed: Vpc"),
                ("Vpc", "vpc-1", "AWS::EC2::VPC", "vpc-1 has dependencies"),
            ]
        )
    )
    wire.answers = {
        "cloudformation.DeleteStack": [result("DeleteStack")],
        "cloudformation.DescribeStacks": [
            result("DescribeStacks", stack(COMPARISON, "DELETE_FAILED")),
            NOT_THERE,
        ],
        "cloudformation.DescribeStackEvents": [
            result("DescribeStackEvents", f"<StackEvents>{events}</StackEvents>")
        ],
    }
    with pytest.raises(VisionstackError) as said:
        fleets.delete_stacks(
            wire.session.client("cloudformation"), record.deployed, remedy="Try again."
        )
    assert "Vpc (AWS::EC2::VPC): vpc-1 has dependencies" in said.value.message
    assert said.value.remedy == f"Still there may be: {COMPARISON}. Try again."
    assert wire.asked.count("cloudformation.DeleteStack") == 2
