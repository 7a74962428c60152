"""What is seen of fleets on AWS and on the embedded cloud, and how they are destroyed."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from runtime.contract import Output
from tests.unit.compare.conftest import Plan, result
from visionstack.cloud.local_fleet import Fleet, Instance, InstanceState
from visionstack.cloud.local_state import CloudFolder
from visionstack.compare import fleets, report
from visionstack.compare.errors import CompareError
from visionstack.compare.fleets import StackFleets, delete_stacks
from visionstack.compare.record import Status
from visionstack.compare.runner import Executors, run
from visionstack.compare.targets import FunctionSetting
from visionstack.cost.prices import load
from visionstack.errors import VisionstackError
from visionstack.report.figures import NOT_HERE


def missing(code: str = "NoSuchKey") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "Ask")


class FakeS3:
    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects

    def get_object(self, **request: Any) -> dict[str, Any]:
        if request["Key"] not in self.objects:
            raise missing()
        return {"Body": io.BytesIO(self.objects[request["Key"]])}

    def list_objects_v2(self, **request: Any) -> dict[str, Any]:
        return {"Contents": [{"Key": k} for k in self.objects if k.startswith(request["Prefix"])]}

    def download_file(self, bucket: str, key: str, path: str) -> None:
        Path(path).write_bytes(self.objects[key])


class FakeScaling:
    """Groups of one zone or more; `refused` are those whose capacity may not be set."""

    def __init__(
        self, activities: list[dict[str, str]], *, zones: int = 1, refused: tuple[str, ...] = ()
    ) -> None:
        self._activities = activities
        self._zones = [f"us-east-1{letter}" for letter in "abcdef"[:zones]]
        self._refused = refused
        self.capacities: list[tuple[str, int]] = []

    def describe_scaling_activities(self, **_: Any) -> dict[str, Any]:
        return {"Activities": self._activities}

    def describe_auto_scaling_groups(self, **_: Any) -> dict[str, Any]:
        return {"AutoScalingGroups": [{"AvailabilityZones": self._zones}]}

    def set_desired_capacity(self, **request: Any) -> None:
        group, capacity = request["AutoScalingGroupName"], request["DesiredCapacity"]
        if group in self._refused:
            raise missing("Throttling")
        self.capacities.append((group, capacity))


def deployment(
    s3: FakeS3,
    activities: list[dict[str, str]] | None = None,
    *,
    cloud: str = "aws",
    scaling: FakeScaling | None = None,
    groups: dict[str, str] | None = None,
) -> Any:
    scaling = scaling or FakeScaling(activities or [])
    return SimpleNamespace(
        cloud=cloud,
        client=lambda service: s3 if service == "s3" else scaling,
        output=lambda stack, key: (
            json.dumps(groups) if key == Output.COMPARISON_GROUPS else "bucket"
        ),
        stack_name=lambda stack: f"visionstack-compare-{stack}",
    )


def watching(plan: Plan, s3: FakeS3, **more: Any) -> StackFleets:
    record = plan(instance_types=["g6.xlarge"])
    found = StackFleets(
        deployment(s3, **more),
        record,
        artifact=SimpleNamespace(),  # type: ignore[arg-type]
        picture=Path("dog.jpg"),
        minutes=5,
    )
    found._groups = {"g6.xlarge": "group"}
    return found


def test_a_result_is_read_as_it_grows(plan: Plan) -> None:
    record = plan(instance_types=["g6.xlarge"])
    value = json.dumps(result(record, finished=False).to_json()).encode()
    seen = watching(plan, FakeS3({"results/latest/g6.xlarge/result.json": value})).look("g6.xlarge")
    assert seen.result is not None
    assert not seen.result.finished


def test_an_instance_that_is_still_booting_is_neither_result_nor_refusal(plan: Plan) -> None:
    running = [{"StatusCode": "InProgress"}]
    seen = watching(plan, FakeS3({}), activities=running).look("g6.xlarge")
    assert (seen.result, seen.refusal) == (None, None)


def test_a_type_that_this_machine_is_not_is_known_by_its_row(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the embedded cloud's agent to the table, whatever the words of the reason."""
    monkeypatch.setenv("VISIONSTACK_CLOUD_FOLDER", str(tmp_path))
    why = "it wants eight accelerators"
    state = InstanceState.NOT_RUN
    instance = Instance("i-1", "group", "g6.xlarge", state, 1, 2, "log", 0, 0.0, reason=why)
    folder = CloudFolder(tmp_path)
    folder.make()
    Fleet([instance]).write(folder)
    found = watching(plan, FakeS3({}), cloud="local")
    monkeypatch.setattr(found, "deploy", lambda _: None)
    executors = Executors(here=found, fleets=found, functions=found, destroy=lambda _: None)  # type: ignore[arg-type]
    record = run(found.record, tmp_path / "out", executors, minutes=5, tell=lambda *_: None)
    row = record.row("g6.xlarge")
    assert (row.status, row.reason, row.other_hardware) == (Status.NOT_RUN, why, True)
    (shown,) = [one for one in report.table(record, book=load()).rows if one.absent]
    assert NOT_HERE in shown.cells


