"""What a run found, as it is written to disk and to S3 after every scenario."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from runtime.contract import RESULTS_PREFIX
from runtime.measurement.errors import MeasurementError
from runtime.measurement.machine import Machine
from runtime.measurement.statistics import Summary

SCHEMA: Final = 1
FILE: Final = "result.json"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One scenario at one scope: measured, or failed with its reason."""

    scenario: str
    scope: str
    status: str
    """`measured` or `failed`."""
    reason: str | None = None
    started: str | None = None
    """UTC, ISO 8601, from the wall clock; no duration is taken from it."""
    seconds: float = 0.0
    pictures: int = 0
    latency_s: Summary | None = None
    """Seconds a query (a picture, but for MultiStream's eight)."""
    raw_s: Sequence[float] = ()
    turns: Sequence[int] = ()
    """How many of `raw_s`, in order, are of each turn; empty where it was measured in one go."""
    camera: dict[str, Any] | None = None
    loadgen: dict[str, Any] | None = None

    @property
    def images_per_second(self) -> float | None:
        """Pictures answered over the whole of the scenario's time."""
        return self.pictures / self.seconds if self.seconds > 0 and self.pictures else None

    def to_json(self) -> dict[str, Any]:
        """Plain values; raw samples in microseconds' precision."""
        return {
            **vars(self),
            "latency_s": self.latency_s.to_json() if self.latency_s else None,
            "raw_s": [round(sample, 6) for sample in self.raw_s],
            "turns": list(self.turns),
            "images_per_second": self.images_per_second,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Measurement:
        """The inverse of `to_json`."""
        known = {key: value[key] for key in cls.__dataclass_fields__ if key in value}
        if known.get("latency_s") is not None:
            known["latency_s"] = Summary.from_json(known["latency_s"])
        return cls(**known)


@dataclass(kw_only=True)
class RunResult:
    """All that one machine measured with one model and one picture."""

    run: str
    instance_type: str | None = None
    """As AWS calls it; None for a machine that is not AWS's."""
    image: str | None = None
    """The AMI an instance was started from."""
    machine: Machine
    versions: dict[str, str]
    subject: dict[str, Any] | None = None
    peak_flop_per_second: float | None = None
    measurements: list[Measurement] = field(default_factory=list)
    finished: bool = False
    failure: str | None = None
    """Why nothing could be measured at all."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "schema": SCHEMA,
            **vars(self),
            "machine": self.machine.to_json(),
            "measurements": [measurement.to_json() for measurement in self.measurements],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> RunResult:
        """The inverse of `to_json`.

        Raises:
            MeasurementError: it is no result of this schema.
        """
        if value.get("schema") != SCHEMA:
            raise MeasurementError(
                f"This result has schema {value.get('schema')!r}, not the {SCHEMA} read here."
            )
        try:
            known: dict[str, Any] = {key: value[key] for key in cls.__dataclass_fields__}
            known["machine"] = Machine.from_json(value["machine"])
            known["measurements"] = [Measurement.from_json(one) for one in value["measurements"]]
            return cls(**known)
        except (KeyError, TypeError) as error:
            raise MeasurementError(f"This result is damaged: {error!r}.") from error


class FolderSink:
    """`result.json` in a folder, replaced at once each time it has grown.

    `write` raises `MeasurementError` where it cannot be, here as in a bucket.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def write(self, result: RunResult) -> None:
        temporary = self.path.with_name(f".{FILE}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(result.to_json()) + "\n", encoding="utf-8")
            temporary.replace(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise MeasurementError(
                f"{self.path} could not be written: {error.strerror}."
            ) from error


class BucketSink:
    """`results/{run}/{name}/result.json` in the artifacts bucket, with LoadGen's logs beside it."""

    def __init__(self, client: Any, *, bucket: str, run: str, name: str, logs: Path) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{RESULTS_PREFIX}{run}/{name}/"
        self._logs = logs
        self._sent: set[Path] = set()

    def write(self, result: RunResult) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            for path in sorted(self._logs.rglob("*.txt")):
                if path not in self._sent and path.stat().st_size:
                    key = f"{self._prefix}{path.relative_to(self._logs.parent).as_posix()}"
                    self._put(key, path.read_bytes())
                    self._sent.add(path)
            self._put(self._prefix + FILE, json.dumps(result.to_json()).encode())
        except (BotoCoreError, ClientError) as error:
            raise MeasurementError(
                f"The result could not be written to s3://{self._bucket}/{self._prefix}: {error}"
            ) from error

    def _put(self, key: str, body: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=key, Body=body)


Sink = FolderSink | BucketSink
