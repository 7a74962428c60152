"""One comparison from the command line: plan shown, budget held, table live, report written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from rich.live import Live
from rich.markup import escape

from runtime.inference.errors import PictureError
from visionstack import console, extras, paths
from visionstack.cloud import Cloud
from visionstack.cloud.aws_errors import translated
from visionstack.cloud.deployment import Deployment, connect
from visionstack.cloud.local_defaults import architecture
from visionstack.compare import Strategy, accuracy, fleets
from visionstack.compare.accuracy import Labelled, default_labels
from visionstack.compare.devices import with_device
from visionstack.compare.errors import RecordError
from visionstack.compare.fleets import StackFleets
from visionstack.compare.functions import StackFunctions
from visionstack.compare.machine import ThisMachine
from visionstack.compare.plan import (
    MeasurementSize,
    Request,
    check_budget,
    make,
    most_usd,
    picture_hash,
)
from visionstack.compare.record import Record, Status, keep_earlier, load, merge
from visionstack.compare.report import report_all
from visionstack.compare.report import table as comparison_table
from visionstack.compare.runner import Executors, run
from visionstack.compare.targets import FunctionSetting, Kind
from visionstack.compare.turns import Party, measure_in_turns
from visionstack.compare.verdict import LOSS, candidates, judge, to_json
from visionstack.cost import prices
from visionstack.deploy.cdk import bootstrap_embedded_cloud
from visionstack.doctor.aws import check_instance_type
from visionstack.doctor.checks import Check
from visionstack.doctor.vcpu_quotas import VcpuQuotas
from visionstack.errors import UsageError, VisionstackError
from visionstack.models.named import find_model
from visionstack.report.terminal import rich_table, show
from visionstack.report.write import write

if TYPE_CHECKING:
    from runtime.inference.artifact import Artifact

_PREFIX: Final = "visionstack-compare"
"""The comparison deploys stacks of its own, and never touches the user's."""


def start(
    request: Request,
    *,
    models: Sequence[str],
    cloud: Cloud,
    out: Path,
    strategy: Strategy = "balanced",
    max_usd: float | None = None,
    confirmed: bool = False,
    dry_run: bool = False,
    as_json: bool = False,
    labelled: Labelled | None = None,
    loss: float = LOSS,
) -> list[Record]:
    """Plan and run a new comparison; of several models each in a folder of its name.

    Rows that failed are in the records that are given back, one a model.

    Raises:
        VisionstackError: it cannot be planned, may not be paid, or could not be destroyed.
    """
    if len(set(models)) != len(models):
        raise UsageError("A model was named twice.", remedy="Name each once: --model A --model B.")
    _check_picture(request.picture)
    if dry_run and not request.names_a_row:
        request = _what_one_may_compare(request, out)
    look = _reached if dry_run else _deployment
    deployment = look(cloud) if request.needs_cloud else None
    artifacts = [_artifact(model) for model in models]
    started = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    records = [
        _plan(
            request,
            artifact,
            deployment,
            run=started if len(models) == 1 else f"{started}-{artifact.manifest.name}",
        )
        for artifact in artifacts
    ]
    for record in records:
        _show_plan(record, request)
    if dry_run:
        if as_json:
            _print([record.to_json() for record in records])
        return records
    check_budget(*records, max_usd=max_usd, confirmed=confirmed)
    extras.require(*extras.MEASURING)
    folders = [out if len(models) == 1 else out / record.model for record in records]
    every = [
        _executors(record, deployment, artifact, picture=request.picture, out=folder, size=request)
        for record, artifact, folder in zip(records, artifacts, folders, strict=True)
    ]
    comparisons = list(zip(records, folders, every, strict=True))
    for folder in folders:
        if earlier := keep_earlier(folder):
            console.err.print(f"The comparison before is kept: {earlier}", markup=False)
    _measure_here(comparisons, strategy)
    for record, folder, executors in comparisons:
        if deployment is not None and record.needs_cloud:
            fleets.refuse_another(deployment, record)
        _measure(record, folder, executors, request, strategy)
        _score(record, folder, labelled)
    draw(folders, out, strategy, as_json=as_json, loss=loss)
    return records


