"""What single settings must be, and which of them cannot be had together."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final

from runtime.contract import MAX_WARM_ENVIRONMENTS
from stacks.catalog import Catalog, InstanceType
from stacks.errors import UnknownInstanceTypeError

if TYPE_CHECKING:
    from stacks.settings.model import DeploymentSettings

_SCENARIO: Final = re.compile(
    r"single-stream|multi-stream|offline|server|(?:server|camera):(?P<rate>\d{1,5}(?:\.\d+)?)"
)


def startable(name: str) -> InstanceType:
    """The catalog's entry, if AWS starts it and an engine here can use it; else a ValueError."""
    try:
        found = Catalog.load()[name]
    except UnknownInstanceTypeError as error:
        raise ValueError(str(error).rstrip(".?")) from None
    if found.obstacle:
        raise ValueError(found.obstacle)
    return found


def hour_span(entry: str) -> tuple[str, int]:
    """`9-18=8` as (`9-18`, 8): from hour 9 until hour 18, 8 environments."""
    span, _, count = entry.partition("=")
    first, _, last = span.partition("-")
    if not (first.isdigit() and last.isdigit() and count.isdigit()):
        raise ValueError(f"{entry!r} is no span of hours")
    hours = int(first) <= 23 and int(last) <= 24 and int(first) != int(last)
    if not (hours and int(count) <= MAX_WARM_ENVIRONMENTS):
        raise ValueError(f"{entry!r} is out of range")
    return f"{int(first)}-{int(last)}", int(count)


def contradictions(settings: DeploymentSettings) -> list[str]:
    """One sentence for each pair of settings that cannot be had together."""
    catalog = Catalog.load()
    first = catalog[settings.instance_type]
    wrong: list[str] = []
    for name in settings.extra_instance_types:
        other = catalog[name]
        if (other.arch, other.compute) != (first.arch, first.compute) or name == first.name:
            wrong.append(
                f"extra_instance_types={name} cannot stand in for instance_type={first.name}: it"
                f" must be another type that is {first.arch} and {first.compute} too."
            )
    wrong.extend(
        f"{key} got {name!r}, which the public machine image for GPUs does not support; name an"
        " image with ami_id, or take another type."
        for key, names in (
            ("instance_type", (settings.instance_type, *settings.extra_instance_types)),
            ("instance_types", settings.instance_types),
        )
        for name in names
        if catalog[name].image_parameter is None and settings.ami_id is None
    )
    if settings.ami_id and len({catalog[name].arch for name in settings.instance_types}) > 1:
        wrong.append(
            f"ami_id={settings.ami_id} cannot fit instance_types of two architectures; leave it out"
            " or compare one architecture at a time."
        )
    if not settings.allow_any_cidr:
        wrong.extend(
            f"allowed_cidrs got {cidr!r}, which is the whole internet; name your own network, or"
            " set allow_any_cidr=true as well."
            for cidr in settings.allowed_cidrs
            if ipaddress.IPv4Network(cidr).prefixlen == 0
        )
    wanted = settings.instances_desired
    least, most = settings.instances_min, settings.instances_max
    if least > most:
        wrong.append(f"instances_min={least} is more than instances_max={most}.")
    elif wanted is not None and not least <= wanted <= most:
        wrong.append(f"instances_desired={wanted} must lie between {least} and {most}.")
    if settings.scale_on == "EngineBusyShare" and settings.scale_target > 1:
        wrong.append(
            f"scale_target={settings.scale_target} is no share: scale_on=EngineBusyShare wants more"
            " than 0 and at most 1."
        )
    if settings.stream_port == settings.stream_http_port:
        wrong.append(f"stream_port and stream_http_port are both {settings.stream_port}.")
    if settings.cold_start == "snapstart" and settings.storage_mib > 512:
        wrong.append(
            f"cold_start=snapstart allows a /tmp of 512 MiB; packaging={settings.packaging} with"
            f" lambda_storage_mib={settings.lambda_storage_mib} makes it {settings.storage_mib}."
        )
    return wrong + _of_warm_environments(settings)


def _of_warm_environments(settings: DeploymentSettings) -> list[str]:
    wrong = []
    answer, reserved = settings.cold_start, settings.reserved_concurrency
    counts = settings.warm_targets()["hours"]
    peak = max([settings.warm_target, *counts.values()])
    if reserved is not None and reserved < peak and answer in {"provisioned", "warmer"}:
        wrong.append(
            f"reserved_concurrency={reserved} is less than the {peak} environments that"
            f" cold_start={answer} is to keep."
        )
    if answer == "provisioned" and 0 in counts.values():
        wrong.append(
            "warm_hours got a 0, and cold_start=provisioned keeps one environment or more."
        )
    spans = [tuple(map(int, span.split("-"))) for span in counts]
    named = [
        hour % 24 for first, last in spans for hour in range(first, last + 24 * (last < first))
    ]
    if len(named) > len(set(named)) or len(spans) < len(settings.warm_hours):
        wrong.append(f"warm_hours={','.join(settings.warm_hours)} names an hour twice.")
    return wrong


def is_scenario(text: str) -> bool:
    """Whether a compared instance can measure it: `offline`, `server:50`, `camera:29.97`, ..."""
    found = _SCENARIO.fullmatch(text)
    return found is not None and 0 < float(found["rate"] or 1) <= 10_000
