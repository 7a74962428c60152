"""The plan: what would be started, what stands in its way, and the most it can cost."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from runtime.contract import EngineChoice, PrecisionChoice, Scope
from runtime.measurement.errors import ScenarioError
from runtime.measurement.scenario import Scenario
from stacks.catalog import Catalog
from visionstack.compare.errors import BudgetError, RowUsageError
from visionstack.compare.held import lacks
from visionstack.compare.record import Record, Row, Status
from visionstack.compare.summary import priced
from visionstack.compare.targets import FunctionSetting, Kind
from visionstack.cost.bill import HOURS_A_MONTH
from visionstack.cost.errors import CostError
from visionstack.cost.instances import root_gib
from visionstack.cost.prices import PriceBook
from visionstack.cost.serverless import request_usd
from visionstack.doctor.checks import Check, State

if TYPE_CHECKING:
    from runtime.inference.artifact import Artifact

LOCAL_ROW: Final = "this machine"
DARKNET_ROW: Final = "darknet on this machine"
_MEMORY_FACTOR: Final = 3.0
"""As `runtime.measurement.workload` asks for before it loads a model."""
WARM_UP_CALLS: Final = 2
"""To each function before its warm calls are counted."""


@dataclass(frozen=True)
class MeasurementSize:
    """How long instances may run, and how often functions are called."""

    minutes: int = 30
    """After which a compared instance ends at the latest."""
    calls: int = 60
    """Warm calls to each function."""
    cold_calls: int = 3
    """First calls to each function."""


@dataclass(frozen=True, kw_only=True)
class Request(MeasurementSize):
    """What the user asked to compare."""

    instance_types: Sequence[str] = ()
    functions: Sequence[FunctionSetting] = ()
    local: bool = False
    darknet: bool = False
    scenarios: Sequence[str] = ("single-stream",)
    scopes: Sequence[str] = ("picture", "network")
    seconds: float = 10.0
    picture: Path = field(default_factory=Path)
    engines: Sequence[str] = ()
    """`ENGINE[:PRECISION]`, a row of this machine for each; without any (and without `within`) one
    of the fastest."""
    within: Sequence[str] = ()
    """`PROCESSORS:MIB`, a row of this machine held to that for each."""
    local_usd_per_hour: float | None = None
    """What an hour of this machine costs."""

    @property
    def needs_cloud(self) -> bool:
        """Whether a row is deployed."""
        return bool(self.instance_types or self.functions)

    @property
    def names_a_row(self) -> bool:
        """Whether there is anything to measure."""
        return self.needs_cloud or self.local or self.darknet


Checker = Callable[[str], list[Check]]


def make(
    request: Request,
    artifact: Artifact,
    *,
    run: str,
    cloud: str,
    region: str,
    book: PriceBook,
    check: Checker,
    architecture: str = "x86_64",
) -> Record:
    """A record with every row planned, or not run with its reason; nothing is started.

    Raises:
        RowUsageError: there is no row, a scenario is unknown, or the model is none for Lambda.
    """
    manifest = artifact.manifest
    _check_request(request, manifest.task)
    record = Record(
        run=run,
        cloud=cloud,
        region=region,
        model=manifest.name,
        version=manifest.version,
        task=manifest.task,
        weights_trained=manifest.weights.trained,
        weights=manifest.weights.description,
        picture=request.picture.name,
        picture_sha256=picture_hash(request.picture),
        scenarios=list(request.scenarios),
        scopes=list(request.scopes),
        seconds=request.seconds,
    )
    if request.local:
        record.rows += _local(request)
    if request.darknet:
        record.rows.append(Row(DARKNET_ROW, Kind.DARKNET, where="this machine"))
    size = sum(entry.bytes for entry in manifest.files.values())
    for name in dict.fromkeys(request.instance_types):
        row = _instance(name, record, book=book, checks=check(name))
        _refuse_small_memory(row, size)
        record.rows.append(row)
    for setting in dict.fromkeys(request.functions):
        record.rows.append(_function(setting, record, architecture=architecture))
    record.most_usd = most_usd(
        record, minutes=request.minutes, calls=request.calls + request.cold_calls, book=book
    )
    return record


def _local(request: Request) -> list[Row]:
    """Raises RowUsageError for a precision that there is not."""
    rows = []
    default = () if request.within else ("auto",)
    for text in dict.fromkeys(request.engines) or default:
        engine, _, precision = text.partition(":")
        precision = precision or "auto"
        if precision not in get_args(PrecisionChoice) or engine not in get_args(EngineChoice):
            raise RowUsageError(
                f"--engine {text} cannot be.",
                remedy=f"Write ENGINE[:PRECISION]: {', '.join(get_args(EngineChoice))}; "
                f"{', '.join(get_args(PrecisionChoice))}.",
            )
        auto = engine == precision == "auto"
        said = engine if precision == "auto" else f"{engine} {precision}"
        rows.append(
            _local_row(
                LOCAL_ROW if auto else f"{LOCAL_ROW}, {said}",
                None if auto else {"engine": engine, "precision": precision},
                request.local_usd_per_hour,
            )
        )
    for text in dict.fromkeys(request.within):
        processors, _, memory = text.partition(":")
        if not (processors.isdecimal() and memory.isdecimal() and int(processors) and int(memory)):
            raise RowUsageError(
                f"--within {text} cannot be.",
                remedy="Write PROCESSORS:MIB, such as 1:700 for what a t2.micro leaves.",
            )
        # What a smaller machine costs, this one's price does not say.
        row = _local_row(
            f"{LOCAL_ROW} held to {processors} CPU{'s' * (processors != '1')} and {memory} MiB",
            {"processors": int(processors), "memory_mib": int(memory)},
            None,
        )
        if lacking := lacks(int(processors), int(memory)):
            row.refuse(lacking)
        rows.append(row)
    return rows


def _local_row(name: str, setting: dict[str, Any] | None, usd_per_hour: float | None) -> Row:
    return Row(
        name,
        Kind.MACHINE,
        where="this machine",
        usd_per_hour=usd_per_hour,
        price_date=None if usd_per_hour is None else "as you gave it",
        setting=setting,
    )


def check_budget(*records: Record, max_usd: float | None, confirmed: bool) -> None:
    """Refuse what could cost more than allowed, all together; the embedded cloud costs nothing.

    Raises:
        BudgetError: on AWS, no budget and no --yes; or the plan's most is above the budget.
    """
    costly = [record for record in records if record.cloud == "aws"]
    if not any(_costs(row) for record in costly for row in record.rows):
        return
    most = sum(record.most_usd for record in costly)
    if max_usd is None and not confirmed:
        raise BudgetError(
            f"This comparison starts machines on AWS and can cost up to ${most:.2f}.",
            remedy="Give a budget (--max-usd 5), or --yes to go without one. See it: --dry-run.",
        )
    if max_usd is not None and most > max_usd:
        raise BudgetError(
            f"This comparison can cost up to ${most:.2f}, the budget is ${max_usd:.2f}.",
            remedy="Compare fewer or cheaper types, shorten --minutes, or raise --max-usd.",
        )


def most_usd(record: Record, *, minutes: int, calls: int, book: PriceBook) -> float:
    """The most that the rows still to be run can cost; nothing on the embedded cloud."""
    if record.cloud != "aws":
        return 0.0
    total = 0.0
    for row in record.rows:
        if not _costs(row):
            continue
        if row.setting is None:
            total += most_instance_usd(row, minutes=minutes, book=book)
        else:
            setting = FunctionSetting(**row.setting)
            total += most_function_usd(setting, calls=calls + WARM_UP_CALLS, book=book)
    return total


def most_instance_usd(row: Row, *, minutes: int, book: PriceBook) -> float:
    """An instance that runs until its time-out, with its disk and public address."""
    hours = minutes / 60
    disk = root_gib(row.name) * hours / HOURS_A_MONTH
    return (
        (row.usd_per_hour or 0.0) * hours
        + book["ebs.gp3_gb_month"].cost(disk)
        + book["ipv4.hour"].cost(hours)
    )


def most_function_usd(setting: FunctionSetting, *, calls: int, book: PriceBook) -> float:
    """Every call taking as long as the function may, and an hour of what is held warm."""
    from stacks.settings.model import DeploymentSettings

    timeout_s = DeploymentSettings.from_context(setting.context()).timeout_seconds
    longest = replace(priced(setting, timeout_s), gets_per_request=1)
    held = 0.0
    if setting.cold_start == "provisioned":
        seconds = 3600 * setting.memory_mib / 1024
        held = book[f"lambda.{setting.arch}.provisioned_gb_second"].cost(seconds)
    return request_usd(longest, book) * calls + held


def _check_request(request: Request, task: str) -> None:
    if not request.names_a_row:
        raise RowUsageError(
            "There is nothing to compare.",
            remedy="Add --instance-type, --lambda or --local, each as often as you like.",
        )
    if request.functions and task != "classify":
        raise RowUsageError(
            "The serverless lane classifies, and this model detects.",
            remedy="Compare a classifier (--model efficientnet-lite0), or leave --lambda out.",
        )
    try:
        for text in request.scenarios:
            Scenario.parse(text)
    except ScenarioError as error:
        raise RowUsageError(str(error)) from error
    for text in request.scopes:
        if text not in list(Scope):
            raise RowUsageError(
                f"There is no scope {text!r}.", remedy=f"Choose of: {', '.join(Scope)}."
            )


def _instance(name: str, record: Record, *, book: PriceBook, checks: list[Check]) -> Row:
    row = Row(
        name,
        Kind.INSTANCE,
        where=_where(record),
        checks=[dict(check.to_json()) for check in checks],
    )
    try:
        price = book.instance(name)
        row.usd_per_hour, row.price_date = price.usd, price.date.isoformat()
    except CostError:
        row.notes.append("no price for it in the price book")
    bad = next((check for check in checks if check.state is State.BAD), None)
    if bad is not None:
        row.refuse(bad.detail)
    elif row.usd_per_hour is None and record.cloud == "aws":
        row.refuse("without a price, no budget can hold it")
    return row


def _refuse_small_memory(row: Row, model_bytes: int) -> None:
    catalog = Catalog.load()
    if row.status is not Status.PLANNED or row.name not in catalog:
        return
    memory = catalog[row.name].memory_mib * 2**20
    if model_bytes * _MEMORY_FACTOR > memory:
        row.refuse(
            f"the model needs about {model_bytes * _MEMORY_FACTOR / 2**20:,.0f} MiB, "
            f"{row.name} has {memory / 2**20:,.0f}"
        )


def _function(setting: FunctionSetting, record: Record, *, architecture: str) -> Row:
    row = Row(setting.name, Kind.FUNCTION, where=_where(record), setting=asdict(setting))
    if record.cloud != "aws":
        if setting.arch != architecture:
            row.refuse(
                f"not available on this machine (this machine is {architecture})",
                other_hardware=True,
            )
        row.notes.append(
            "on the embedded cloud every memory size has this machine's whole CPU; the price is "
            "AWS's for the time measured here"
        )
        if setting.cold_start == "provisioned":
            row.notes.append(
                "the embedded cloud only records provisioned concurrency: its effect is AWS's, "
                "and first calls here are cold"
            )
    return row


def _where(record: Record) -> str:
    return f"AWS {record.region}" if record.cloud == "aws" else "embedded cloud"


def _costs(row: Row) -> bool:
    return row.status is Status.PLANNED and row.kind in {Kind.INSTANCE, Kind.FUNCTION}


def picture_hash(path: Path) -> str:
    """Hex SHA-256 of the picture's file.

    Raises:
        RowUsageError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise RowUsageError(
            f"{path} cannot be read: {error.strerror}.", remedy="Name a picture (--picture)."
        ) from error
