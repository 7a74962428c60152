"""One comparison from the command line: plan shown, budget held, table live, report written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from visionstack import console, paths
from visionstack.compare import drawing, fleets
from visionstack.compare.fleets import StackFleets
from visionstack.compare.functions import StackFunctions
from visionstack.compare.machine import ThisMachine
from visionstack.compare.plan import Wish, check_budget, make, most_usd, picture_hash
from visionstack.compare.record import Record, Status, load, merge
from visionstack.compare.rows import Kind
from visionstack.compare.runner import Hands, run
from visionstack.compare.summary import Strategy
from visionstack.cost import prices
from visionstack.errors import UsageError
from visionstack.report.text import rich_table
from visionstack.report.writing import write

if TYPE_CHECKING:
    from runtime.inference.artifact import Artifact
    from visionstack.deployment import Deployment

_PREFIX: Final = "visionstack-compare"
"""The comparison deploys stacks of its own, and never touches the user's."""


@dataclass(frozen=True)
class Effort:
    """How long instances may run, and how often functions are called."""

    minutes: int = 30
    calls: int = 60
    cold_calls: int = 3


def strategy_named(name: str) -> Strategy:
    """Raises UsageError for a strategy that there is not."""
    if name == "cost":
        return "cost"
    if name == "speed":
        return "speed"
    if name == "balanced":
        return "balanced"
    raise UsageError(f"There is no strategy {name!r}.", remedy="Choose cost, speed or balanced.")


