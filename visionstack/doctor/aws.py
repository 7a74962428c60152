"""What AWS itself would refuse: credentials, bootstrap, quota, offering and machine image.

Every call only reads. On the embedded cloud what it does not answer is unknown, not bad.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from runtime.contract import Output, Stack
from stacks.catalog import Catalog, InstanceType
from stacks.errors import UnknownInstanceTypeError
from visionstack.cloud.aws_errors import EXPIRED, REJECTED
from visionstack.cloud.clouds import NO_REGION_REMEDY
from visionstack.doctor.checks import Check, Finding, State, worst
from visionstack.doctor.vcpu_quotas import VcpuQuotas
from visionstack.errors import VisionstackError

if TYPE_CHECKING:
    from stacks.settings.model import DeploymentSettings
    from visionstack.cloud.deployment import Deployment

_BOOTSTRAP_PARAMETER: Final = "/cdk-bootstrap/hnb659fds/version"
_BOOTSTRAP_OLDEST: Final = 6
_UNRESERVED: Final = 100
_NOT_TAKEN: Final = EXPIRED | REJECTED


def check_account(cloud: Deployment) -> list[Check]:
    """Credentials, region, and whether CDK was bootstrapped there."""
    credentials = _asked("credentials", lambda: _credentials(cloud))
    if credentials.state is State.BAD:
        return [credentials]
    return [credentials, _asked("CDK bootstrap", lambda: _bootstrap(cloud))]


def check_instance_type(
    cloud: Deployment,
    name: str,
    *,
    ami_id: str | None = None,
    deployed_image: str | None = None,
    count: int = 1,
    spot: bool = False,
    extra: int = 0,
    quotas: VcpuQuotas | None = None,
) -> list[Check]:
    """Whether `count` instances would start: known, offered, within quota, with an image.

    Args:
        cloud: Where to ask.
        name: The type.
        ami_id: The image, if not the newest of AWS's own.
        deployed_image: The one that a deployment has kept, see `deployed_image`.
        count: Instances of the plan.
        spot: Whether they are to come from the spot market.
        extra: Instances that an update starts beside them.
        quotas: Holds the claims of what is planned besides; a type that cannot start anyway
            claims nothing.
    """
    try:
        found = Catalog.load()[name]
    except UnknownInstanceTypeError as error:
        remedy = "Choose one that the catalog lists."
        return [Check(f"{name}: type", State.BAD, str(error), remedy, name)]
    if found.obstacle is not None:
        remedy = "Choose another, such as c7i.xlarge, g4dn.xlarge or g6.xlarge."
        return [Check(f"{name}: type", State.BAD, found.obstacle, remedy, name)]
    claims = quotas or VcpuQuotas(cloud)
    checks = [
        _asked(f"{name}: offering", lambda: _offering(cloud, found), name),
        _asked(
            f"{name}: machine image", lambda: _image(cloud, found, ami_id, deployed_image), name
        ),
    ]
    if worst(checks) is State.BAD:
        claims = VcpuQuotas(cloud)
    quota = _asked(
        f"{name}: vCPU quota",
        lambda: _quota(cloud, found, count, spot=spot, extra=extra, quotas=claims),
        name,
    )
    return [checks[0], quota, checks[1]]


def check_concurrency(cloud: Deployment, settings: DeploymentSettings) -> list[Check]:
    """Whether Lambda would grant the classifier's reserved or provisioned concurrency.

    Empty where the settings ask for none. What is reserved already, by this deployment too, is
    not available any more. The 100 that stay unreserved: AWS Lambda developer guide, "Configuring
    reserved concurrency".
    """
    wanted = settings.reserved_concurrency or 0
    if not wanted and settings.cold_start == "provisioned":
        wanted = max([settings.warm_target, *settings.warm_targets()["hours"].values()])
    if not wanted:
        return []

    def look() -> Finding:
        if cloud.cloud == "local":
            return Finding(State.UNKNOWN, "the embedded cloud has no such limit")
        limit = cloud.client("lambda").get_account_settings()["AccountLimit"]
        free = limit["UnreservedConcurrentExecutions"]
        detail = (
            f"{wanted} wanted of {free} unreserved executions (the account's limit is "
            f"{limit['ConcurrentExecutions']}), and Lambda keeps {_UNRESERVED} of them unreserved"
        )
        if free - wanted >= _UNRESERVED:
            return Finding(State.GOOD, detail)
        return Finding(
            State.BAD,
            detail,
            "Leave reserved_concurrency empty and cold_start other than provisioned, or ask for "
            "more: aws service-quotas request-service-quota-increase --service-code lambda "
            "--quota-code L-B99A9384 --desired-value 1000",
        )

    return [_asked("Lambda concurrency", look)]


def _asked(name: str, look: Callable[[], Finding], instance_type: str | None = None) -> Check:
    return Check(name, *_found(look), instance_type)


def _found(look: Callable[[], Finding]) -> Finding:
    """A question that failed says so, with what AWS answered."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

    try:
        return look()
    except NoCredentialsError:
        return Finding(
            State.BAD,
            "there are no AWS credentials",
            "Run `aws configure`, set AWS_PROFILE, or start the embedded cloud: "
            "`visionstack local up`.",
        )
    except NoRegionError:
        return Finding(State.BAD, "no AWS region is set", NO_REGION_REMEDY)
    except VisionstackError as error:
        return Finding(State.BAD, error.message, error.remedy)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        expired = code in _NOT_TAKEN
        return Finding(
            State.BAD if expired else State.UNKNOWN,
            f"it cannot be looked up ({code or error})",
            "Renew the credentials." if expired else "Allow the read, or check it by hand.",
        )
    except (BotoCoreError, KeyError) as error:
        return Finding(State.UNKNOWN, f"it cannot be looked up ({error})")


