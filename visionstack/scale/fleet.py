"""What so many cameras take of either lane and what that costs a month: no run of anything."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from stacks.catalog import Catalog
from visionstack.cost.bill import DAYS_A_MONTH, Bill
from visionstack.cost.instances import Fleet, fleet_bill
from visionstack.cost.prices import PriceBook
from visionstack.cost.serverless import Function, function_bill
from visionstack.cost.standing import DETAILED_METRICS
from visionstack.scale.limits import (
    ENVIRONMENTS_IN_TEN_SECONDS,
    LAUNCHES_A_SECOND,
    LAUNCHES_AT_ONCE,
    TARGET_GROUPS,
    Demand,
)

_SECONDS_A_DAY: Final = 86_400
_MOST_BEHIND_ONE: Final = 500 // TARGET_GROUPS


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Cameras of one kind, and what was measured of one processor and of one call."""

    cameras: int
    fps: float
    frame_bytes: float
    instance_type: str
    answers_a_second_and_vcpu: float
    """That one vCPU was measured at; an instance's are taken as so many times that."""
    utilisation: float
    """Share of it that is planned with: `scale_target`."""
    call: Function
    """The function that would answer the same frames."""

    @property
    def vcpus(self) -> int:
        return Catalog.load()[self.instance_type].vcpus

    @property
    def cameras_an_instance(self) -> int:
        """Whole ones, at least one."""
        rate = self.answers_a_second_and_vcpu * self.vcpus * self.utilisation
        return max(1, math.floor(rate / self.fps + 1e-9))

    @property
    def instances(self) -> int:
        return math.ceil(self.cameras / self.cameras_an_instance)

    @property
    def balancers(self) -> int:
        """As many as their targets need."""
        return math.ceil(self.instances / _MOST_BEHIND_ONE)

    @property
    def demand(self) -> Demand:
        return Demand(
            instances=self.instances,
            vcpus=self.instances * self.vcpus,
            cameras_a_server=min(self.cameras, self.cameras_an_instance),
            requests_a_second=self.cameras * self.fps,
            environments=self.cameras * self.fps * self.call.seconds,
        )

    @property
    def minutes_to_launch(self) -> float:
        """Until EC2 has taken the last launch, at its request throttle; booting comes on top."""
        return max(0, self.instances - LAUNCHES_AT_ONCE) / LAUNCHES_A_SECOND / 60

    @property
    def minutes_to_warm(self) -> float:
        """Until Lambda has started the last environment, at its scaling rate."""
        return math.ceil(self.demand.environments / ENVIRONMENTS_IN_TEN_SECONDS) * 10 / 60

    def streaming_bill(self, book: PriceBook) -> Bill:
        """A month of the streaming lane, one deployment for each balancer."""
        a_day = self.cameras * self.fps * _SECONDS_A_DAY
        fleet = Fleet(
            instance_type=self.instance_type,
            images_per_second=self.answers_a_second_and_vcpu * self.vcpus,
            utilisation=self.utilisation,
            bytes_per_request=self.frame_bytes,
            requests_per_connection=_SECONDS_A_DAY * self.fps,
        )
        more = (self.balancers - 1) * 24 * DAYS_A_MONTH
        metrics = self.instances * DETAILED_METRICS
        addresses = more * fleet.zones
        return fleet_bill(fleet, requests_per_day=a_day, book=book, count=self.instances) + Bill.of(
            [
                book.item("load balancer hours", more, "hours", "nlb.hour"),
                book.item("public IPv4", addresses, "hours", "ipv4.hour"),
                book.item("CloudWatch metrics", metrics, "a month", "cloudwatch.metric_month"),
            ]
        )

    def serverless_bill(self, book: PriceBook) -> Bill:
        """A month of a call a frame."""
        requests = self.cameras * self.fps * _SECONDS_A_DAY * DAYS_A_MONTH
        return function_bill(self.call, requests_per_month=requests, book=book)
