"""Rows that a browser measured: the file that the page's tab "On this device" gives."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from runtime.measurement.machine import Machine
from runtime.measurement.results import Measurement, RunResult
from runtime.measurement.statistics import summarize
from visionstack.compare.errors import MixedResultsError, RecordError
from visionstack.compare.record import Record, Row, Status
from visionstack.compare.targets import Kind

_PHONES: Final = ("Mobile", "Android", "iPhone")
_BROWSERS: Final = (
    ("Edg/", "Edge"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS: Final = ("Android", "iPhone", "iPad", "Windows", "Mac OS X", "Linux")


def with_device(record: Record, path: Path) -> Record:
    """The record with the device's row behind its own; the record itself stays as it is.

    Raises:
        RecordError: the file is none of the page's.
        MixedResultsError: it is of another model, or of another version of it.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        row = _row(told, taken={one.name for one in record.rows})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"{path} is not what the page saves: {type(error).__name__}: {error}",
            remedy="Take the file of the page's tab On this device, button Download for compare.",
        ) from error
    if (told["model"], told["version"]) != (record.model, record.version):
        raise MixedResultsError(
            f"{path} is of {told['model']} {told['version']}, and the comparison of "
            f"{record.model} {record.version}.",
            remedy="Measure the device anew with a server of that model.",
        )
    return replace(record, rows=[*record.rows, row])


def _row(told: dict[str, Any], *, taken: set[str]) -> Row:
    if (told["schema"], told["kind"]) != (1, "browser"):
        raise ValueError("neither schema 1 nor kind browser")
    raw = [float(one) / 1000 for one in told["raw_ms"]]
    if not raw or min(raw) <= 0 or told["pictures"] != len(raw):
        raise ValueError("its samples are not whole")
    agent = str(told["agent"])
    browser = next((name for mark, name in _BROWSERS if mark in agent), "a browser")
    system = next((name for name in _SYSTEMS if name in agent), "an unknown system")
    plain = "this phone" if any(one in agent for one in _PHONES) else "this browser"
    names = itertools.chain([plain], (f"{plain} {number}" for number in itertools.count(2)))
    name = next(name for name in names if name not in taken)
    result = RunResult(
        run=str(told["measured"]),
        # A page learns neither the processor's name nor the memory.
        machine=Machine(
            cpu=f"{browser} on {system}",
            cores=int(told["processors"] or told["threads"]),
            memory_gib=0.0,
            architecture="unknown",
            kernel="unknown",
            system=system,
            features=(),
            gpus=(),
        ),
        versions={},
        subject={"engine": str(told["engine"]), "precision": "", "version": told["version"]},
        measurements=[
            Measurement(
                scenario="single-stream",
                scope="picture",
                status="measured",
                started=str(told["measured"]),
                seconds=float(told["seconds"]),
                pictures=len(raw),
                latency_s=summarize(raw),
                raw_s=raw,
            )
        ],
        finished=True,
    )
    return Row(
        name,
        Kind.MACHINE,
        Status.MEASURED,
        where=f"{browser} on {system}",
        result=result.to_json(),
        notes=[
            f"{name} was measured by the page with a picture of its own; accuracy was not scored"
        ],
    )
