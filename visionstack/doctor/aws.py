"""What AWS itself would refuse: credentials, bootstrap, quota, offering and machine image.

Every call only reads. On the embedded cloud what it does not answer is unknown, not bad.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from visionstack.cloud.clouds import NO_REGION_REMEDY
from visionstack.doctor.checks import Check, State
from visionstack.errors import VisionstackError

if TYPE_CHECKING:
    from stacks.catalog import InstanceType

_BOOTSTRAP_PARAMETER: Final = "/cdk-bootstrap/hnb659fds/version"
_BOOTSTRAP_OLDEST: Final = 6
_QUOTA_NAMES: Final = {
    "standard": "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
    "g": "Running On-Demand G and VT instances",
    "p": "Running On-Demand P instances",
    "inf": "Running On-Demand Inf instances",
    "trn": "Running On-Demand Trn instances",
    "dl": "Running On-Demand DL instances",
    "x": "Running On-Demand X instances",
    "f": "Running On-Demand F instances",
}
"""Amazon EC2's own names of the vCPU quotas, by family group."""


_REJECTED: Final = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "AuthFailure"}
)


class Cloud(Protocol):
    """The part of a deployment that is asked."""

    @property
    def cloud(self) -> str:
        """`local` or `aws`."""
        ...

    def client(self, service: str) -> Any:
        """A boto3 client."""
        ...


def quota_name(instance_type: InstanceType, *, spot: bool = False) -> str:
    """The vCPU quota that a type counts against, as EC2 calls it."""
    name = _on_demand_quota(instance_type)
    if not spot:
        return name
    group = name.removeprefix("Running On-Demand ").removesuffix(" instances")
    return f"All {group} Spot Instance Requests"


def _on_demand_quota(instance_type: InstanceType) -> str:
    family = instance_type.family
    for group in ("trn", "inf", "dl"):
        if family.startswith(group):
            return _QUOTA_NAMES[group]
    letter = family[0]
    if letter in {"g", "v"}:
        return _QUOTA_NAMES["g"]
    return _QUOTA_NAMES.get(letter, _QUOTA_NAMES["standard"])


def check_account(cloud: Cloud) -> list[Check]:
    """Credentials, region, and whether CDK was bootstrapped there."""
    credentials = _asked("credentials", lambda: _credentials(cloud))
    if credentials.state is State.BAD:
        return [credentials]
    return [credentials, _asked("CDK bootstrap", lambda: _bootstrap(cloud))]


def check_instance_type(
    cloud: Cloud, name: str, *, ami_id: str | None = None, count: int = 1, spot: bool = False
) -> list[Check]:
    """Whether `count` instances would start: known, offered, within quota, with an image."""
    from stacks.catalog import Catalog
    from stacks.errors import UnknownInstanceTypeError

    try:
        found = Catalog.load()[name]
    except UnknownInstanceTypeError as error:
        return [
            Check(
                f"{name}: type",
                State.BAD,
                str(error),
                "Choose one that the catalog lists.",
                instance_type=name,
            )
        ]
    if found.obstacle is not None:
        return [
            Check(
                f"{name}: type",
                State.BAD,
                found.obstacle,
                "Choose another, such as c7i.xlarge, g4dn.xlarge or g6.xlarge.",
                instance_type=name,
            )
        ]
    return [
        _asked(f"{name}: offering", lambda: _offering(cloud, found), name),
        _asked(f"{name}: vCPU quota", lambda: _quota(cloud, found, count, spot=spot), name),
        _asked(f"{name}: machine image", lambda: _image(cloud, found, ami_id), name),
    ]


