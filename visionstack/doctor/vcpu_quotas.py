"""EC2's quotas of vCPUs: what runs already and everything that is planned, summed by quota.

A quota holds for all instances of its families in the region, however many types they are of.
Codes and families: Amazon EC2 user guide, "Amazon EC2 instance type quotas" and "Spot Instance
quotas".
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from stacks.catalog import InstanceType
    from visionstack.cloud.deployment import Deployment


@dataclass(frozen=True)
class Quota:
    """Of one group of families, and either on demand or on the spot market."""

    code: str
    name: str
    """As EC2 calls it."""


def _pair(group: str, on_demand: str, spot: str) -> tuple[Quota, Quota]:
    return (
        Quota(on_demand, f"Running On-Demand {group} instances"),
        Quota(spot, f"All {group} Spot Instance Requests"),
    )


_STANDARD: Final = _pair("Standard (A, C, D, H, I, M, R, T, Z)", "L-1216C47A", "L-34B43A08")
_G: Final = _pair("G and VT", "L-DB2E81BA", "L-3819A6DF")
_BY_PREFIX: Final = {
    "trn": _pair("Trn", "L-2C3B7624", "L-6B0D517C"),
    "inf": _pair("Inf", "L-1945791B", "L-B5D1601B"),
    "dl": _pair("DL", "L-6E869C2A", "L-85EED4F7"),
    "vt": _G,
    "g": _G,
    "p": _pair("P", "L-417A185B", "L-7212CCBC"),
    "x": _pair("X", "L-7295265B", "L-E3A00192"),
    "f": _pair("F", "L-74FC7D96", "L-88CF9481"),
}
"""By what a family's name begins with; every other family counts as standard."""


def quota_of(family: str, *, spot: bool = False) -> Quota:
    """The quota that a family (`g6`) counts against."""
    pair = next((p for start, p in _BY_PREFIX.items() if family.startswith(start)), _STANDARD)
    return pair[spot]


@dataclass(frozen=True)
class Room:
    """What a quota allows and what it would have to, in vCPUs."""

    quota: Quota
    limit: int | None
    """None where the account lists no such quota."""
    running: int
    planned: int
    """By this claim and those before it."""
    extra: int
    """More for as long as an update starts a new instance beside the old ones."""

    @property
    def fits(self) -> bool:
        return self.limit is not None and self.running + self.planned <= self.limit

    @property
    def update_fits(self) -> bool:
        return self.limit is not None and self.running + self.planned + self.extra <= self.limit

    @property
    def request(self) -> str:
        """What to do for a quota that is large enough."""
        return (
            "Ask for more, which can take days: aws service-quotas "
            f"request-service-quota-increase --service-code ec2 --quota-code {self.quota.code} "
            f"--desired-value {self.running + self.planned + self.extra}"
        )


class VcpuQuotas:
    """One region's quotas, asked once, with the claims of one plan.

    Args:
        cloud: Where to ask; nothing is asked before the first claim.
        own_group: Name of the Auto Scaling group that the plan itself is for: what runs in it is
            part of the plan and not counted a second time.
    """

    def __init__(self, cloud: Deployment, *, own_group: str | None = None) -> None:
        self._cloud = cloud
        self._own_group = own_group
        self._limits: dict[str, int] | None = None
        self._running: Counter[str] = Counter()
        self._claimed: Counter[str] = Counter()

    def claim(self, found: InstanceType, count: int, *, spot: bool = False, extra: int = 0) -> Room:
        """Room for `count` more instances, and `extra` during an update.

        A claim that fits counts for those after it. Raises what boto3 raises.
        """
        quota = quota_of(found.family, spot=spot)
        if self._limits is None:
            self._running = self._used()
            self._limits = self._allowed()
        room = Room(
            quota,
            self._limits.get(quota.code),
            self._running[quota.code],
            self._claimed[quota.code] + found.vcpus * count,
            found.vcpus * extra,
        )
        if room.fits:
            self._claimed[quota.code] = room.planned
        return room

    def _allowed(self) -> dict[str, int]:
        pages = self._cloud.client("service-quotas").get_paginator("list_service_quotas")
        return {
            quota["QuotaCode"]: int(quota["Value"])
            for page in pages.paginate(ServiceCode="ec2")
            for quota in page["Quotas"]
        }

    def _used(self) -> Counter[str]:
        pages = self._cloud.client("ec2").get_paginator("describe_instances")
        states = {"Name": "instance-state-name", "Values": ["pending", "running"]}
        used: Counter[str] = Counter()
        for page in pages.paginate(Filters=[states]):
            for reservation in page["Reservations"]:
                for instance in reservation["Instances"]:
                    tags = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])}
                    group = tags.get("aws:autoscaling:groupName")
                    if group is not None and group == self._own_group:
                        continue
                    family = instance["InstanceType"].partition(".")[0]
                    spot = instance.get("InstanceLifecycle") == "spot"
                    cpus = instance["CpuOptions"]
                    vcpus = cpus["CoreCount"] * cpus["ThreadsPerCore"]
                    used[quota_of(family, spot=spot).code] += vcpus
        return used
