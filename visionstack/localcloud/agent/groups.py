"""What Auto Scaling wants, read from the embedded cloud."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Template:
    """What a launch template says of its instances."""

    instance_type: str
    user_data: str


@dataclass(frozen=True)
class Group:
    """One Auto Scaling group and the instances it should have."""

    name: str
    instance_ids: tuple[str, ...]
    template: Template


class DeployedGroups:
    """Groups of the embedded cloud: where the agent learns what should run.

    MiniStack gives a group its instances' ids when its capacity is set by a call, but not when
    CloudFormation creates or changes the group; then that call is made here.
    """

    def __init__(self, *, autoscaling: Any, ec2: Any, cloudformation: Any) -> None:
        self._autoscaling = autoscaling
        self._ec2 = ec2
        self._cloudformation = cloudformation

    def read(self) -> list[Group]:
        """All groups that start instances from a launch template. Raises what boto3 raises."""
        found = []
        for one in self._describe():
            if one["DesiredCapacity"] != len(one["Instances"]):
                self._autoscaling.set_desired_capacity(
                    AutoScalingGroupName=one["AutoScalingGroupName"],
                    DesiredCapacity=one["DesiredCapacity"],
                )
                continue  # its ids are there at the next reading
            name = one["AutoScalingGroupName"]
            specification = one.get("LaunchTemplate") or self._mixed(name)
            if not specification or not one["Instances"]:
                continue
            ids = tuple(instance["InstanceId"] for instance in one["Instances"])
            found.append(Group(name, ids, self._template(specification)))
        return found

    def _describe(self) -> list[Any]:
        groups: list[Any] = self._autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]
        return groups

    def _template(self, specification: dict[str, str]) -> Template:
        version = self._ec2.describe_launch_template_versions(
            LaunchTemplateId=specification["LaunchTemplateId"],
            Versions=[specification.get("Version") or "$Latest"],
        )["LaunchTemplateVersions"][0]
        data = version["LaunchTemplateData"]
        text = base64.b64decode(data.get("UserData", "")).decode()
        return Template(data.get("InstanceType", ""), text)

    def _mixed(self, group: str) -> dict[str, str] | None:
        """A mixed group's launch template, by its stack: MiniStack keeps no mixed policy."""
        for stack in self._cloudformation.describe_stacks()["Stacks"]:
            if stack["StackStatus"].startswith("DELETE"):
                continue
            resources = self._cloudformation.describe_stack_resources(StackName=stack["StackName"])
            by_type: dict[str, list[str]] = {}
            for resource in resources["StackResources"]:
                by_type.setdefault(resource["ResourceType"], []).append(
                    resource.get("PhysicalResourceId", "")
                )
            templates = by_type.get("AWS::EC2::LaunchTemplate", [])
            if group in by_type.get("AWS::AutoScaling::AutoScalingGroup", []) and templates:
                return {"LaunchTemplateId": templates[0], "Version": "$Latest"}
        return None