def resume(
    out: Path,
    *,
    strategy: Strategy,
    size: MeasurementSize,
    picture: Path | None,
    max_usd: float | None,
    confirmed: bool,
    as_json: bool,
) -> Record:
    """Go on with a recorded comparison.

    Raises:
        VisionstackError: the record is damaged, the model or the picture has changed since.
    """
    record = load(out)
    labelled = _labels_of(record)
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
        record, minutes=size.minutes, calls=size.calls + size.cold_calls, book=prices.load()
    )
    check_budget(record, max_usd=max_usd, confirmed=confirmed)
    if deployment is not None and not record.deployed:
        fleets.refuse_another(deployment, record)
    executors = _executors(record, deployment, artifact, picture=where, out=out, size=size)
    _measure(record, out, executors, size, strategy)
    _score(record, out, labelled)
    draw([out], out, strategy, as_json=as_json)
    return record


def draw(
    folders: Sequence[Path],
    out: Path,
    strategy: Strategy,
    *,
    as_json: bool,
    loss: float = LOSS,
    devices: Sequence[Path] = (),
) -> None:
    """Write report.html, .md, .csv and .json, and show it: of one model, or of several.

    `devices` are files of the page, whose rows stand beside those of the first model.

    Raises:
        VisionstackError: a record is damaged, or they cannot stand in one table.
    """
    by_model: dict[str, list[Record]] = {}
    for found in (load(folder) for folder in folders):
        by_model.setdefault(found.model, []).append(found)
    records = [merge(found) for found in by_model.values()]
    for device in devices:
        records[0] = with_device(records[0], device)
    book = prices.load()
    report = report_all(records, book=book, strategy=strategy, loss=loss)
    written = write(report, out if out.suffix != ".json" else out.parent)
    if as_json:
        verdict = judge(candidates(records, book=book), strategy=strategy, loss=loss)
        _print([record.to_json() | {"verdict": to_json(verdict)} for record in records])
        return
    show(report, console.out)
    console.err.print(f"report: {written['html']}")


def _print(comparisons: Sequence[dict[str, Any]]) -> None:
    console.print_json(comparisons[0] if len(comparisons) == 1 else {"comparisons": comparisons})


def _check_picture(path: Path) -> None:
    """Before machines are paid for that could not decode it."""
    from runtime.inference.pictures import read_picture

    try:
        read_picture(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}.", remedy="Name a picture (--picture)."
        ) from error
    except PictureError as error:
        raise UsageError(f"{path}: {error}", remedy="Name a picture (--picture).") from error


def _what_one_may_compare(request: Request, out: Path) -> Request:
    """For a plan without a row: the last comparison's, or this machine beside two of AWS's."""
    try:
        last: Record | None = load(out)
    except RecordError:
        last = None
    types = [row.name for row in last.rows if row.kind is Kind.INSTANCE] if last else []
    settings = [row.setting for row in last.rows if row.kind is Kind.FUNCTION] if last else []
    local = last is not None and any(row.kind is Kind.MACHINE for row in last.rows)
    told = f"No row was named: these are the last comparison's ({out})."
    if not (types or settings or local):
        types, local = ["c7i.xlarge", "g4dn.xlarge"], True
        told = "No row was named. One may compare this machine with two of AWS's:"
    console.err.print(told, markup=False)
    functions = [FunctionSetting(**setting) for setting in settings if setting is not None]
    return replace(request, instance_types=types, functions=functions, local=local)


def _reached(cloud: Cloud) -> Deployment | None:
    """For a plan: an account that cannot be asked is said, and does without its checks."""
    try:
        deployment = _deployment(cloud)
        with translated("ask AWS who is calling"):
            deployment.client("sts").get_caller_identity()
    except VisionstackError as error:
        console.err.print(
            f"planned without an account, so neither offers nor quotas were checked: "
            f"{error.message}",
            markup=False,
            soft_wrap=True,
        )
        return None
    return deployment


def _labels_of(record: Record) -> Labelled | None:
    """Those it was scored with before; else the sample's."""
    if not record.accuracy:
        return None
    labels = record.accuracy["labels"]
    return Labelled(source=Path(record.accuracy["source"]), labels=Path(labels) if labels else None)


def _score(record: Record, folder: Path, labelled: Labelled | None) -> None:
    """Measure the accuracy too, where there are labels; figures of time are kept if it fails."""
    chosen = labelled or default_labels(record.task)
    if chosen is None:
        return
    with console.err.status("accuracy …") as status:
        accuracy.measure(record, chosen, tell=status.update)
    record.save(folder)


def _deployment(cloud: str) -> Deployment:
    if cloud not in get_args(Cloud):  # a record may say anything
        raise UsageError(f"There is no cloud {cloud!r}.", remedy="Choose auto, local or aws.")
    return connect(cloud=cloud, prefix=_PREFIX)  # type: ignore[arg-type]


def _artifact(model: str) -> Artifact:
    with console.err.status(f"model {model} …"):
        return find_model(model)()


