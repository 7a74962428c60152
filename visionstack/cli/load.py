"""`visionstack load`: the paper's two tests of many calls at once."""

from __future__ import annotations

import json
import os
import re
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

import typer
from rich.table import Table

from runtime.contract import Output, Stack
from visionstack import console, paths
from visionstack.cli.options import CloudOption, JsonOption, OutOption, PrefixOption
from visionstack.errors import UsageError, VisionstackError

if TYPE_CHECKING:
    from collections.abc import Generator

    from visionstack.classify.load import LoadStep
    from visionstack.classify.trials import DeployedEnvironments
    from visionstack.cloud.deployment import Deployment

MOST_CALLERS: Final = 5000
_SPAN: Final = re.compile(r"(\d{1,5})\.\.(\d{1,5})(?::(\d{1,5}))?")


def load(
    picture: Annotated[Path, typer.Argument(help="The picture to classify.")] = (
        paths.SAMPLES / "dog.jpg"
    ),
    *,
    concurrency: Annotated[
        str, typer.Option(help="Calls at once: 100, or 100..1500, or 100..1500:200.")
    ] = "100..1500",
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Calls of each caller.")] = 10,
    memory: Annotated[
        list[int] | None,
        typer.Option(
            min=128,
            max=10240,
            help="Memory size in MB to try, repeatable; on the embedded cloud with one environment"
            " at AWS's share of a processor, by control groups.",
        ),
    ] = None,
    environments: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            help="Most environments during the test, by reserved concurrency; "
            "5 on the embedded cloud, as deployed on AWS.",
        ),
    ] = None,
    out: OutOption = paths.OUT / "load",
    cloud: CloudOption = "auto",
    prefix: PrefixOption = None,
    as_json: JsonOption = False,
) -> None:
    """Call the serverless lane many times at once; every call is answered or counted as lost."""
    from visionstack.classify.load import paper_reference
    from visionstack.cloud.deployment import connect

    steps = parse_concurrency(concurrency)
    if not picture.is_file():
        raise UsageError(f"{picture} is no file.", remedy="Name a picture.")
    deployment = connect(cloud=cloud, prefix=prefix)
    report: dict[str, Any] = {
        "cloud": deployment.cloud,
        "picture": str(picture),
        "repeats": repeats,
        "steps": [],
        "paper": paper_reference(),
    }
    if deployment.cloud == "local":
        # Without a bound each caller would be given a process of its own on this machine.
        environments = 1 if memory else environments or LOCAL_ENVIRONMENTS
    report["environments"] = environments
    report_path = out / "report.json"
    out.mkdir(parents=True, exist_ok=True)
    found: list[tuple[int | None, LoadStep]] = []
    sizes: list[int | None] = [*memory] if memory else [None]
    with console.progress() as bar:
        task = bar.add_task("calling", total=len(steps) * len(sizes))
        # Closed on the way out of this block, whatever ends it: the function is restored then.
        with closing(
            _measure(
                deployment, picture, steps, repeats=repeats, sizes=sizes, environments=environments
            )
        ) as measured:
            for size, step in measured:
                found.append((size, step))
                report["steps"].append({"kind": "measured", "memory_mib": size, **step.to_json()})
                report_path.write_text(json.dumps(report, indent=1) + "\n")
                bar.advance(task)
    if as_json:
        console.print_json(report)
    else:
        console.out.print(_table(found))
        console.err.print(f"report: {report_path}")
    if any(step.lost or step.wrong for _, step in found):
        raise typer.Exit(1)


LOCAL_ENVIRONMENTS: Final = 5
"""The paper's number."""


def parse_concurrency(text: str) -> list[int]:
    """`100`, `100..1500` (steps of 100, as in the paper) or `100..1500:200`.

    Raises:
        UsageError: something else, or a number outside 1 to 5,000.
    """
    match = _SPAN.fullmatch(text)
    if text.isascii() and text.isdigit():
        steps = [int(text)]
    elif match and int(match[3] or 100) > 0:
        steps = list(range(int(match[1]), int(match[2]) + 1, int(match[3] or 100)))
    else:
        steps = []
    if not steps or not 1 <= min(steps) <= max(steps) <= MOST_CALLERS:
        raise UsageError(
            f"--concurrency is {text!r}.",
            remedy=f"Write 100, 100..1500 or 100..1500:200, 1 to {MOST_CALLERS} at once.",
        )
    return steps


def _measure(
    deployment: Deployment,
    picture: Path,
    steps: list[int],
    *,
    repeats: int,
    sizes: list[int | None],
    environments: int | None,
) -> Generator[tuple[int | None, LoadStep], None, None]:
    from visionstack.classify.load import run_steps
    from visionstack.classify.trials import DeployedEnvironments

    api = deployment.classifier_api()
    deployed = DeployedEnvironments(deployment)
    sized = [size for size in sizes if size is not None]
    if deployment.cloud == "local" and sized:
        yield from _sweep_locally(
            deployment, deployed, picture, steps, repeats=repeats, sizes=sized
        )
        return
    try:
        if environments is not None:
            deployed.limit(environments)
        for size in sizes:
            if size is not None:
                deployed.retire(memory_mib=size)
            for step in run_steps(api, picture, concurrencies=steps, repeats=repeats):
                yield size, step
    finally:
        deployed.restore()


def _sweep_locally(
    deployment: Deployment,
    deployed: DeployedEnvironments,
    picture: Path,
    steps: list[int],
    *,
    repeats: int,
    sizes: list[int],
) -> Generator[tuple[int | None, LoadStep], None, None]:
    """One environment at the share of a processor that AWS gives to each memory size."""
    from visionstack.classify.client import ClassifierClient
    from visionstack.classify.load import run_steps
    from visionstack.localcloud.cpu_share import CpuShare, environments_of

    api = deployment.classifier_api()
    function = deployment.output(Stack.CLASSIFIER, Output.CLASSIFIER_FUNCTION)
    port = urlsplit(api.url).port or 0
    try:
        with CpuShare(f"visionstack-{os.getpid()}") as share, ClassifierClient.at(api) as client:
            deployed.limit(1)
            for size in sizes:
                before = environments_of(function, port=port)
                deployed.resize(size)
                # The share is for calls, and the start is not among them.
                client.classify(picture)
                started = environments_of(function, port=port) - before
                share.give(size, to=started)
                for step in run_steps(api, picture, concurrencies=steps, repeats=repeats):
                    yield size, step
                if not started or started - share.members():
                    raise VisionstackError(
                        f"The environment of {size} MB was replaced while it was measured.",
                        remedy="Run it again.",
                    )
    finally:
        deployed.restore()


def _table(found: list[tuple[int | None, LoadStep]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("MB", "at once", "calls", "lost", "wrong", "429", "cold", "p50 s", "p99 s"):
        table.add_column(heading, justify="right")
    table.add_column("answers/s", justify="right")
    for size, step in found:
        table.add_row(
            str(size or "as deployed"),
            *(f"{value:,}" for value in (step.concurrency, step.calls, step.lost, step.wrong)),
            f"{step.throttled:,}",
            str(step.cold),
            *(f"{step.response[name]:.2f}" for name in ("p50", "p99")),
            f"{step.throughput:.1f}",
        )
    return table
