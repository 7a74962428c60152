"""The demo from nothing to a report: deploy, stream, classify, prove, cost, stop.

Every step writes its findings before the next begins, and whatever happens the embedded cloud is
stopped at the end, unless it was up before or the user wants to keep it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.progress import Progress

from runtime.contract import DEFAULT_CLASSIFIER, DEFAULT_DETECTOR
from visionstack import console, paths, processes
from visionstack.classify.client import ClassifierClient
from visionstack.classify.trials import DeployedEnvironments, prove_warm_pool
from visionstack.cloud.local_state import MARK_VARIABLE, CloudFolder
from visionstack.demo import classifying, costing, streaming
from visionstack.demo.record import Record
from visionstack.demo.report import build_report
from visionstack.deploy.local import Deployed, deploy
from visionstack.localcloud import lifecycle
from visionstack.report import terminal
from visionstack.report.sections import Picture
from visionstack.report.write import write

CONTEXT = {"stream_model": DEFAULT_DETECTOR, "classifier_model": DEFAULT_CLASSIFIER}
"""Models whose trained weights come as packages; everything else is the default deployment."""
WARM_TARGET: Final = 5
"""As many environments as the 2020 paper holds warm."""


@dataclass(frozen=True)
class Finished:
    """Where the report lies, and whether the embedded cloud was left up."""

    html: Path
    json: Path
    kept: bool


def run(out: Path, *, keep: bool) -> Finished:
    """Run the demo. Raises VisionstackError of the step that failed; its report is kept."""
    was_up = lifecycle.status().cloud == "up"
    kept = keep or was_up
    record = Record(out / "report.json")
    seen: list[Picture] = []
    # What the user wants to keep, or had before, is not this process's to end.
    mark = str(CloudFolder.from_environment().root)
    watched = nullcontext() if kept else processes.ended_with_this_process(MARK_VARIABLE, mark)
    with watched:
        try:
            deployed = deploy(context=CONTEXT)
            record.add("deploy", {"stacks": _stacks(deployed)})
            _measure(record, deployed, seen)
        finally:
            written = write(build_report(record.sections, seen=seen), out)
            if not kept:
                lifecycle.down()
    terminal.show(build_report(record.sections, seen=seen), console.out)
    return Finished(html=written["html"], json=written["json"], kept=kept)


def _measure(record: Record, deployed: Deployed, seen: list[Picture]) -> None:
    deployment = deployed.deployment
    with console.progress() as progress:
        tick = _step(progress, "streaming a picture and a clip")
        streamed = streaming.stream_samples(deployed.stream, tick=tick)
        seen += streamed.seen
        record.add("streaming", streamed.section)
        with ClassifierClient.of(deployment) as client:
            tick = _step(progress, "classifying pictures")
            section = classifying.classify_samples(deployment, client, tick=tick)
            record.add("classification", section)
            task = progress.add_task("warm pool", total=None)
            pool = prove_warm_pool(
                client,
                WARM_TARGET,
                environments=DeployedEnvironments(deployment),
                picture=paths.SAMPLES / "dog.jpg",
                progress=lambda step: progress.update(task, description=f"warm pool: {step}"),
            )
            progress.update(task, description="warm pool proven", total=1, completed=1)
        record.add("warm_pool", pool.to_json())
    memory = deployed.lambda_memory_mib
    record.add("cost", costing.costs(record.sections, lambda_memory_mb=memory))


def _step(progress: Progress, name: str) -> Callable[[int, int], object]:
    task = progress.add_task(name, total=None)
    return lambda done, total: progress.update(task, completed=done, total=total)


def _stacks(deployed: Deployed) -> list[dict[str, Any]]:
    client = deployed.deployment.client("cloudformation")
    found = client.describe_stacks()["Stacks"]
    prefix = f"{deployed.deployment.prefix}-"
    return [
        {"name": stack["StackName"], "status": stack["StackStatus"]}
        for stack in sorted(found, key=lambda stack: stack["StackName"])
        if stack["StackName"].startswith(prefix) and "DELETE" not in stack["StackStatus"]
    ]