def _asked(name: str, look: Any, instance_type: str | None = None) -> Check:
    """A check whose question failed says so, with what AWS answered."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

    try:
        found: Check = look()
    except NoCredentialsError:
        return Check(
            name,
            State.BAD,
            "there are no AWS credentials",
            "Run `aws configure`, set AWS_PROFILE, or start the embedded cloud: "
            "`visionstack local up`.",
            instance_type,
        )
    except NoRegionError:
        return Check(name, State.BAD, "no AWS region is set", NO_REGION_REMEDY, instance_type)
    except VisionstackError as error:
        return Check(name, State.BAD, error.message, error.remedy, instance_type)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        expired = code in _REJECTED
        return Check(
            name,
            State.BAD if expired else State.UNKNOWN,
            f"it cannot be looked up ({code or error})",
            "Renew the credentials." if expired else "Allow the read, or check it by hand.",
            instance_type,
        )
    except (BotoCoreError, KeyError) as error:
        return Check(name, State.UNKNOWN, f"it cannot be looked up ({error})", None, instance_type)
    return found


def _credentials(cloud: Cloud) -> Check:
    client = cloud.client("sts")
    answer = client.get_caller_identity()
    region = client.meta.region_name
    where = "the embedded cloud" if cloud.cloud == "local" else f"account {answer['Account']}"
    return Check("credentials", State.GOOD, f"{where}, {region}")


def _bootstrap(cloud: Cloud) -> Check:
    from botocore.exceptions import ClientError

    name = "CDK bootstrap"
    remedy = "Run `npx cdk bootstrap` once for this account and region."
    try:
        value = cloud.client("ssm").get_parameter(Name=_BOOTSTRAP_PARAMETER)["Parameter"]["Value"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ParameterNotFound":
            raise
        if cloud.cloud == "local":
            # `cdk bootstrap` by hand would go to AWS.
            return Check(
                name, State.UNKNOWN, "not yet; `visionstack local deploy` does it by itself"
            )
        return Check(name, State.BAD, "this account and region are not bootstrapped", remedy)
    if not str(value).isdigit() or int(value) < _BOOTSTRAP_OLDEST:
        return Check(name, State.BAD, f"version {value} is too old", remedy)
    return Check(name, State.GOOD, f"version {value}")


def _offering(cloud: Cloud, found: InstanceType) -> Check:
    name = f"{found.name}: offering"
    answer = cloud.client("ec2").describe_instance_type_offerings(
        LocationType="availability-zone",
        Filters=[{"Name": "instance-type", "Values": [found.name]}],
    )
    offered = [
        offering["Location"]
        for offering in answer["InstanceTypeOfferings"]
        if offering["InstanceType"] == found.name
    ]
    if not offered:
        return Check(
            name,
            State.UNKNOWN if cloud.cloud == "local" else State.BAD,
            "no zone of this region offers it"
            if cloud.cloud == "aws"
            else "the embedded cloud lists no zone for it, and starts no instances",
            None if cloud.cloud == "local" else "Choose another type, or another region.",
            found.name,
        )
    return Check(
        name, State.GOOD, f"offered in {', '.join(sorted(offered))}", instance_type=found.name
    )


def _quota(cloud: Cloud, found: InstanceType, count: int, *, spot: bool) -> Check:
    name = f"{found.name}: vCPU quota"
    if cloud.cloud == "local":
        return Check(
            name, State.UNKNOWN, "the embedded cloud has no quotas", instance_type=found.name
        )
    wanted = quota_name(found, spot=spot)
    vcpus = found.vcpus * count
    pages = cloud.client("service-quotas").get_paginator("list_service_quotas")
    for page in pages.paginate(ServiceCode="ec2"):
        for quota in page["Quotas"]:
            if quota["QuotaName"] != wanted:
                continue
            limit = int(quota["Value"])
            if limit < vcpus:
                return Check(
                    name,
                    State.BAD,
                    f"{wanted}: {limit} vCPUs allowed, {vcpus} needed",
                    "Ask for an increase in the Service Quotas console; it can take days.",
                    found.name,
                )
            return Check(
                name,
                State.GOOD,
                f"{vcpus} of {limit} vCPUs ({wanted}); running instances count too",
                instance_type=found.name,
            )
    return Check(
        name, State.UNKNOWN, f"this account lists no quota {wanted!r}", instance_type=found.name
    )


def _image(cloud: Cloud, found: InstanceType, ami_id: str | None) -> Check:
    name = f"{found.name}: machine image"
    image = ami_id
    if image is None:
        if found.image_parameter is None:
            return Check(
                name,
                State.BAD,
                "no public image is known to carry its driver",
                "Name one with -c ami_id=ami-….",
                found.name,
            )
        if cloud.cloud == "local":
            return Check(
                name,
                State.UNKNOWN,
                "the embedded cloud lacks AWS's public image parameters",
                instance_type=found.name,
            )
        answer = cloud.client("ssm").get_parameter(Name=found.image_parameter)
        image = str(answer["Parameter"]["Value"])
    return _fits(cloud, found, image, name)


def _fits(cloud: Cloud, found: InstanceType, image: str, name: str) -> Check:
    answer = cloud.client("ec2").describe_images(ImageIds=[image])
    images: Sequence[dict[str, Any]] = answer["Images"]
    if not images:
        return Check(
            name,
            State.BAD,
            f"{image} is not in this region",
            "Name an image of this region with -c ami_id=ami-….",
            found.name,
        )
    arch = images[0].get("Architecture", "unknown")
    if arch != found.arch:
        return Check(
            name,
            State.BAD,
            f"{image} is for {arch}, and {found.name} is {found.arch}",
            "Name an image of the type's architecture, or leave ami_id out.",
            found.name,
        )
    if images[0].get("State") not in {"available", None}:
        return Check(
            name,
            State.BAD,
            f"{image} is {images[0]['State']}",
            "Name another image.",
            found.name,
        )
    return Check(name, State.GOOD, f"{image} ({arch})", instance_type=found.name)