def _credentials(cloud: Deployment) -> Finding:
    client = cloud.client("sts")
    answer = client.get_caller_identity()
    region = client.meta.region_name
    where = "the embedded cloud" if cloud.cloud == "local" else f"account {answer['Account']}"
    return Finding(State.GOOD, f"{where}, {region}")


def _bootstrap(cloud: Deployment) -> Finding:
    from botocore.exceptions import ClientError

    remedy = "Run `npx cdk bootstrap` once for this account and region."
    try:
        value = cloud.client("ssm").get_parameter(Name=_BOOTSTRAP_PARAMETER)["Parameter"]["Value"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ParameterNotFound":
            raise
        if cloud.cloud == "local":
            # `cdk bootstrap` by hand would go to AWS.
            return Finding(State.UNKNOWN, "not yet; `visionstack local deploy` does it by itself")
        return Finding(State.BAD, "this account and region are not bootstrapped", remedy)
    if not str(value).isdigit() or int(value) < _BOOTSTRAP_OLDEST:
        return Finding(State.BAD, f"version {value} is too old", remedy)
    return Finding(State.GOOD, f"version {value}")


def _offering(cloud: Deployment, found: InstanceType) -> Finding:
    answer = cloud.client("ec2").describe_instance_type_offerings(
        LocationType="availability-zone",
        Filters=[{"Name": "instance-type", "Values": [found.name]}],
    )
    offered = [
        offering["Location"]
        for offering in answer["InstanceTypeOfferings"]
        if offering["InstanceType"] == found.name
    ]
    if offered:
        return Finding(State.GOOD, f"offered in {', '.join(sorted(offered))}")
    if cloud.cloud == "local":
        detail = "the embedded cloud lists no zone for it, and starts no instances"
        return Finding(State.UNKNOWN, detail)
    remedy = "Choose another type, or another region."
    return Finding(State.BAD, "no zone of this region offers it", remedy)


def _quota(
    cloud: Deployment,
    found: InstanceType,
    count: int,
    *,
    spot: bool,
    extra: int,
    quotas: VcpuQuotas,
) -> Finding:
    if cloud.cloud == "local":
        return Finding(State.UNKNOWN, "the embedded cloud has no quotas")
    room = quotas.claim(found, count, spot=spot, extra=extra)
    if room.limit is None:
        detail = f"this account lists no quota {room.quota.name!r} ({room.quota.code})"
        return Finding(State.UNKNOWN, detail)
    sums = f"{room.planned} needed by the plan up to here, {room.running} in use already"
    if not room.fits:
        detail = f"{room.quota.name}: {room.limit} vCPUs allowed, {sums}"
        return Finding(State.BAD, detail, room.request)
    if not room.update_fits:
        detail = (
            f"{room.quota.name}: {room.limit} vCPUs allowed, {sums}; an update starts its new "
            f"instance beside the old one and needs {room.extra} more"
        )
        return Finding(State.WARNING, detail, room.request)
    detail = f"{room.running + room.planned} of {room.limit} vCPUs ({room.quota.name}): {sums}"
    if room.extra:
        detail += f", {room.extra} more while it is updated"
    return Finding(State.GOOD, detail)


def deployed_image(cloud: Deployment) -> str | None:
    """The image that the deployed stream servers start from; None where none are deployed."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        template = cloud.output(Stack.STREAMING, Output.STREAM_LAUNCH_TEMPLATE)
        answer = cloud.client("ec2").describe_launch_template_versions(
            LaunchTemplateId=template, Versions=["$Latest"]
        )
        (version,) = answer["LaunchTemplateVersions"]
    except (VisionstackError, BotoCoreError, ClientError):
        return None
    image: str | None = version["LaunchTemplateData"].get("ImageId")
    return image


def _image(
    cloud: Deployment, found: InstanceType, ami_id: str | None, deployed: str | None
) -> Finding:
    if ami_id is not None:
        return _fits(cloud, found, ami_id)
    if found.image_parameter is None:
        detail = "no public image is known to carry its driver"
        return Finding(State.BAD, detail, "Name one with -c ami_id=ami-….")
    if cloud.cloud == "local":
        detail = "the embedded cloud lacks AWS's public image parameters"
        return Finding(State.UNKNOWN, detail)
    answer = cloud.client("ssm").get_parameter(Name=found.image_parameter)
    image = str(answer["Parameter"]["Value"])
    if deployed is None or deployed == image:
        return _fits(cloud, found, image)
    kept = _fits(cloud, found, deployed)
    if kept.state is not State.GOOD:
        return kept
    today = datetime.datetime.now(datetime.UTC).date()
    return Finding(
        State.WARNING,
        f"{deployed} is deployed and kept; AWS has published {image} since",
        f"Deploy with -c ami_update={today} when the servers may be replaced.",
    )


def _fits(cloud: Deployment, found: InstanceType, image: str) -> Finding:
    # AWS deprecates an image long before it is withdrawn; it starts instances until then.
    answer = cloud.client("ec2").describe_images(ImageIds=[image], IncludeDeprecated=True)
    images: Sequence[dict[str, Any]] = answer["Images"]
    if not images:
        remedy = "Name an image of this region with -c ami_id=ami-…."
        return Finding(State.BAD, f"{image} is not in this region", remedy)
    arch = images[0].get("Architecture", "unknown")
    if arch != found.arch:
        return Finding(
            State.BAD,
            f"{image} is for {arch}, and {found.name} is {found.arch}",
            "Name an image of the type's architecture, or leave ami_id out.",
        )
    if images[0].get("State") not in {"available", None}:
        return Finding(State.BAD, f"{image} is {images[0]['State']}", "Name another image.")
    return Finding(State.GOOD, f"{image} ({arch})")
