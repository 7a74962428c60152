"""What of a deployment still stands in an account, asked of each service that a stack uses."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from runtime.contract import PROJECT
from visionstack.cloud.aws_errors import translated
from visionstack.cloud.local_fleet import Fleet
from visionstack.cloud.local_state import CloudFolder

if TYPE_CHECKING:
    from visionstack.cloud.deployment import Deployment

_STACKS: Final = "Stacks[?StackStatus!='DELETE_COMPLETE'].[StackName, StackStatus]"
_NAMED: Final = (
    ("bucket", "s3", "list_buckets", "Buckets[].Name"),
    ("function", "lambda", "list_functions", "Functions[].FunctionName"),
    ("API", "apigateway", "get_rest_apis", "items[].name"),
    ("API key", "apigateway", "get_api_keys", "items[].name"),
    ("usage plan", "apigateway", "get_usage_plans", "items[].name"),
    (
        *("group of instances", "autoscaling", "describe_auto_scaling_groups"),
        "AutoScalingGroups[].AutoScalingGroupName",
    ),
    ("launch template", "ec2", "describe_launch_templates", "LaunchTemplates[].LaunchTemplateName"),
    ("secret", "secretsmanager", "list_secrets", "SecretList[].Name"),
    ("parameter", "ssm", "describe_parameters", "Parameters[].Name"),
    ("rule", "events", "list_rules", "Rules[].Name"),
    ("state machine", "stepfunctions", "list_state_machines", "stateMachines[].name"),
    ("alarm", "cloudwatch", "describe_alarms", "MetricAlarms[].AlarmName"),
    ("dashboard", "cloudwatch", "list_dashboards", "DashboardEntries[].DashboardName"),
    ("log group", "logs", "describe_log_groups", "logGroups[].logGroupName"),
    ("role", "iam", "list_roles", "Roles[].RoleName"),
)
"""Kind, service, call, and where its answer has the names (JMESPath)."""
_TAGGED: Final = (
    (
        *("instance", "describe_instances"),
        "Reservations[].Instances[?State.Name!='terminated'][].InstanceId",
    ),
    ("disk", "describe_volumes", "Volumes[].VolumeId"),
    # No network goes before the load balancers, gateways and security groups in it.
    ("network", "describe_vpcs", "Vpcs[].VpcId"),
)
"""Kind, EC2's call, and where its answer has the ids, of what carries the deployment's tag."""
_KEPT: Final = re.compile("-FrontApiCloudWatchR")
"""In the name of the role with which API Gateway writes logs: set for the whole account, so the
stack leaves it (docs/costs.md)."""
_LOOK_EVERY_S: Final = 5.0


def stacks(deployment: Deployment) -> dict[str, str]:
    """Every stack's status by its name.

    Raises:
        VisionstackError: CloudFormation cannot be asked.
    """
    with translated("list the stacks"):
        return dict(_listed(deployment.client("cloudformation"), "describe_stacks", _STACKS))


def left(deployment: Deployment, prefixes: Sequence[str]) -> list[str]:
    """What still stands of the deployments with these prefixes, each as `kind name`; without the
    role that is kept.

    Raises:
        VisionstackError: a service cannot be asked.
    """
    mine = re.compile(rf"(?:^|[/-])(?:{'|'.join(map(re.escape, prefixes))})[-/]")
    found = [f"stack {name}" for name in stacks(deployment) if mine.search(name)]
    for kind, service, call, names in _NAMED:
        with translated(f"see which {kind}s are left"):
            listed = _listed(deployment.client(service), call, names)
        found += [
            f"{kind} {name}" for name in listed if mine.search(name) and not _KEPT.search(name)
        ]
    tagged = [{"Name": f"tag:{PROJECT}", "Values": list(prefixes)}]
    for kind, call, ids in _TAGGED:
        with translated(f"see which {kind}s are left"):
            listed = _listed(deployment.client("ec2"), call, ids, Filters=tagged)
        found += [f"{kind} {one}" for one in listed]
    if deployment.cloud == "local":
        fleet = Fleet.read(CloudFolder.from_environment()).instances
        found += [f"instance {one.id}" for one in fleet if mine.search(f"{one.group}-")]
    return found


def wait_until_none(
    look: Callable[[], list[str]],
    *,
    patience_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Look until nothing is found, or for `patience_s`: what is ending does not end at once."""
    end = clock() + patience_s
    while (found := look()) and clock() < end:
        sleep(_LOOK_EVERY_S)
    return found


def _listed(client: Any, call: str, path: str, **arguments: Any) -> list[Any]:
    return list(client.get_paginator(call).paginate(**arguments).search(path))
