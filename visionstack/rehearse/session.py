"""One rehearsal from the command line: refused or run, reported, and nothing left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx

import visionstack
from runtime.contract import DEFAULT_CLASSIFIER, DEFAULT_DETECTOR
from runtime.measurement import machine
from visionstack import console
from visionstack.cloud import Cloud
from visionstack.cloud.clouds import resolve_cloud
from visionstack.cloud.deployment import Deployment, connect
from visionstack.compare.record import Record
from visionstack.cost import prices
from visionstack.deploy.cdk import bootstrap_embedded_cloud
from visionstack.doctor.aws import check_account
from visionstack.doctor.checks import State
from visionstack.errors import VisionstackError
from visionstack.localcloud import lifecycle
from visionstack.rehearse import leftovers
from visionstack.rehearse.budget import LAST_STEP_MINUTES, Plan, check_budget
from visionstack.rehearse.lanes import Lanes
from visionstack.rehearse.report import build_report, verdict
from visionstack.rehearse.steps import Run, Step, run_steps
from visionstack.report.write import Format, write

PREFIX: Final = "visionstack-rehearse"
COMPARED_PREFIX: Final = str(Record.__dataclass_fields__["prefix"].default)
FORMATS: Final[tuple[Format, ...]] = ("html", "md", "json")
CHANGED: Final = {"cold_start": "none"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command was given."""

    cloud: Cloud
    plan: Plan
    max_usd: float | None
    confirmed: bool
    allowed_cidrs: Sequence[str]
    settings: Mapping[str, object]
    """Further ones, as `-c` gives them."""
    out: Path


def rehearse(asked: Asked) -> Run:
    """Run all of it; the report lies in `asked.out` however it ends.

    Raises:
        VisionstackError: nothing was started, since it may not be paid, the account is not ready,
            or stacks of another rehearsal or comparison are there.
        KeyboardInterrupt, SystemExit: it was interrupted; everything was destroyed.
    """
    cloud = resolve_cloud(asked.cloud)
    most_usd = 0.0
    if cloud == "aws":
        most_usd = asked.plan.most_usd(prices.load())
        check_budget(most_usd, max_usd=asked.max_usd, confirmed=asked.confirmed)
    started_cloud = cloud == "local" and _start_embedded_cloud()
    try:
        deployment = connect(cloud=cloud, prefix=PREFIX)
        refuse(deployment)
        lanes = Lanes(
            deployment=deployment,
            plan=asked.plan,
            settings=settings(asked, cloud=cloud),
            changed_settings=CHANGED,
            compared_prefix=COMPARED_PREFIX,
            out=asked.out,
        )
        run = _run(lanes.steps(), asked=asked, facts=_facts(asked, deployment, most_usd))
    finally:
        if started_cloud:
            lifecycle.down()
    if run.ended_by is not None:
        raise run.ended_by
    return run


def refuse(deployment: Deployment) -> None:
    """Refuse before anything is started.

    Raises:
        VisionstackError: no credentials or no bootstrap, or stacks of another rehearsal or
            comparison, which this one would change and destroy.
    """
    for check in check_account(deployment):
        if check.state is State.BAD:
            raise VisionstackError(f"{check.name}: {check.detail}.", remedy=check.remedy)
    theirs = [
        name
        for name in leftovers.stacks(deployment)
        if name.startswith((f"{PREFIX}-", f"{COMPARED_PREFIX}-"))
    ]
    if theirs:
        raise VisionstackError(
            f"Another rehearsal or comparison has stacks here: {', '.join(sorted(theirs))}.",
            remedy="Wait until it is through. If nobody runs it any more: `npx cdk destroy --all "
            f"-c prefix={PREFIX}`; a comparison's: `visionstack compare resume`.",
        )


def settings(asked: Asked, *, cloud: str) -> dict[str, object]:
    """The deployment's, as `-c` would give them."""
    found: dict[str, object] = {
        "prefix": PREFIX,
        "stream_model": DEFAULT_DETECTOR,
        "classifier_model": DEFAULT_CLASSIFIER,
        "instance_type": asked.plan.instance_type,
        # The budget is for one.
        "instances_max": 1,
        "drain_seconds": 30,
    }
    if cloud == "aws":
        cidrs = asked.allowed_cidrs or [f"{own_address()}/32"]
        found["allowed_cidrs"] = ",".join(cidrs)
    return {**found, **asked.settings}


def own_address() -> str:
    """The address that AWS sees this machine at.

    Raises:
        VisionstackError: AWS did not say.
    """
    try:
        answer = httpx.get("https://checkip.amazonaws.com", timeout=10)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise VisionstackError(
            f"checkip.amazonaws.com did not say which address this machine has: {error}",
            remedy="Name it: --allowed-cidr 203.0.113.7/32",
        ) from error
    return answer.text.strip()


def _run(steps: Sequence[Step], *, asked: Asked, facts: Mapping[str, str]) -> Run:
    here, versions = machine.describe().line, machine.versions()

    def report(run: Run) -> Path:
        built = build_report(
            run,
            facts=facts,
            machine=here,
            versions={"visionstack": visionstack.__version__, **versions},
            emulated=facts["cloud"] == _CLOUDS["local"],
        )
        return write(built, asked.out, formats=FORMATS)["html"]

    def changed(run: Run, following: str) -> None:
        for one in run.results[-1:]:
            console.err.print(f"{one.name}: {one.outcome.value}. {one.told}", markup=False)
        console.err.print(f"next: {following}", markup=False)
        report(run)

    run = run_steps(steps, seconds=asked.plan.minutes * 60, changed=changed)
    path = report(run)
    console.out.print(verdict(run), markup=False)
    console.out.print(f"report: {path}", markup=False)
    return run


_CLOUDS: Final = {"local": "embedded", "aws": "AWS"}


def _facts(asked: Asked, deployment: Deployment, most_usd: float) -> dict[str, str]:
    plan = asked.plan
    most = f"${most_usd:.2f}, by the list prices of us-east-1" if most_usd else "nothing"
    return {
        "cloud": _CLOUDS[deployment.cloud],
        "region": deployment.region,
        "begun": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "prefix": f"{PREFIX}, the comparison's {COMPARED_PREFIX}",
        "instance type": plan.instance_type,
        "compared": ", ".join(plan.compared),
        "could cost": most,
        "time": f"no step begins after {plan.minutes} minutes; {LAST_STEP_MINUTES} more count",
    }


def _start_embedded_cloud() -> bool:
    _, started = lifecycle.up()
    try:
        bootstrap_embedded_cloud()
    except BaseException:
        if started:
            lifecycle.down()
        raise
    return started
