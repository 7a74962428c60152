"""Provisioned concurrency that follows the hours of the day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aws_cdk import aws_applicationautoscaling as scaling
from aws_cdk import aws_lambda as lambda_


def provisioned_schedule(alias: lambda_.Alias, *, targets: Mapping[str, Any]) -> None:
    """Keep `targets["hours"]` environments during their hours (UTC), else `targets["default"]`.

    Without hours the alias keeps its fixed number and nothing is scheduled.
    """
    default, hours = int(targets["default"]), targets["hours"]
    if not hours:
        return
    scalable = alias.add_auto_scaling(
        min_capacity=min([default, *hours.values()]), max_capacity=max([default, *hours.values()])
    )
    spans = [(*map(int, span.split("-")), count) for span, count in hours.items()]
    starts = {first for first, _, _ in spans}
    for first, last, count in spans:
        _at(scalable, hour=first, count=count)
        # A span that begins where this one ends says what comes next.
        if last % 24 not in starts:
            _at(scalable, hour=last % 24, count=default)


def _at(scalable: lambda_.IScalableFunctionAttribute, *, hour: int, count: int) -> None:
    scalable.scale_on_schedule(
        f"At{hour:02}",
        schedule=scaling.Schedule.cron(hour=str(hour), minute="0"),
        min_capacity=count,
        max_capacity=count,
    )
