"""One fleet an instance type: deployed by the comparison stack, read from S3, destroyed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runtime.contract import MEASURE_LATEST, RESULTS_PREFIX, Output, Scope, Stack
from runtime.inference.artifact import Artifact
from runtime.measurement.results import FILE, RunResult
from stacks.catalog import Catalog
from visionstack.cloud.aws_errors import CredentialsError, translated
from visionstack.cloud.local_fleet import Fleet, InstanceState
from visionstack.cloud.local_state import CloudFolder
from visionstack.compare.errors import CompareError
from visionstack.compare.record import Record
from visionstack.deploy.cdk import cdk
from visionstack.errors import VisionstackError
from visionstack.models.publishing import publish

if TYPE_CHECKING:
    from visionstack.cloud.deployment import Deployment

_SOLD_OUT: Final = re.compile("InsufficientInstanceCapacity|sufficient .* capacity", re.IGNORECASE)
"""In a scaling activity's message: this zone has none, and the group tries the next by itself."""
_NOT_YET: Final = re.compile("Invalid IAM Instance Profile", re.IGNORECASE)
"""In a scaling activity's message: a role that was just made is not known everywhere (IAM user
guide, "Changes that I make are not always immediately visible"; terraform-provider-aws#29866), and
the group tries again by itself."""
_TRIES: Final = 4
"""Launches that may fail so before the role is to blame."""


@dataclass(frozen=True)
class Progress:
    """What can be seen of an instance type's measurement at one moment."""

    result: RunResult | None = None
    refusal: str | None = None
    """Why no instance of the type will come: capacity, quota, or other hardware."""
    other_hardware: bool = False
    """Whether that is because this machine is not what the type wants."""


