"""Whole folders as one job: a Step Functions distributed map over the classifier.

What lies below a prefix of the pictures bucket is listed once and written down in batches; the map
sends each to the function, which writes a JSON line a picture below `results/folders/{run}/`. What
has no line when the job is over is listed as failed: nothing is dropped.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from runtime.contract import PICTURES_PREFIX, RESULTS_PREFIX, Output, Stack
from visionstack.classify.client import CONTENT_TYPES
from visionstack.classify.many import Failure
from visionstack.errors import UsageError, VisionstackError

if TYPE_CHECKING:
    from visionstack.cloud.deployment import Deployment

UPLOADED_PREFIX: Final = PICTURES_PREFIX + "folders/"
_POLL_SECONDS: Final = 0.5
_AT_ONCE: Final = 16
"""Uploads and downloads under way."""
_LARGEST_BATCH: Final = 20
"""Pictures in one call: a call's overhead shrinks to a twentieth, and a retry repeats no more."""
_FEWEST_BATCHES: Final = 40
"""So that a few environments all have work to the end; smaller folders have smaller batches."""


@dataclass(frozen=True, kw_only=True)
class FolderReport:
    """What a job found.

    Attributes:
        run: id of the job.
        pictures: how many lie below the prefix.
        answers: the service's answer for each that was classified.
        failures: each that was not, and why.
        results: where the JSON lines are.
        seconds: from the start of the job to its end.
    """

    run: str
    pictures: int
    answers: tuple[dict[str, Any], ...]
    failures: tuple[Failure, ...]
    results: str
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)


