"""The serverless lane on the embedded cloud: the warm pool, many calls at once, folders, SnapStart.

Every part is measured on ResNet50 with the packages and stacks that a user deploys, through the
emulator's API: its own share of a cold call (unpacking the package for each environment) is in the
figures. Cold starts without it are `cold_start`'s, whose JSON the table of answers to the cold
start takes: that benchmark comes first.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks._results import Results, table
from benchmarks._serverless_answers import cold_start_answers
from benchmarks._serverless_cloud import deploy_classifier, embedded_cloud
from benchmarks._serverless_cold import PICTURE
from runtime.contract import Output, Stack
from runtime.measurement.statistics import ratio, summarize
from visionstack import paths
from visionstack.classify.client import ClassifierClient
from visionstack.classify.folder import FolderJobs, new_run
from visionstack.classify.load import run_steps
from visionstack.classify.trials import DeployedEnvironments, calls_at_once
from visionstack.cloud.deployment import Deployment

MODEL = "resnet50"
ENVIRONMENTS = 5
SNAPSTART = {"cold_start": "snapstart", "lambda_python": "3.13"}


def main(out: Path, quick: bool) -> None:
    """Measure all parts; a part that fails is named in the report and the others go on."""
    results = Results(out / "serverless.json", title="The serverless lane", quick=quick)
    with embedded_cloud():
        deployment = deploy_classifier(model=MODEL, context={})
        parts: list[tuple[str, Callable[[], dict[str, Any]]]] = [
            ("warm_pool", lambda: warm_pool(deployment, cycles=3 if quick else 20)),
            ("many_at_once", lambda: many_at_once(deployment, quick=quick)),
            ("folder", lambda: folder(deployment, pictures=100 if quick else 1000)),
        ]
        for name, part in parts:
            run_part(results, name, part)
    with embedded_cloud():
        snapshots = deploy_classifier(model=MODEL, context=SNAPSTART)
        run_part(results, "snapstart", lambda: snapstart(snapshots, rounds=2 if quick else 10))
    run_part(
        results,
        "cold_start_answers",
        lambda: cold_start_answers(measured_starts(out), results.values),
    )


def measured_starts(out: Path) -> dict[str, Any]:
    """What cold_start wrote. Raises FileNotFoundError where it was not run into `out`."""
    found = out / "cold_start.json"
    if not found.exists():
        raise FileNotFoundError(f"run `python -m benchmarks cold_start --out {out}` first")
    measured: dict[str, Any] = json.loads(found.read_text("utf-8"))
    return measured


def run_part(results: Results, name: str, part: Callable[[], dict[str, Any]]) -> None:
    """One part's figures, or why there are none."""
    load_before = os.getloadavg()[0]
    try:
        found = part()
    except Exception as error:  # one part's failure must not cost the others
        found = {"failed": f"{type(error).__name__}: {error}"}
    results.values[name] = {**found, "load_average_before": load_before}
    results.save()
    shown = found.get("shown") or [{"failed": found.get("failed", "")[:90]}]
    print(f"-- {name}\n{table(shown)}", flush=True)


def warm_pool(deployment: Deployment, *, cycles: int) -> dict[str, Any]:
    """After each cycle of the warmer, five calls at once: how many were cold."""
    environments = DeployedEnvironments(deployment)
    reached: list[int] = []
    cold: list[int] = []
    slowest: list[float] = []
    with ClassifierClient.of(deployment) as client:
        try:
            environments.retire()
            for _ in range(cycles):
                reached.append(environments.warm(ENVIRONMENTS)["reached"])
                calls = calls_at_once(client, PICTURE, calls=ENVIRONMENTS)
                cold.append(sum(call.cold for call in calls))
                slowest.append(max(call.seconds for call in calls))
        finally:
            environments.restore()
    return {
        "reached": reached,
        "cold_calls": cold,
        "slowest_s": slowest,
        "shown": [
            {
                "cycles": cycles,
                "reached 5 of 5": sum(count == ENVIRONMENTS for count in reached),
                "cold calls": sum(cold),
                "slowest of 5 (s, median)": summarize(slowest).p50,
            }
        ],
    }