def test_a_launch_that_fails_for_capacity_is_the_rows_reason(plan: Plan) -> None:
    failed = [{"StatusCode": "Failed", "StatusMessage": "InsufficientInstanceCapacity in 1a"}]
    seen = watching(plan, FakeS3({}), activities=failed).look("g6.xlarge")
    assert seen.refusal == "not run: InsufficientInstanceCapacity in 1a"


SOLD_OUT = {
    "StatusCode": "Failed",
    "StatusMessage": "We currently do not have sufficient g6.xlarge capacity in the Availability "
    "Zone you requested (us-east-1a). Launching EC2 instance failed.",
}


@pytest.mark.parametrize(("failures", "refused"), [(1, False), (2, True)])
def test_a_type_is_sold_out_when_every_zone_was_tried(
    plan: Plan, failures: int, *, refused: bool
) -> None:
    scaling = FakeScaling([SOLD_OUT] * failures, zones=2)
    seen = watching(plan, FakeS3({}), scaling=scaling).look("g6.xlarge")
    assert (seen.refusal is not None) is refused
    # A group that goes on trying would start, and charge for, an instance nobody waits for.
    assert scaling.capacities == ([("group", 0)] if refused else [])


def test_a_quota_is_the_same_in_every_zone(plan: Plan) -> None:
    message = (
        "You have requested more vCPU capacity than your current vCPU limit of 0 allows for the "
        "instance bucket that the specified instance type belongs to."
    )
    scaling = FakeScaling([{"StatusCode": "Failed", "StatusMessage": message}], zones=2)
    seen = watching(plan, FakeS3({}), scaling=scaling).look("g6.xlarge")
    assert seen.refusal == f"not run: {message}"
    assert scaling.capacities == [("group", 0)]


