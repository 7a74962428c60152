"""Which settings cannot be had together."""

from __future__ import annotations

import ipaddress
from typing import Final

from stacks.catalog import Catalog
from stacks.settings.fields import SettingFields

_LIBRARIES_SECONDS: Final = 60
"""About 41 s were measured from nothing to the first answer (docs/performance.md)."""


def contradictions(settings: SettingFields) -> list[str]:
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
    if settings.certificate_arn and not settings.stream_host:
        wrong.append(
            "certificate_arn needs stream_host too: a certificate is for a name of yours, never for"
            " the load balancer's own, and clients check it."
        )
    if settings.cloudfront_page and settings.cors_origin not in {None, "*"}:
        wrong.append(
            f"cors_origin={settings.cors_origin} and cloudfront_page=true are two origins, and the"
            " API names one to browsers; leave cors_origin out, which admits CloudFront's."
        )
    if settings.stream_port == settings.stream_http_port:
        wrong.append(f"stream_port and stream_http_port are both {settings.stream_port}.")
    if settings.cold_start == "snapstart" and settings.storage_mib > 512:
        wrong.append(
            f"cold_start=snapstart allows a /tmp of 512 MiB; packaging={settings.packaging} with"
            f" lambda_storage_mib={settings.lambda_storage_mib} makes it {settings.storage_mib}."
        )
    if settings.packaging == "s3-packages" and settings.timeout_seconds < _LIBRARIES_SECONDS:
        wrong.append(
            f"lambda_timeout_seconds={settings.timeout_seconds} ends the first call before"
            " packaging=s3-packages has fetched its libraries, again and again; name"
            f" {_LIBRARIES_SECONDS} or more."
        )
    return wrong + _of_warm_environments(settings)


def _of_warm_environments(settings: SettingFields) -> list[str]:
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