@dataclass(frozen=True)
class Uploaded:
    """Where local pictures went: the prefix, and each one's own name by its `file_path`; and which
    could not be read."""

    prefix: str
    names: dict[str, str]
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FolderJobs:
    """Starts and follows jobs of one deployment.

    `s3` and `states` are boto3's clients of S3 and Step Functions, or fakes of them.
    """

    s3: Any
    states: Any
    machine: str
    pictures_bucket: str
    artifacts_bucket: str
    sleep: Callable[[float], None] = time.sleep

    @classmethod
    def of(cls, deployment: Deployment) -> FolderJobs:
        """Raises `VisionstackError` when the stacks are not deployed."""
        storage = deployment.outputs(Stack.STORAGE)
        return cls(
            s3=deployment.client("s3"),
            states=deployment.client("stepfunctions"),
            machine=deployment.output(Stack.CLASSIFIER, Output.FOLDER_STATE_MACHINE),
            pictures_bucket=storage[Output.PICTURES_BUCKET],
            artifacts_bucket=storage[Output.ARTIFACTS_BUCKET],
        )

    def prefix_of(self, uri: str) -> str:
        """The prefix that an `s3://` URI names.

        Raises:
            UsageError: another bucket than the pictures bucket, or not below `pictures/`.
        """
        parts = urlsplit(uri)
        prefix = parts.path.lstrip("/")
        if parts.netloc != self.pictures_bucket or not prefix.startswith(PICTURES_PREFIX):
            raise UsageError(
                f"{uri} is not below s3://{self.pictures_bucket}/{PICTURES_PREFIX}, which is all "
                "that the function may read.",
                remedy="Copy the pictures there, or name a local folder with --job.",
            )
        return prefix

    def upload(
        self, pictures: Sequence[Path], *, run: str, done: Callable[[], object] = lambda: None
    ) -> Uploaded:
        """Put local pictures below a prefix of their own; one that cannot be read is a failure."""
        prefix = f"{UPLOADED_PREFIX}{run}/"
        keys = [f"{prefix}{n:06d}{path.suffix.lower()}" for n, path in enumerate(pictures)]

        def put(key: str, path: Path) -> Failure | None:
            suffix = path.suffix.lower()
            try:
                body = path.read_bytes()
            except OSError as error:
                message = f"{path} cannot be read: {error.strerror}."
                return Failure(file=str(path), code="unreadable", message=message)
            finally:
                done()
            self.s3.put_object(
                Bucket=self.pictures_bucket,
                Key=key,
                Body=body,
                ContentType=CONTENT_TYPES.get(suffix, "application/octet-stream"),
            )
            return None

        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="upload") as pool:
            failed = list(pool.map(put, keys, pictures))
        names = {
            key.removeprefix(PICTURES_PREFIX): str(path)
            for key, path, failure in zip(keys, pictures, failed, strict=True)
            if failure is None
        }
        failures = tuple(failure for failure in failed if failure is not None)
        if failures and not names:
            raise VisionstackError(failures[0].message, remedy="No picture is left to classify.")
        return Uploaded(prefix, names, failures)

    def run(
        self,
        prefix: str,
        *,
        run: str,
        names: Mapping[str, str] | None = None,
        progress: Callable[[int, int], object] = lambda answered, pictures: None,
    ) -> FolderReport:
        """Classify all below `prefix` and wait; `progress` gets answered and all.

        `names`: what failures call a `file_path` instead.

        Raises:
            VisionstackError: there is nothing below the prefix, or the job could not be run.
        """
        keys = [key for key in self._keys(self.pictures_bucket, prefix) if not key.endswith("/")]
        if not keys:
            raise VisionstackError(
                f"There is no picture below s3://{self.pictures_bucket}/{prefix}.",
                remedy="List it with `aws s3 ls`, or name a local folder with --job.",
            )
        self.s3.put_object(
            Bucket=self.artifacts_bucket,
            Key=f"{_results_prefix(run)}batches.json",
            Body=json.dumps(_batches(run, keys)).encode(),
            ContentType="application/json",
        )
        started = time.monotonic()
        execution = self.states.start_execution(
            stateMachineArn=self.machine,
            name=run,
            input=json.dumps({"run": run}),
        )["executionArn"]
        lines: dict[str, list[dict[str, Any]]] = {}
        while True:
            state = self.states.describe_execution(executionArn=execution)
            self._collect(run, lines)
            progress(sum(map(len, lines.values())), len(keys))
            if state["status"] != "RUNNING":
                break
            self.sleep(_POLL_SECONDS)
        seconds = time.monotonic() - started
        reason = "" if state["status"] == "SUCCEEDED" else _reason(state)
        by_path = {row["file_path"]: row for batch in lines.values() for row in batch}
        answers, failures = [], []
        for key in keys:
            path = key.removeprefix(PICTURES_PREFIX)
            row, file = by_path.get(path), (names or {}).get(path, path)
            if row is None:
                message = reason or "its batch failed; the map run has the reason"
                failures.append(Failure(file=file, code="no_answer", message=message))
            elif "code" in row:
                failures.append(Failure(file=file, code=row["code"], message=row["message"]))
            else:
                answers.append(row)
        return FolderReport(
            run=run,
            pictures=len(keys),
            answers=tuple(answers),
            failures=tuple(failures),
            results=f"s3://{self.artifacts_bucket}/{_results_prefix(run)}",
            seconds=seconds,
        )

    def _collect(self, run: str, lines: dict[str, list[dict[str, Any]]]) -> None:
        keys = self._keys(self.artifacts_bucket, _results_prefix(run))
        new = [key for key in keys if key not in lines and key.endswith(".jsonl")]

        def read(key: str) -> list[dict[str, Any]]:
            body = self.s3.get_object(Bucket=self.artifacts_bucket, Key=key)["Body"].read()
            return [json.loads(line) for line in body.splitlines()]

        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="results") as pool:
            lines.update(zip(new, pool.map(read, new), strict=True))

    def _keys(self, bucket: str, prefix: str) -> Iterator[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for page in pages:
            for item in page.get("Contents", []):
                yield item["Key"]


def new_run() -> str:
    """An id for a job: sortable by time, and its state machine's execution name."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:8]}"


def _batches(run: str, keys: Sequence[str]) -> list[dict[str, Any]]:
    """The function's events: all pictures, in order."""
    size = max(1, min(_LARGEST_BATCH, len(keys) // _FEWEST_BATCHES))
    return [
        {"method": "folder", "run": run, "items": [{"Key": key} for key in batch]}
        for batch in (keys[start : start + size] for start in range(0, len(keys), size))
    ]


def _results_prefix(run: str) -> str:
    return f"{RESULTS_PREFIX}folders/{run}/"


def _reason(state: dict[str, Any]) -> str:
    cause = state.get("cause") or state.get("error") or "no reason given"
    return f"the job {state['status'].lower()}: {str(cause)[:200]}"
