"""The instances and load balancers of the embedded cloud, as its agent writes them down."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from visionstack.cloud.local_state import CloudFolder, read_json, write_json
from visionstack.errors import VisionstackError

HOPELESS_BOOTS: Final = 8
"""After so many boots without success nothing is waited for: some 40 s of trying."""


class InstanceState(StrEnum):
    BOOTING = "booting"  # its user data runs; not healthy yet
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"  # was healthy; its health check fails now
    DRAINING = "draining"  # scaled in: had SIGTERM, may finish what it has
    FAILED = "failed"  # its user data or server ended; booted again after a pause
    NOT_RUN = "not-run"  # wants hardware that this machine is not


@dataclass(frozen=True)
class Instance:
    """One member of an Auto Scaling group."""

    id: str
    group: str
    instance_type: str
    state: InstanceState
    stream_port: int
    http_port: int
    log: str
    boots: int
    since: float
    """Unix seconds at which `state` began."""
    reason: str = ""
    """Why it failed or is not run; the end of its log."""


@dataclass(frozen=True)
class Balancer:
    """A loopback TCP forwarder that stands for a group's Network Load Balancer."""

    group: str
    host: str
    stream_port: int
    http_port: int
    healthy: int


@dataclass(frozen=True)
class Fleet:
    instances: list[Instance] = field(default_factory=list)
    balancers: list[Balancer] = field(default_factory=list)
    groups_read: float = 0
    """Unix seconds at which the Auto Scaling groups were read that this follows from."""

    def write(self, folder: CloudFolder) -> None:
        write_json(folder.fleet, asdict(self))

    @classmethod
    def read(cls, folder: CloudFolder) -> Fleet:
        """Empty when the agent has written nothing yet."""
        value: Any = read_json(folder.fleet)
        if not isinstance(value, dict):
            return cls()
        return cls(
            instances=[
                Instance(**{**one, "state": InstanceState(one["state"])})
                for one in value["instances"]
            ],
            balancers=[Balancer(**one) for one in value["balancers"]],
            groups_read=value.get("groups_read", 0.0),
        )


def wait_for_healthy(folder: CloudFolder, *, group: str, timeout_s: float) -> Balancer:
    """The group's load balancer, once it has a healthy instance.

    With a `timeout_s` the agent must have read the groups after this call, so that what was just
    deployed counts. VisionstackError, with the end of the instance's log, when there is none within
    that time, or when every boot fails.
    """
    asked = time.time()
    deadline = time.monotonic() + timeout_s
    while True:
        fleet = Fleet.read(folder)
        if timeout_s > 0 and fleet.groups_read < asked and time.monotonic() < deadline:
            time.sleep(0.1)
            continue
        for balancer in fleet.balancers:
            if balancer.group == group and balancer.healthy > 0:
                return balancer
        failing = [one for one in fleet.instances if one.group == group and one.reason]
        hopeless = bool(failing) and all(one.boots >= HOPELESS_BOOTS for one in failing)
        if time.monotonic() >= deadline or hopeless:
            raise _none_healthy(fleet, group)
        time.sleep(0.1)


def _none_healthy(fleet: Fleet, group: str) -> VisionstackError:
    mine = [one for one in fleet.instances if one.group == group]
    if not mine:
        return VisionstackError(
            f"Group {group} has no instance on the embedded cloud.",
            remedy="Its desired capacity may be 0, or the agent is not running: "
            "see `visionstack local status`.",
        )
    told = "; ".join(
        f"{one.id} is {one.state}" + (f": {one.reason}" if one.reason else "") for one in mine
    )
    return VisionstackError(
        f"No healthy server in group {group}: {told}", remedy=f"Its log: {mine[0].log}"
    )
