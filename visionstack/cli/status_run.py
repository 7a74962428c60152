"""What runs in one cloud: both lanes' state, address, models, age and price."""

from __future__ import annotations

import hashlib
import json
import math
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPException, HTTPSConnection
from typing import Any, Final, Literal, cast

from runtime.contract import Env, Output, Stack, WarmerMetric
from runtime.inference.errors import InferenceError
from runtime.inference.store import ModelStore
from visionstack.cloud import KnownCloud, local_fleet
from visionstack.cloud.aws_errors import translated
from visionstack.cloud.deployment import (
    DEPLOY,
    Deployment,
    StreamEndpoint,
    find_stack,
    outputs_of,
)
from visionstack.cloud.local_state import CloudFolder
from visionstack.cost import instances, prices, serverless
from visionstack.cost.bill import HOURS_A_MONTH
from visionstack.errors import VisionstackError
from visionstack.models.versions import Versions

_ANSWER_SECONDS: Final = 5
_SAMPLE: Final = re.compile(r"^(visionstack_\w+)(\{[^}]*\})? (\S+)$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')
_WAKE_UPS_LOOKED_AT: Final = 3
_RATE: Final = re.compile(r"rate\((\d+) minutes?\)")


LaneName = Literal["streaming", "serverless", "comparison"]


@dataclass(kw_only=True)
class Lane:
    """One lane of one cloud. `usd_per_hour` is what stands there costs without any use."""

    name: LaneName
    state: str
    since: str | None = None
    runs: str = ""
    address: str = ""
    page: str = ""
    """By CloudFront, where it is."""
    models: list[str] = field(default_factory=list)
    load: str = ""
    """What the server that answered has done."""
    created: str | None = None
    usd_per_hour: float | None = None
    usd_so_far: float | None = None
    """An estimate: as if what stands there now had stood since `created`."""
    warm: str = ""
    """Environments that are ready for a call, as the warmer or Lambda last said."""
    newer: list[str] = field(default_factory=list)
    """Published versions of its models that are later than what is served, and what takes them."""
    trouble: list[str] = field(default_factory=list)

    @property
    def deployed(self) -> bool:
        return self.since is not None


def lanes(
    deployment: Deployment,
    *,
    healthz: Callable[[StreamEndpoint], Any],
    metrics: Callable[[StreamEndpoint], str] = lambda _: "",
    now: datetime | None = None,
) -> list[Lane]:
    """Both lanes, and the compared instances while they are deployed.

    Raises:
        VisionstackError: the cloud cannot be asked at all.
    """
    compared, _ = _begin("comparison", find_stack(deployment, Stack.COMPARISON))
    compared.runs = "instances that cost until `visionstack compare` or cdk destroys the stack"
    now = now or datetime.now(UTC)
    found = [
        _streaming(deployment, healthz=healthz, metrics=metrics),
        _serverless(deployment, now=now),
        *([compared] if compared.deployed else []),
    ]
    for lane in found:
        if lane.usd_per_hour is not None and lane.created is not None:
            stood = now - datetime.fromisoformat(lane.created)
            lane.usd_so_far = lane.usd_per_hour * max(0.0, stood / timedelta(hours=1))
    return found


def _begin(name: LaneName, stack: dict[str, Any] | None) -> tuple[Lane, dict[str, str]]:
    if stack is None:
        return Lane(name=name, state="not deployed"), {}
    changed: datetime = stack.get("LastUpdatedTime") or stack["CreationTime"]
    lane = Lane(
        name=name,
        state=stack["StackStatus"],
        since=changed.isoformat(),
        created=stack["CreationTime"].isoformat(),
    )
    return lane, outputs_of(stack)


def _streaming(
    deployment: Deployment,
    *,
    healthz: Callable[[StreamEndpoint], Any],
    metrics: Callable[[StreamEndpoint], str],
) -> Lane:
    lane, outputs = _begin("streaming", find_stack(deployment, Stack.STREAMING))
    if not lane.deployed:
        return lane
    lane.page = outputs_of(find_stack(deployment, Stack.PAGE)).get(Output.PAGE_URL, "")
    types, healthy = _instances(deployment, outputs[Output.STREAM_AUTO_SCALING_GROUP])
    kinds = ", ".join(f"{types.count(name)} {name}" for name in dict.fromkeys(types))
    lane.runs = f"{kinds or 'no instance'}; {healthy} healthy"
    book = prices.load()
    try:
        bills = [
            instances.fleet_bill(
                # Only the rate that requests need depends on it, and there are none.
                instances.Fleet(instance_type=name, images_per_second=1, load_balancer=number == 0),
                requests_per_day=0,
                book=book,
                count=types.count(name),
            )
            for number, name in enumerate(dict.fromkeys(types))
        ]
        lane.usd_per_hour = sum(bill.usd for bill in bills) / HOURS_A_MONTH if bills else None
    except VisionstackError as error:
        lane.trouble.append(error.message)
    try:
        endpoint = deployment.stream_endpoint()
    except VisionstackError as error:
        lane.trouble.append(error.message)
        return lane
    lane.address = f"{endpoint.host}:{endpoint.port}, page on port {endpoint.http_port}"
    try:
        offers = healthz(endpoint)["models"]
        lane.load = load_of(metrics(endpoint))
    except (OSError, HTTPException, ValueError, KeyError) as error:
        lane.trouble.append(f"The server does not answer this machine: {error}")
        return lane
    lane.models = [
        f"{name} {offer['version']} on {offer['engine']} {offer['precision']}"
        for name, offer in offers.items()
    ]
    _note_newer(lane, deployment, {name: offer["version"] for name, offer in offers.items()})
    return lane


def _note_newer(lane: Lane, deployment: Deployment, served: Mapping[str, str | None]) -> None:
    """Versions later than what is served (None: not known) or current."""
    bucket = outputs_of(find_stack(deployment, Stack.STORAGE)).get(Output.ARTIFACTS_BUCKET)
    if bucket is None:
        return
    for name, version in served.items():
        try:
            versions = Versions(deployment.client("s3"), bucket, name)
            current = versions.current()
            if current is not None and version not in {None, current}:
                lane.newer.append(f"{name} {current} is current and not served yet")
            lane.newer += [f"visionstack models promote {name} {one}" for one in versions.newer()]
        except VisionstackError as error:
            lane.trouble.append(error.message)


def _instances(deployment: Deployment, group: str) -> tuple[list[str], int]:
    """Instance types of the group's members, and how many of them are healthy."""
    if deployment.cloud == "local":
        members = [
            one
            for one in local_fleet.Fleet.read(CloudFolder.from_environment()).instances
            if one.group == group
        ]
        states = [one.state for one in members]
        return [one.instance_type for one in members], states.count(
            local_fleet.InstanceState.HEALTHY
        )
    with translated(f"look at the instances of {group}"):
        answer = deployment.client("autoscaling").describe_auto_scaling_groups(
            AutoScalingGroupNames=[group]
        )
    found = [one for each in answer["AutoScalingGroups"] for one in each["Instances"]]
    good = [
        one
        for one in found
        if one["LifecycleState"] == "InService" and one["HealthStatus"] == "Healthy"
    ]
    return [one["InstanceType"] for one in found], len(good)


def _serverless(deployment: Deployment, *, now: datetime) -> Lane:
    lane, outputs = _begin("serverless", find_stack(deployment, Stack.CLASSIFIER))
    if not lane.deployed:
        return lane
    with translated("look at the classifier"):
        function = deployment.client("lambda").get_function_configuration(
            FunctionName=outputs[Output.CLASSIFIER_FUNCTION],
            Qualifier=outputs[Output.CLASSIFIER_ALIAS],
        )
    variables = function["Environment"]["Variables"]
    cold_start = variables[Env.COLD_START]
    lane.runs = (
        f"function of {function['MemorySize']} MB, {function['Architectures'][0]}, "
        f"cold_start={cold_start}"
    )
    try:
        lane.address = deployment.classifier_api().url
        lane.models = [_published(deployment, variables)]
        _note_newer(lane, deployment, {variables[Env.MODEL]: None})
        standing = _standing(deployment, function, outputs)
        if standing is not None:
            lane.usd_per_hour = _standing_usd(function, standing)
            lane.warm = _warm(deployment, standing, now=now)
    except VisionstackError as error:
        lane.trouble.append(error.message)
    return lane


def _published(deployment: Deployment, variables: dict[str, str]) -> str:
    name = variables[Env.MODEL]
    store = ModelStore(deployment.client("s3"), variables[Env.ARTIFACTS_BUCKET])
    try:
        current = store.current(name)
    except InferenceError as error:
        raise VisionstackError(str(error)) from error
    tried = current.canary
    beside = f", {tried.version} on {tried.share * 100:.3g} % of the traffic" if tried else ""
    return f"{name} {current.version}{beside}"


@dataclass(frozen=True, kw_only=True)
class _Standing:
    """What is kept ready for calls. `available` is what Lambda says of provisioned ones."""

    environments: int = 0
    minutes: int = 5
    sleep_s: float = 0.0
    available: int | None = None
    log_group: str = ""
    """The warmer's."""


def _standing(
    deployment: Deployment, function: dict[str, Any], outputs: dict[str, str]
) -> _Standing | None:
    """None where the warmer cannot be read."""
    cold_start = function["Environment"]["Variables"][Env.COLD_START]
    if cold_start == "warmer":
        name = outputs_of(find_stack(deployment, Stack.WARMER)).get(Output.WARMER_FUNCTION)
        if name is None:
            return None
        with translated("look at the warmer"):
            told = deployment.client("lambda").get_function_configuration(FunctionName=name)
            events = deployment.client("events")
            rules = events.list_rule_names_by_target(TargetArn=told["FunctionArn"])["RuleNames"]
            schedules = [events.describe_rule(Name=one)["ScheduleExpression"] for one in rules]
        rates = [int(found[1]) for one in schedules if (found := _RATE.fullmatch(one))]
        if not rates:
            return None
        variables = told["Environment"]["Variables"]
        return _Standing(
            environments=int(json.loads(variables[Env.WARM_TARGETS])["default"]),
            minutes=rates[0],
            sleep_s=int(variables[Env.WARM_SLEEP_MS]) / 1000,
            log_group=told.get("LoggingConfig", {}).get("LogGroup", f"/aws/lambda/{name}"),
        )
    if cold_start == "provisioned":
        with translated("look at the provisioned environments"):
            kept = deployment.client("lambda").get_provisioned_concurrency_config(
                FunctionName=outputs[Output.CLASSIFIER_FUNCTION],
                Qualifier=outputs[Output.CLASSIFIER_ALIAS],
            )
        return _Standing(
            environments=kept["RequestedProvisionedConcurrentExecutions"],
            available=kept.get("AvailableProvisionedConcurrentExecutions", 0),
        )
    return _Standing()


def _standing_usd(function: dict[str, Any], standing: _Standing) -> float:
    """Dollars an hour of a function that nobody calls."""
    bill = serverless.function_bill(
        serverless.Function(
            memory_mb=function["MemorySize"],
            seconds=0,
            arch=function["Architectures"][0],
            storage_mb=function["EphemeralStorage"]["Size"],
            cold_start=function["Environment"]["Variables"][Env.COLD_START],
            environments=standing.environments,
            warm_interval_minutes=standing.minutes,
            wakeup_seconds=standing.sleep_s,
        ),
        requests_per_month=0,
        book=prices.load(),
    )
    return bill.usd / HOURS_A_MONTH


def _warm(deployment: Deployment, standing: _Standing, *, now: datetime) -> str:
    """What the warmer published last, or Lambda says; empty where nothing is kept."""
    if standing.available is not None:
        return f"{standing.available} of {standing.environments} provisioned environments"
    if not standing.log_group:
        return ""
    minutes = _WAKE_UPS_LOOKED_AT * standing.minutes
    with translated("read what the warmer published"):
        pages = deployment.client("logs").get_paginator("filter_log_events")
        published = pages.paginate(
            logGroupName=standing.log_group,
            # The metric's own line (embedded metric format), which the embedded cloud has too.
            filterPattern=f'"{WarmerMetric.REACHED}"',
            startTime=int((now - timedelta(minutes=minutes)).timestamp() * 1000),
        )
        events = [event for page in published for event in page["events"]]
    if not events:
        return f"no wake-up in the last {minutes} min"
    last = max(events, key=lambda event: int(event["timestamp"]))
    told = json.loads(last["message"])
    when = datetime.fromtimestamp(last["timestamp"] / 1000, UTC)
    return (
        f"{told[WarmerMetric.REACHED]} of {told[WarmerMetric.TARGET]} environments"
        f" at {when:%H:%M} UTC"
    )


def load_of(exposition: str) -> str:
    """What a server's /metrics say of its work, in words; empty where they say nothing."""
    samples = [
        (found[1], dict(_LABEL.findall(found[2] or "")), float(found[3]))
        for found in _SAMPLE.finditer(exposition)
    ]
    if not samples:
        return ""

    def total(name: str, **labels: str) -> float:
        return sum(
            value
            for one, given, value in samples
            if one == f"visionstack_stream_{name}" and labels.items() <= given.items()
        )

    streams, answers = total("sessions"), total("answers_total")
    told = f"{streams:.0f} stream{'' if streams == 1 else 's'} now"
    if not answers:
        return f"{told}; no frame so far"
    dropped, failed = (total("answers_total", outcome=one) for one in ("dropped", "failed"))
    told += (
        f"; {answers:,.0f} frames since it started, {dropped:,.0f} dropped, {failed:,.0f} failed"
    )
    timed = total("server_seconds_count")
    within: dict[float, float] = {}
    for one, given, value in samples:
        if one == "visionstack_stream_server_seconds_bucket":
            bound = float(given["le"])
            within[bound] = within.get(bound, 0) + value
    bound = next((one for one in sorted(within) if within[one] >= 0.99 * timed), math.inf)
    if timed and bound < math.inf:
        told += f"; p99 in the server at most {bound * 1000:g} ms"
    return told


def ask_healthz(endpoint: StreamEndpoint) -> Any:
    """The server's /healthz. Raises as `_get`, and ValueError for what is no JSON."""
    return json.loads(_get(endpoint, "/healthz"))


def ask_metrics(endpoint: StreamEndpoint) -> str:
    """The server's /metrics. Raises as `_get`."""
    return _get(endpoint, "/metrics").decode()


def _get(endpoint: StreamEndpoint, path: str) -> bytes:
    """A page of a server that shows the published certificate.

    Raises:
        OSError: it does not answer, or shows another certificate.
        HTTPException: what answers is no HTTP server.
    """
    context = ssl.create_default_context()
    if endpoint.fingerprint is not None:
        # Pinned below instead.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = HTTPSConnection(
        endpoint.host, endpoint.http_port, timeout=_ANSWER_SECONDS, context=context
    )
    try:
        connection.connect()
        if endpoint.fingerprint is not None:
            shown = cast(ssl.SSLSocket, connection.sock).getpeercert(binary_form=True) or b""
            if hashlib.sha256(shown).hexdigest() != endpoint.fingerprint:
                raise ssl.SSLCertVerificationError("it shows another certificate than published")
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def next_step(cloud: KnownCloud, found: Sequence[Lane]) -> str:
    """The command that is worth typing now."""
    if not any(lane.deployed for lane in found):
        return DEPLOY[cloud]
    if not found[0].models or any(lane.trouble for lane in found):
        return "visionstack local status" if cloud == "local" else "visionstack doctor"
    return f"visionstack open --cloud {cloud}"