@dataclass
class StackFleets:
    """Starts instances by `ComparisonStack`, on AWS or on the embedded cloud, and hands over what
    they write."""

    deployment: Deployment
    record: Record
    _: KW_ONLY
    artifact: Artifact
    picture: Path
    minutes: int
    _groups: dict[str, str] = field(default_factory=dict, init=False)
    _failed: dict[str, VisionstackError] = field(default_factory=dict, init=False)
    """Types whose group could not be told to start an instance."""

    def batches(self, names: Sequence[str]) -> list[list[str]]:
        """Which types are deployed together, one batch after the other.

        All at once on AWS; the embedded cloud has one image, which fits one architecture.
        """
        if self.deployment.cloud == "aws":
            return [list(names)]
        catalog = Catalog.load()
        by_arch: dict[str, list[str]] = {}
        for name in names:
            by_arch.setdefault(catalog[name].arch, []).append(name)
        return list(by_arch.values())

    def deploy(self, names: Sequence[str]) -> None:
        """Start one instance of each type.

        Storage first, since the instances read the model and the picture from it at boot.

        Raises:
            VisionstackError: CDK failed, or S3 refused the model or the picture.
        """
        context = self.context(names)
        cloud = self.deployment.cloud
        storage, comparison = (
            self.deployment.stack_name(stack) for stack in (Stack.STORAGE, Stack.COMPARISON)
        )
        cdk(deploy_arguments(storage), cloud=cloud, context=context)
        bucket = self._bucket()
        client = self.deployment.client("s3")
        publish(self.artifact, client=client, bucket=bucket)
        with translated("put the picture beside the results"):
            self._clear(client, bucket)
            client.upload_file(
                str(self.picture),
                bucket,
                f"{RESULTS_PREFIX}{MEASURE_LATEST}/picture/{self.picture.name}",
            )
        cdk(deploy_arguments(comparison), cloud=cloud, context=context)
        groups = self.deployment.output(Stack.COMPARISON, Output.COMPARISON_GROUPS)
        self._groups = json.loads(groups)
        self._failed = {}
        for name in names:
            try:
                self._set_capacity(name, 1)
            except VisionstackError as error:
                self._failed[name] = error

    def context(self, names: Sequence[str]) -> dict[str, object]:
        """The deployment settings that make these fleets."""
        return {
            "prefix": self.record.prefix,
            "instance_types": ",".join(names),
            "comparison_scenarios": ",".join(self.record.scenarios),
            "comparison_scopes": ",".join(self._scopes()),
            "comparison_seconds": self.record.seconds,
            "comparison_minutes": self.minutes,
            "stream_model": self.record.model,
        }

    def _scopes(self) -> list[str]:
        """Those of the record that an instance by itself can time, or both."""
        alone = [Scope.PICTURE.value, Scope.NETWORK.value]
        return [scope for scope in alone if scope in self.record.scopes] or alone

    def look(self, name: str) -> Progress:
        """The result so far, or why there will be none.

        Raises:
            VisionstackError: S3 or the group cannot be read, or the group could not be started.
        """
        from botocore.exceptions import ClientError

        if name in self._failed:
            raise self._failed[name]
        key = f"{RESULTS_PREFIX}{MEASURE_LATEST}/{name}/{FILE}"
        with translated(f"read the results of {name}"):
            try:
                body = self.deployment.client("s3").get_object(Bucket=self._bucket(), Key=key)
                return Progress(result=RunResult.from_json(json.loads(body["Body"].read())))
            except ClientError as error:
                if error.response["Error"]["Code"] not in {"NoSuchKey", "404"}:
                    raise
        if self.deployment.cloud == "local":
            refusal = self._embedded_refusal(name)
            return Progress(refusal=refusal, other_hardware=refusal is not None)
        return Progress(refusal=self._group_refusal(name))

    def fetch_logs(self, name: str, folder: Path) -> None:
        """LoadGen's log files, to `folder`."""

        client = self.deployment.client("s3")
        prefix = f"{RESULTS_PREFIX}{MEASURE_LATEST}/{name}/loadgen/"
        with translated(f"fetch the logs of {name}"):
            answer = client.list_objects_v2(Bucket=self._bucket(), Prefix=prefix)
            for item in answer.get("Contents", []):
                path = folder / item["Key"].removeprefix(prefix)
                path.parent.mkdir(parents=True, exist_ok=True)
                client.download_file(self._bucket(), item["Key"], str(path))

    def _bucket(self) -> str:
        return self.deployment.output(Stack.STORAGE, Output.ARTIFACTS_BUCKET)

    def _clear(self, client: Any, bucket: str) -> None:
        """An earlier comparison's results must not be taken for this one's."""
        answer = client.list_objects_v2(Bucket=bucket, Prefix=f"{RESULTS_PREFIX}{MEASURE_LATEST}/")
        for item in answer.get("Contents", []):
            client.delete_object(Bucket=bucket, Key=item["Key"])

    def _embedded_refusal(self, name: str) -> str | None:
        """What the embedded cloud's agent says of the group's instance."""
        group = self._groups.get(name)
        for instance in Fleet.read(CloudFolder.from_environment()).instances:
            if instance.group == group and instance.state is InstanceState.NOT_RUN:
                return instance.reason
        return None

    def _group_refusal(self, name: str) -> str | None:
        """Why the group's launches fail: capacity (once every zone was tried), quota, image.

        A group that is refused is emptied: it would go on trying, and a later success would cost
        money without being waited for.
        """

        group = self._groups.get(name)
        if group is None:
            return "not run: the comparison stack has no group for it"
        with translated(f"read the scaling activities of {group}"):
            client = self.deployment.client("autoscaling")
            # Newest first.
            activities = client.describe_scaling_activities(
                AutoScalingGroupName=group, MaxRecords=20
            )["Activities"]
            failures = list(takewhile(lambda one: one["StatusCode"] == "Failed", activities))
            if not failures:
                return None
            reason = failures[0].get("StatusMessage", "the launch failed")
            if _SOLD_OUT.search(reason):
                (description,) = client.describe_auto_scaling_groups(AutoScalingGroupNames=[group])[
                    "AutoScalingGroups"
                ]
                if len(failures) < len(description["AvailabilityZones"]):
                    return None
            if _NOT_YET.search(reason) and len(failures) < _TRIES:
                return None
        self._set_capacity(name, 0)
        return f"not run: {reason}"

    def _set_capacity(self, name: str, instances: int) -> None:
        """Raises VisionstackError when AWS refuses it; a type without a group is left alone."""

        group = self._groups.get(name)
        if group is None:
            return
        with translated(f"set the capacity of {group}"):
            self.deployment.client("autoscaling").set_desired_capacity(
                AutoScalingGroupName=group, DesiredCapacity=instances
            )