def start(
    wish: Wish,
    *,
    model: str,
    cloud: str,
    out: Path,
    strategy: Strategy,
    max_usd: float | None,
    confirmed: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Plan and run a new comparison.

    Raises:
        VisionstackError: it cannot be planned, may not be paid, or could not be destroyed.
    """
    needs_cloud = bool(wish.instance_types or wish.functions)
    deployment = _deployment(cloud) if needs_cloud else None
    artifact = _artifact(model)
    record = _plan(wish, artifact, deployment)
    _show_plan(record, wish)
    if dry_run:
        if as_json:
            console.print_json(record.to_json())
        return
    check_budget(record, max_usd=max_usd, confirmed=confirmed)
    if deployment is not None and record.needs_cloud:
        fleets.refuse_another(deployment, record)
    effort = Effort(wish.minutes, wish.calls, wish.cold_calls)
    hands = _hands(record, deployment, artifact, picture=wish.picture, out=out, effort=effort)
    _measure(record, out, hands, effort, strategy)
    draw([out], out, strategy, as_json=as_json)


def resume(
    out: Path,
    *,
    strategy: Strategy,
    effort: Effort,
    picture: Path | None,
    max_usd: float | None,
    confirmed: bool,
    as_json: bool,
) -> None:
    """Go on with a recorded comparison.

    Raises:
        VisionstackError: the record is damaged, the model or the picture has changed since.
    """
    record = load(out)
    artifact = _artifact(record.model)
    where = picture or paths.SAMPLES / record.picture
    record.check_subject(
        version=artifact.manifest.version,
        picture_sha256=picture_hash(where),
        row="what lies here now",
    )
    for row in record.rows:
        if row.status in {Status.FAILED, Status.RUNNING}:
            row.status, row.reason = Status.PLANNED, None
    deployment = _deployment(record.cloud) if record.needs_cloud else None
    record.most_usd = most_usd(
        record, minutes=effort.minutes, calls=effort.calls + effort.cold_calls, book=prices.load()
    )
    check_budget(record, max_usd=max_usd, confirmed=confirmed)
    if deployment is not None and not record.deployed:
        fleets.refuse_another(deployment, record)
    hands = _hands(record, deployment, artifact, picture=where, out=out, effort=effort)
    _measure(record, out, hands, effort, strategy)
    draw([out], out, strategy, as_json=as_json)


def draw(folders: Sequence[Path], out: Path, strategy: Strategy, *, as_json: bool) -> None:
    """Write report.html, .md, .csv and .json, and show the table.

    Raises:
        VisionstackError: a record is damaged, or they cannot stand in one table.
    """
    record = merge([load(folder) for folder in folders])
    report = drawing.report(record, book=prices.load(), strategy=strategy)
    written = write(report, out if out.suffix != ".json" else out.parent)
    if as_json:
        console.print_json(record.to_json())
        return
    from visionstack.report.text import show

    show(report, console.out)
    console.err.print(f"report: {written['html']}")


def _deployment(cloud: str) -> Deployment:
    from visionstack.deployment import connect

    if cloud not in {"auto", "local", "aws"}:
        raise UsageError(f"There is no cloud {cloud!r}.", remedy="Choose auto, local or aws.")
    return connect(cloud=cloud, prefix=_PREFIX)  # type: ignore[arg-type]


def _artifact(model: str) -> Artifact:
    from visionstack.models.building import build
    from visionstack.models.catalog import find_recipe

    with console.err.status(f"model {model} …"):
        return build(find_recipe(model), root=paths.MODELS).artifact


def _plan(wish: Wish, artifact: Artifact, deployment: Deployment | None) -> Record:
    from visionstack.doctor import Check
    from visionstack.doctor_aws import check_instance_type
    from visionstack.localcloud.defaults import architecture
    from visionstack.packaging.build import settings_from
    from visionstack.vcpu_quotas import VcpuQuotas

    settings = settings_from({})
    quotas = VcpuQuotas(deployment) if deployment else None

    def check(name: str) -> list[Check]:
        if deployment is None:
            return []
        with console.err.status(f"checking {name} …"):
            return check_instance_type(deployment, name, ami_id=settings.ami_id, quotas=quotas)

    return make(
        wish,
        artifact,
        run=datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"),
        cloud=deployment.cloud if deployment else "none",
        region=deployment.region if deployment else "none",
        book=prices.load(),
        check=check,
        architecture=architecture(),
    )


def _hands(
    record: Record,
    deployment: Deployment | None,
    artifact: Artifact,
    *,
    picture: Path,
    out: Path,
    effort: Effort,
) -> Hands:
    # Without a cloud no row needs one, and neither of the two is ever called.
    any_deployment: Any = deployment

    def destroy(what: Record, types: list[str]) -> None:
        fleets.destroy(what, deployment=any_deployment, types=types)

    return Hands(
        here=ThisMachine(model=artifact.folder, picture=picture, out=out),
        fleets=StackFleets(
            any_deployment, record, artifact=artifact, picture=picture, minutes=effort.minutes
        ),
        functions=StackFunctions(
            any_deployment,
            record,
            artifact=artifact,
            picture=picture,
            calls=effort.calls,
            cold_calls=effort.cold_calls,
        ),
        destroy=destroy,
    )


def _measure(record: Record, out: Path, hands: Hands, effort: Effort, strategy: Strategy) -> None:
    if record.cloud == "local" and record.needs_cloud:
        from visionstack.cdk import bootstrap_embedded_cloud

        bootstrap_embedded_cloud()
    try:
        with _live(strategy) as tell:
            run(record, out, hands, minutes=effort.minutes, tell=tell)
    except KeyboardInterrupt:
        console.err.print(
            f"interrupted; {_left(record)}. Go on: visionstack compare resume --out {out}",
            markup=False,
        )
        raise


def _left(record: Record) -> str:
    return (
        f"these stacks may be left: {', '.join(record.deployed)}"
        if record.deployed
        else "nothing that it started is left"
    )


@contextmanager
def _live(strategy: Strategy) -> Iterator[Callable[[Record, str], None]]:
    """A table that fills on a terminal; into a pipe, a line a change."""
    book = prices.load()
    if not console.err.is_terminal:
        yield lambda _record, what: console.err.print(what, markup=False)
        return
    from rich.live import Live

    with Live(console=console.err, refresh_per_second=4) as live:

        def tell(record: Record, what: str) -> None:
            grid = rich_table(
                drawing.table(record, book=book, strategy=strategy), width=console.err.width
            )
            grid.caption = what
            live.update(grid)

        yield tell


def _show_plan(record: Record, wish: Wish) -> None:
    from rich.markup import escape

    err = console.err
    err.print(
        f"[bold]plan[/]: {record.model} {record.version} with {record.picture}, "
        f"{', '.join(record.scenarios)}; {', '.join(record.scopes)}"
    )
    for row in record.rows:
        price = f", ${row.usd_per_hour:g} an hour ({row.price_date})" if row.usd_per_hour else ""
        word = row.reason or "will be measured"
        if row.reason is None and row.kind is Kind.INSTANCE and record.cloud == "local":
            word = "will be deployed; the embedded cloud has no such hardware to run it on"
        err.print(f"  {escape(row.name)} [dim]({escape(row.where)}{price})[/]: {escape(word)}")
        # What the embedded cloud cannot answer it cannot answer for any type.
        told = {"warning"} if record.cloud == "local" else {"warning", "unknown"}
        for check in row.checks:
            if check["state"] in told:
                name = check["name"].removeprefix(f"{row.name}: ")
                err.print(f"    [dim]{escape(name)}: {escape(check['detail'])}[/]")
    if record.cloud == "aws":
        err.print(
            f"  at most [bold]${record.most_usd:.2f}[/], if every instance runs its "
            f"{wish.minutes} minutes; everything is destroyed at the end"
        )
    elif record.cloud == "local":
        err.print("  on the embedded cloud: costs nothing, and is destroyed at the end")