def _plan(
    request: Request, artifact: Artifact, deployment: Deployment | None, *, run: str
) -> Record:
    from visionstack.packaging.build import settings_from

    quotas = VcpuQuotas(deployment) if deployment else None

    def check(name: str) -> list[Check]:
        if deployment is None:
            return []
        ami_id = settings_from({}).ami_id
        with console.err.status(f"checking {name} …"):
            return check_instance_type(deployment, name, ami_id=ami_id, quotas=quotas)

    return make(
        request,
        artifact,
        run=run,
        cloud=deployment.cloud if deployment else "aws" if request.needs_cloud else "none",
        region=deployment.region if deployment else "us-east-1" if request.needs_cloud else "none",
        book=prices.load(),
        check=check,
        architecture=architecture(),
    )


def _executors(
    record: Record,
    deployment: Deployment | None,
    artifact: Artifact,
    *,
    picture: Path,
    out: Path,
    size: MeasurementSize,
) -> Executors:
    # Without a cloud no row needs one, and neither of the two is ever called.
    any_deployment: Any = deployment
    return Executors(
        here=ThisMachine(model=artifact.folder, picture=picture, out=out),
        fleets=StackFleets(
            any_deployment, record, artifact=artifact, picture=picture, minutes=size.minutes
        ),
        functions=StackFunctions(
            any_deployment,
            record,
            artifact=artifact,
            picture=picture,
            calls=size.calls,
            cold_calls=size.cold_calls,
        ),
        destroy=partial(fleets.destroy, deployment=any_deployment),
    )


def _measure_here(
    comparisons: Sequence[tuple[Record, Path, Executors]], strategy: Strategy
) -> None:
    """This machine's rows of all models, which take turns: theirs are the ones compared closest."""
    with _told_when_interrupted(comparisons), _live(strategy) as tell:

        def changed(record: Record, folder: Path, what: str) -> None:
            record.save(folder)
            tell(record, f"{record.model}: {what}")

        measure_in_turns(
            [
                Party(record=record, here=executors.here, changed=partial(changed, record, folder))
                for record, folder, executors in comparisons
            ]
        )


def _measure(
    record: Record, out: Path, executors: Executors, size: MeasurementSize, strategy: Strategy
) -> None:
    if record.cloud == "local" and record.needs_cloud:
        bootstrap_embedded_cloud()
    with _told_when_interrupted([(record, out, executors)]), _live(strategy) as tell:
        run(record, out, executors, minutes=size.minutes, tell=tell)


@contextmanager
def _told_when_interrupted(
    comparisons: Sequence[tuple[Record, Path, Executors]],
) -> Iterator[None]:
    """What is left of what it started, and how each comparison goes on."""
    try:
        yield
    except KeyboardInterrupt:
        stacks = [stack for record, _, _ in comparisons for stack in record.deployed]
        left = f"These stacks may be left: {', '.join(stacks)}."
        console.err.print(left if stacks else "Nothing that it started is left.", markup=False)
        for record, folder, _ in comparisons:
            record.save(folder)
            console.err.print(f"Go on: visionstack compare resume --out {folder}", markup=False)
        raise


@contextmanager
def _live(strategy: Strategy) -> Iterator[Callable[[Record, str], None]]:
    """A table that fills on a terminal; into a pipe, a line a change."""
    book = prices.load()
    if not console.err.is_terminal:
        said = ""

        def line(_record: Record, what: str) -> None:
            nonlocal said
            if what != said:
                console.err.print(what, markup=False)
            said = what

        yield line
        return

    with Live(console=console.err, refresh_per_second=4) as live:

        def tell(record: Record, what: str) -> None:
            grid = rich_table(
                comparison_table(record, book=book, strategy=strategy), width=console.err.width
            )
            grid.caption = what
            live.update(grid)

        yield tell


def _show_plan(record: Record, request: Request) -> None:
    err = console.err
    err.print(
        f"[bold]plan[/]: {record.model} {record.version} with {record.picture}, "
        f"{', '.join(record.scenarios)}; {', '.join(record.scopes)}"
    )
    for row in record.rows:
        price = f", ${row.usd_per_hour:g} an hour ({row.price_date})" if row.usd_per_hour else ""
        word = row.reason or "will be measured"
        if row.reason is None and row.kind is Kind.INSTANCE and record.cloud == "local":
            word = "will be deployed; the embedded cloud has no such machine to run it on"
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
            f"{request.minutes} minutes; everything is destroyed at the end"
        )
    elif record.cloud == "local":
        err.print("  on the embedded cloud: costs nothing, and is destroyed at the end")
