"""`python -m runtime.measurement`: measure this machine with one model and one picture."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from runtime.contract import MEASURE_LATEST, RESULTS_PREFIX, Env, Scope
from runtime.inference.errors import InferenceError
from runtime.inference.store import ModelStore
from runtime.measurement import machine
from runtime.measurement.errors import MeasurementError, SettingsError
from runtime.measurement.limit import peak_flop_per_second
from runtime.measurement.loadgen import Limits
from runtime.measurement.results import FILE, BucketSink, FolderSink, Measurement, RunResult, Sink
from runtime.measurement.runner import Plan, run
from runtime.measurement.scenario import Scenario
from runtime.measurement.workload import Subject, load
from runtime.redaction import redacted

_SCENARIOS: Final = "single-stream,offline"
_SCOPES: Final = "picture,network"


def parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    """The command line; an instance's service leaves most of it to environment variables."""
    found = argparse.ArgumentParser(prog="python -m runtime.measurement", description=__doc__)
    model = environment.get(Env.MODEL, "").split(",")[0]
    found.add_argument(
        "--model",
        default=model or None,
        required=not model,
        help="model artifact: a folder, or a name in the bucket",
    )
    found.add_argument(
        "--picture", type=Path, help="default: the one that lies in the bucket for this run"
    )
    found.add_argument(
        "--scenario", action="append", help="may be repeated; default single-stream and offline"
    )
    found.add_argument(
        "--scope",
        action="append",
        choices=[Scope.NETWORK.value, Scope.PICTURE.value],
        help="may be repeated; default both",
    )
    found.add_argument("--engine", default=environment.get(Env.ENGINE, "auto"))
    found.add_argument("--precision", default="auto", help="auto (the fastest), fp32 or int8")
    found.add_argument("--threads", type=int)
    found.add_argument(
        "--seconds",
        type=float,
        default=environment.get(Env.MEASURE_SECONDS, "10"),
        help="at least, for each scenario",
    )
    found.add_argument("--queries", type=int, default=20, help="at least, for each scenario")
    found.add_argument("--server-bound-ms", type=float, default=100.0)
    found.add_argument("--out", type=Path, default=Path("measurement"))
    found.add_argument("--run", default=environment.get(Env.MEASURE_RUN, MEASURE_LATEST))
    found.add_argument("--instance-type", default=environment.get(Env.INSTANCE_TYPE))
    found.add_argument("--image", default=environment.get(Env.IMAGE_ID))
    found.add_argument(
        "--bucket",
        default=environment.get(Env.ARTIFACTS_BUCKET),
        help="also write to this bucket, under results/",
    )
    found.add_argument("--no-limit", action="store_true", help="skip the machine's own limit")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0: all was measured; 1: something failed (and is in the result); 2: usage."""
    options = parser(os.environ).parse_args(arguments)
    if not options.scenario:
        options.scenario = os.environ.get(Env.MEASURE_SCENARIOS, _SCENARIOS).split(",")
    if not options.scope:
        options.scope = os.environ.get(Env.MEASURE_SCOPES, _SCOPES).split(",")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        result = measure(options)
    except MeasurementError as error:
        sys.stderr.write(f"error: {redacted(str(error))}\n")
        return 1
    failed = result.failure or any(m.status == "failed" for m in result.measurements)
    return 1 if failed else 0


def measure(options: argparse.Namespace) -> RunResult:
    """Measure what the options ask for; a model that cannot be loaded is a result too.

    Raises:
        MeasurementError: an option cannot be, or a result could not be written.
    """
    plan = Plan(
        scenarios=[Scenario.parse(text) for text in options.scenario],
        scopes=[Scope(text) for text in options.scope],
        limits=Limits(
            seconds=options.seconds,
            queries=options.queries,
            most_seconds=max(120.0, 6 * options.seconds),
            server_bound_s=options.server_bound_ms / 1000,
        ),
    )
    name = options.run
    logs = options.out / "loadgen"
    sinks: list[Sink] = [FolderSink(options.out)]
    if options.bucket:
        row = options.instance_type or "machine"
        sinks.append(BucketSink(_s3(), bucket=options.bucket, run=name, name=row, logs=logs))
    result = earlier(options.out / FILE, name) or RunResult(
        run=name,
        instance_type=options.instance_type,
        image=options.image,
        machine=machine.describe(),
        versions=machine.versions(),
    )
    try:
        workloads = load(
            _model_folder(options),
            options.picture or _picture(options),
            engine=options.engine,
            precision=options.precision,
            threads=options.threads,
        )
        _same_subject(result, workloads[Scope.PICTURE].subject, options)
    except MeasurementError as error:
        result.failure = str(error)
        result.finished = True
        for sink in sinks:
            sink.write(result)
        raise
    return run(plan, workloads, result, sinks=sinks, logs=logs, tell=_tell)


def _same_subject(result: RunResult, subject: Subject, options: argparse.Namespace) -> None:
    if result.subject not in (None, asdict(subject)):
        raise MeasurementError(
            f"{options.out / FILE} holds results of another model, version, engine or picture; "
            "write to another folder."
        )
    result.subject = asdict(subject)
    if result.peak_flop_per_second is None and not options.no_limit:
        result.peak_flop_per_second = peak_flop_per_second(subject.engine, subject.precision)


def earlier(path: Path, name: str) -> RunResult | None:
    """The unfinished result of the same run, if one lies there.

    Raises:
        MeasurementError: the file is damaged.
    """
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise MeasurementError(f"{path} cannot be read: {error}.") from error
    found = RunResult.from_json(value)
    if found.run != name:
        return None
    found.failure = None
    return found


def _model_folder(options: argparse.Namespace) -> Path:
    folder = Path(options.model)
    if folder.is_dir() or not options.bucket:
        return folder

    try:
        store = ModelStore(_s3(), options.bucket)
        return store.pull(options.model, options.out / "models").folder
    except InferenceError as error:
        raise MeasurementError(error.message) from error


def _picture(options: argparse.Namespace) -> Path:
    """The picture that the desk put beside the results of this run."""
    if not options.bucket:
        raise SettingsError("Which picture? Give --picture, or a --bucket that holds one.")
    from botocore.exceptions import BotoCoreError, ClientError

    client = _s3()
    prefix = f"{RESULTS_PREFIX}{options.run}/picture/"
    try:
        found = client.list_objects_v2(Bucket=options.bucket, Prefix=prefix).get("Contents", [])
        if len(found) != 1:
            raise SettingsError(
                f"s3://{options.bucket}/{prefix} holds {len(found)} pictures instead of one."
            )
        path: Path = options.out / "picture" / Path(found[0]["Key"]).name
        path.parent.mkdir(parents=True, exist_ok=True)
        client.download_file(options.bucket, found[0]["Key"], str(path))
    except (BotoCoreError, ClientError, OSError) as error:
        raise SettingsError(f"The picture of this run cannot be fetched: {error}") from error
    return path


def _s3() -> Any:
    import boto3

    return boto3.client("s3")


def _tell(measurement: Measurement) -> None:
    rate = measurement.images_per_second
    summary = measurement.latency_s
    shown = (
        f"p50 {summary.p50 * 1000:.2f} ms, p99 {summary.p99 * 1000:.2f} ms, "
        f"{rate or 0:.1f} images/s"
        if summary
        else measurement.reason
    )
    logging.getLogger(__name__).info("%s, %s: %s", measurement.scenario, measurement.scope, shown)


if __name__ == "__main__":
    sys.exit(main())