def test_each_group_is_started_after_the_deploy_and_one_that_is_refused_stops_no_other(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = ["g6.xlarge", "c7i.xlarge", "c6i.xlarge"]
    record = plan(instance_types=names)
    scaling = FakeScaling([], refused=("group-c7i.xlarge",))
    done: list[Any] = []
    monkeypatch.setattr(
        "visionstack.compare.fleets.cdk",
        lambda arguments, **_: done.append((arguments[1], scaling.capacities)),
    )
    monkeypatch.setattr("visionstack.compare.fleets.publish", lambda *_, **__: None)
    value = json.dumps(result(record).to_json()).encode()
    s3 = FakeS3({})
    monkeypatch.setattr(s3, "upload_file", lambda *_: s3.objects.update(measured), raising=False)
    measured = {f"results/latest/{name}/result.json": value for name in ("g6.xlarge", "c6i.xlarge")}
    groups = {name: f"group-{name}" for name in names}
    executors = Executors(
        here=None,  # type: ignore[arg-type]
        fleets=StackFleets(
            deployment(s3, scaling=scaling, groups=groups),
            record,
            artifact=SimpleNamespace(),  # type: ignore[arg-type]
            picture=Path("dog.jpg"),
            minutes=5,
        ),
        functions=None,  # type: ignore[arg-type]
        destroy=lambda what: what.deployed.clear(),
    )
    clock = itertools.count(step=60.0)
    run(record, tmp_path, executors, minutes=1, clock=lambda: next(clock), sleep=lambda _: None)

    assert scaling.capacities == [("group-g6.xlarge", 1), ("group-c6i.xlarge", 1)]
    assert [row.status for row in record.rows] == [Status.MEASURED, Status.FAILED, Status.MEASURED]
    assert "c7i.xlarge" in str(record.row("c7i.xlarge").reason)
    assert "Throttling" in str(record.row("c7i.xlarge").reason)


def test_a_type_without_a_group_is_refused(plan: Plan) -> None:
    found = watching(plan, FakeS3({}))
    found._groups = {}
    assert "no group" in str(found.look("g6.xlarge").refusal)


def test_loadgens_logs_are_brought_home(plan: Plan, tmp_path: Path) -> None:
    key = "results/latest/g6.xlarge/loadgen/picture-offline/mlperf_log_summary.txt"
    watching(plan, FakeS3({key: b"Result is : VALID"})).fetch_logs("g6.xlarge", tmp_path)
    assert (tmp_path / "picture-offline" / "mlperf_log_summary.txt").read_text().startswith("Res")


def test_aws_deploys_all_types_at_once_and_the_embedded_cloud_by_architecture(plan: Plan) -> None:
    names = ["g6.xlarge", "c7g.xlarge", "c7i.xlarge"]
    assert watching(plan, FakeS3({})).batches(names) == [names]
    local = watching(plan, FakeS3({}), cloud="local")
    assert local.batches(names) == [["g6.xlarge", "c7i.xlarge"], ["c7g.xlarge"]]


class FakeFormation:
    def __init__(self, *, fails: str | None = None) -> None:
        self.deleted: list[str] = []
        self._fails = fails

    def delete_stack(self, **request: Any) -> None:
        if request["StackName"] == self._fails:
            raise missing("AccessDenied")
        self.deleted.append(request["StackName"])

    def get_waiter(self, name: str) -> Any:
        assert name == "stack_delete_complete"
        return SimpleNamespace(wait=lambda **_: None)


def test_stacks_are_deleted_users_first_when_cdk_cannot(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = plan(functions=[FunctionSetting(512)])
    record.deployed = ["c-storage", "c-comparison", "c-classifier"]
    formation = FakeFormation()

    def broken(*_: Any, **__: Any) -> None:
        raise VisionstackError("cdk destroy failed")

    monkeypatch.setattr("visionstack.compare.fleets.cdk", broken)
    where = SimpleNamespace(cloud="aws", client=lambda _: formation)
    fleets.destroy(record, deployment=where)  # type: ignore[arg-type]
    assert formation.deleted == ["c-classifier", "c-comparison", "c-storage"]
    assert record.deployed == []


def test_what_could_not_be_destroyed_is_named(plan: Plan) -> None:
    record = plan(local=True)
    record.deployed = ["c-storage", "c-classifier"]
    with pytest.raises(VisionstackError, match="c-storage") as caught:
        delete_stacks(FakeFormation(fails="c-storage"), record.deployed, remedy="Try again.")
    assert str(caught.value.remedy) == "Still there may be: c-storage. Try again."
    assert record.deployed == ["c-storage", "c-classifier"]


def test_an_instance_measures_as_long_as_this_machine_does(plan: Plan) -> None:
    watched = watching(plan, FakeS3({}))
    watched.record.seconds = 2.5
    assert watched.context(["g6.xlarge"])["comparison_seconds"] == 2.5


@pytest.mark.parametrize(
    ("wished", "deployed"),
    [
        (["network", "picture"], "picture,network"),
        (["network", "stream"], "network"),
        (["stream"], "picture,network"),
    ],
)
def test_an_instance_times_what_it_can_of_what_was_asked_for(
    plan: Plan, wished: list[str], deployed: str
) -> None:
    watched = watching(plan, FakeS3({}))
    watched.record.scopes = wished
    assert watched.context(["g6.xlarge"])["comparison_scopes"] == deployed


@pytest.mark.parametrize(
    ("there", "refused"),
    [
        (["CDKToolkit", "visionstack-storage"], False),
        (["CDKToolkit", "visionstack-compare-storage"], True),
    ],
)
def test_a_second_comparison_does_not_touch_the_stacks_of_the_first(
    plan: Plan, there: list[str], *, refused: bool
) -> None:
    pages = [{"Stacks": [{"StackName": name}]} for name in there]
    formation = SimpleNamespace(
        get_paginator=lambda _name: SimpleNamespace(paginate=lambda: iter(pages))
    )
    cloud: Any = SimpleNamespace(client=lambda _service: formation)
    record = plan(instance_types=["g6.xlarge"])
    if not refused:
        fleets.refuse_another(cloud, record)
        return
    with pytest.raises(CompareError, match="visionstack-compare-storage") as said:
        fleets.refuse_another(cloud, record)
    assert "resume" in str(said.value.remedy)