def deploy_arguments(stack: str) -> list[str]:
    """`cdk deploy` of one stack without questions."""
    return ["deploy", stack, "--exclusively", "--require-approval", "never"]


def refuse_another(deployment: Deployment, record: Record) -> None:
    """Two comparisons would change and destroy each other's stacks.

    Raises:
        CompareError: stacks of another comparison are there; the message names them.
    """

    with translated("list the stacks"):
        pages = deployment.client("cloudformation").get_paginator("describe_stacks").paginate()
        names = [stack["StackName"] for page in pages for stack in page["Stacks"]]
    theirs = sorted(name for name in names if name.startswith(f"{record.prefix}-"))
    if theirs:
        raise CompareError(
            f"Another comparison has stacks here: {', '.join(theirs)}.",
            remedy="Wait until it is through. If nobody runs it any more: `visionstack compare "
            "resume --out` with its folder, or `npx cdk destroy --all -c "
            f"prefix={record.prefix} -c instance_types=c7i.xlarge`.",
        )


def destroy(record: Record, *, deployment: Deployment) -> None:
    """Destroy every stack that this comparison started: by CDK, or, if that fails, directly.

    Raises:
        VisionstackError: a stack is still there; the message names it.
    """
    if not record.deployed:
        return
    context = {"prefix": record.prefix}
    try:
        cdk(["destroy", *record.deployed, "--force"], cloud=deployment.cloud, context=context)
    except VisionstackError:
        delete_stacks(
            deployment.client("cloudformation"),
            record.deployed,
            remedy="Instances end by themselves when their time is over; the rest is destroyed by "
            "`visionstack compare resume --out` with this comparison's folder.",
        )
    record.deployed = []


def delete_stacks(client: Any, names: Sequence[str], *, remedy: str) -> None:
    """Delete the stacks without CDK, the last one first: those that use storage before it.

    One that cannot be deleted keeps no other from it.

    Raises:
        VisionstackError: a stack is still there; the message names it and says why, `remedy` goes
            with it.
    """
    from botocore.exceptions import WaiterError

    left: dict[str, str] = {}
    for number, name in reversed(list(enumerate(names))):
        try:
            with translated(f"delete stack {name}"):
                client.delete_stack(StackName=name)
                try:
                    client.get_waiter("stack_delete_complete").wait(
                        StackName=name, WaiterConfig={"Delay": 2, "MaxAttempts": 600}
                    )
                except WaiterError:
                    reason = _why_it_stays(client, name)
                    if reason is None:
                        raise
                    left[name] = f"{name}: {reason}"
        except CredentialsError as error:
            still = ", ".join([*names[: number + 1], *left])
            raise VisionstackError(
                f"Not everything was destroyed: {error.message}",
                remedy=f"Still there may be: {still}. {error.remedy} {remedy}",
            ) from error
        except VisionstackError as error:
            left[name] = error.message
    if left:
        raise VisionstackError(
            f"Not everything was destroyed: {'; '.join(left.values())}",
            remedy=f"Still there may be: {', '.join(left)}. {remedy}",
        )


def _why_it_stays(client: Any, name: str) -> str | None:
    """What CloudFormation says of the resources that it could not delete, newest events first."""
    events = client.describe_stack_events(StackName=name)["StackEvents"]
    told = {
        one["LogicalResourceId"]: f"{one['LogicalResourceId']} ({one['ResourceType']}): "
        f"{one.get('ResourceStatusReason', 'no reason given')}"
        for one in reversed(events)
        if one["ResourceStatus"] == "DELETE_FAILED" and one["PhysicalResourceId"] != one["StackId"]
    }
    return "; ".join(told.values()) or None