def many_at_once(deployment: Deployment, *, quick: bool) -> dict[str, Any]:
    """Callers at the same time on five environments: lost, wrong, throughput by step."""
    concurrencies = (20, 100) if quick else (100, 500, 1500)
    environments = DeployedEnvironments(deployment)
    try:
        environments.limit(ENVIRONMENTS)
        environments.warm(ENVIRONMENTS)
        api = deployment.classifier_api()
        steps = list(run_steps(api, PICTURE, concurrencies=concurrencies, repeats=1))
    finally:
        environments.restore()
    return {
        "steps": [step.to_json() for step in steps],
        "last_over_first_throughput": steps[-1].throughput / steps[0].throughput,
        "shown": [
            {
                "at once": step.concurrency,
                "lost": step.lost,
                "wrong": step.wrong,
                "429": step.throttled,
                "p50 s": step.response["p50"],
                "p99 s": step.response["p99"],
                "answers/s": step.throughput,
            }
            for step in steps
        ],
    }


def folder(deployment: Deployment, *, pictures: int) -> dict[str, Any]:
    """A folder as one job, against what the same environments reach when called in batches."""
    jobs = FolderJobs.of(deployment)
    DeployedEnvironments(deployment).warm(ENVIRONMENTS)
    samples = sorted(paths.SAMPLES.glob("*.jpg"))
    run = new_run()
    prefix = jobs.upload([samples[n % len(samples)] for n in range(pictures)], run=run).prefix
    report = jobs.run(prefix, run=run)
    limit = _batches_limit(deployment, prefix, pictures=pictures)
    rate = len(report.answers) / report.seconds
    return {
        "pictures": report.pictures,
        "answered": len(report.answers),
        "failed": len(report.failures),
        "seconds": report.seconds,
        "pictures_per_second": rate,
        "limit_per_second": limit,
        "share_of_limit": rate / limit,
        "shown": [
            {
                "pictures": report.pictures,
                "answered": len(report.answers),
                "failed": len(report.failures),
                "pictures/s": rate,
                "environments' limit": limit,
                "share": rate / limit,
            }
        ],
    }


def _batches_limit(deployment: Deployment, prefix: str, *, pictures: int) -> float:
    """Pictures a second when five callers keep the environments busy with the same batches."""
    client = deployment.client("lambda")
    outputs = deployment.outputs(Stack.CLASSIFIER)
    keys = [f"{prefix}{number:06d}.jpg" for number in range(pictures)]
    batches = [keys[start : start + 20] for start in range(0, len(keys), 20)]

    def call(batch: list[str]) -> int:
        event = {"method": "folder", "run": "limit", "items": [{"Key": key} for key in batch]}
        answer = client.invoke(
            FunctionName=outputs[Output.CLASSIFIER_FUNCTION],
            Qualifier=outputs[Output.CLASSIFIER_ALIAS],
            Payload=json.dumps(event).encode(),
        )
        return int(json.loads(answer["Payload"].read())["classified"])

    started = time.monotonic()
    with ThreadPoolExecutor(ENVIRONMENTS) as pool:
        classified = sum(pool.map(call, batches))
    return classified / (time.monotonic() - started)


def snapstart(deployment: Deployment, *, rounds: int) -> dict[str, Any]:
    """The first call of a freshly published version against the calls after it, by the API."""
    environments = DeployedEnvironments(deployment)
    first: list[float] = []
    warm: list[float] = []
    with ClassifierClient.of(deployment) as client:
        try:
            for _ in range(rounds):
                environments.retire()
                # An environment that waited is one that was initialised ahead.
                time.sleep(1.5)
                first.append(client.classify(PICTURE).seconds)
                warm.extend(client.classify(PICTURE).seconds for _ in range(5))
        finally:
            environments.restore()
    return {
        "first_s": first,
        "warm_s": warm,
        "first_over_warm": ratio(first, warm).to_json(),
        "note": "MiniStack initialises the version when it is published and keeps the process; "
        "AWS restores a snapshot, which takes some hundred milliseconds that are not in here.",
        "shown": [
            {"what": "first call of a version (s)", **_p(first)},
            {"what": "warm call (s)", **_p(warm)},
        ],
    }


def _p(samples: list[float]) -> dict[str, Any]:
    summary = summarize(samples)
    return {"n": summary.samples, "p50": summary.p50, "p90": summary.p90, "max": summary.maximum}
