"""AWS's documented limits that stand in the way of more cameras, and this project's own.

Defaults of an account in us-east-1, each with the document that names it. Read on 2026-11-25 from
stored copies of those pages; the date of a copy is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from runtime.protocol.limits import Limits as ServerLimits
from stacks.settings.fields import SettingFields

TARGET_GROUPS: Final = 2
"""Every instance is registered with that of the stream's port and that of the page's."""
ADDRESSES_A_ZONE: Final = 2**11 - 5
"""A zone's part of the network (`stacks.parts.vpc`) less the five that AWS keeps."""
LAUNCHES_AT_ONCE: Final = 1000
LAUNCHES_A_SECOND: Final = 2
LAUNCHES_SOURCE: Final = (
    'Amazon EC2 Developer Guide, "Request throttling for the Amazon EC2 API": RunInstances'
)
BALANCERS_A_REGION: Final = 50
ENVIRONMENTS_IN_TEN_SECONDS: Final = 1000
_NLB: Final = 'Elastic Load Balancing, "Quotas for your Network Load Balancers"'
_LAMBDA: Final = 'AWS Lambda Developer Guide, "Lambda quotas"'


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What so many cameras ask of the one lane or the other."""

    instances: int
    vcpus: int
    cameras_a_server: float
    requests_a_second: float
    environments: float


@dataclass(frozen=True, kw_only=True)
class Limit:
    """`most` of what `demand` names; `raised`: how far it goes when asked for, in words."""

    name: str
    most: float
    unit: str
    source: str
    raised: str
    demand: str
    change: str

    def used(self, demand: Demand) -> float:
        """The share of it that is asked for; above 1 it breaks."""
        asked: float = getattr(demand, self.demand)
        return asked / self.most


def _most(setting: str) -> int:
    """The largest value that the setting may have."""
    metadata = SettingFields.model_fields[setting].metadata
    return int(next(one.le for one in metadata if getattr(one, "le", None) is not None))


def _default(setting: str) -> int:
    return int(SettingFields.model_fields[setting].default)


STREAMING: Final[Sequence[Limit]] = (
    Limit(
        name="`instances_max` as it is",
        most=_default("instances_max"),
        unit="instances",
        source="docs/settings.md",
        raised=f"{_most('instances_max')}",
        demand="instances",
        change="set `instances_max`",
    ),
    Limit(
        name="vCPUs of running On-Demand Standard instances",
        most=5,
        unit="vCPUs",
        source='AWS General Reference, "Amazon EC2 endpoints and quotas" (5 as others quote it; '
        "the stored copy of the page breaks off before it)",
        raised="on request",
        demand="vcpus",
        change="ask for the quota before the deployment (`visionstack doctor` reads yours)",
    ),
    Limit(
        name="`instances_max` at its most",
        most=_most("instances_max"),
        unit="instances",
        source="docs/settings.md",
        raised="no",
        demand="instances",
        change="larger instances, or a second deployment (region or account)",
    ),
    Limit(
        name="targets of one balancer across zones",
        most=500 / TARGET_GROUPS,
        unit="instances in two target groups",
        source=f"{_NLB}: 500 with cross-zone load balancing, a target in N groups counts N times",
        raised="on request",
        demand="instances",
        change="larger instances, or a second deployment",
    ),
    Limit(
        name="addresses of two zones",
        most=2 * ADDRESSES_A_ZONE - 2,
        unit="instances",
        source="stacks/parts/vpc.py; Amazon EC2 API Reference, CreateSubnet: five addresses of "
        "each subnet are AWS's; the balancer has one in each zone",
        raised="`zones` up to 6",
        demand="instances",
        change="more zones",
    ),
    Limit(
        name="balancers of a region with their targets",
        most=BALANCERS_A_REGION * 500 / TARGET_GROUPS,
        unit="instances",
        source=f"{_NLB}: 50 in a region",
        raised="on request",
        demand="instances",
        change="several regions or accounts",
    ),
    Limit(
        name="connections of one server",
        most=ServerLimits().connections,
        unit="cameras on one instance",
        source="runtime/protocol/limits.py",
        raised="no",
        demand="cameras_a_server",
        change="not reached by what one instance can serve",
    ),
)
SERVERLESS: Final[Sequence[Limit]] = (
    Limit(
        name="`throttle_rate` as it is",
        most=_default("throttle_rate"),
        unit="requests a second",
        source="docs/settings.md",
        raised=f"{_most('throttle_rate'):,}",
        demand="requests_a_second",
        change="set `throttle_rate`, `throttle_burst` and `quota_per_day`",
    ),
    Limit(
        name="environments of Lambda at once",
        most=1000,
        unit="environments",
        source=f"{_LAMBDA}: 1,000 concurrent executions, new accounts fewer",
        raised="tens of thousands",
        demand="environments",
        change="ask for the quota",
    ),
    Limit(
        name="requests of all APIs of a region",
        most=10_000,
        unit="requests a second",
        source='Amazon API Gateway Developer Guide, "Amazon API Gateway quotas": 10,000 a second, '
        "5,000 at once",
        raised="on request; `throttle_rate` not",
        demand="requests_a_second",
        change="call the function without the gateway, or the streaming lane",
    ),
    Limit(
        name="uploads to one prefix of S3",
        most=3500,
        unit="PUTs a second",
        source='AWS re:Post Knowledge Center, "HTTP 5xx errors from Amazon S3": 3,500 PUTs and '
        "5,500 GETs a second for each partitioned prefix",
        raised="by more prefixes, in 30 to 60 minutes",
        demand="requests_a_second",
        change="small pictures go in the call's body and need none; else spread the prefixes",
    ),
)
CONSTANT: Final = (
    "EventBridge (18,750 invocations and 10,000 PutEvents a second in us-east-1: Amazon "
    'EventBridge User Guide, "Amazon EventBridge quotas") only wakes the warmer, once in five '
    "minutes however many cameras there are."
)
BURST: Final = (
    'AWS Lambda Developer Guide, "Lambda scaling behavior": 1,000 environments more in every ten '
    "seconds for each function"
)
HASHED: Final = (
    'Elastic Load Balancing, "What is a Network Load Balancer?": a TCP connection goes where a '
    "hash of its addresses, ports and sequence number says, for its whole life"
)
