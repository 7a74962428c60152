"""Many calls at once, as in the paper's figures 12 and 13, on locust.

A step is a number of callers that all come at the same time and each make some calls in turn. Every
call is answered in the end or counted as lost; an answer that differs from what the same picture
got before counts as wrong.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runtime.measurement.statistics import summarize
from visionstack.classify.client import BackOff, Classification, ClassifierClient
from visionstack.errors import VisionstackError
from visionstack.paper_reference import reference

if TYPE_CHECKING:
    from visionstack.cloud.deployment import ClassifierApi

CALLERS: Final = "visionstack.classify.load_callers"
PATIENT: Final = BackOff(base=0.2, cap=20.0, deadline=1200.0)
"""With 1,500 callers for five environments, more frequent attempts only crowd out the answers."""


@dataclass(frozen=True, kw_only=True)
class LoadStep:
    """One step's outcome; times in seconds, `samples` one a call.

    Attributes:
        model: name, version and whether its weights are trained, as the service tells them.
        concurrency: callers at the same time.
        calls: calls made.
        answered, lost, wrong: what became of them; `wrong` are among the answered.
        throttled: attempts that found no room (429, 503, or the gateway's 500) and were made again.
        failed_attempts: attempts that met another error and were made again.
        cold: answered calls that waited for an environment's initialisation.
        seconds: from the first call to the last answer.
        throughput: answers a second.
        response: percentiles of the time from a call's first attempt to its answer.
        answer: percentiles of the answered attempt alone.
    """

    model: dict[str, Any]
    concurrency: int
    calls: int
    answered: int
    lost: int
    wrong: int
    throttled: int
    failed_attempts: int
    cold: int
    seconds: float
    throughput: float
    response: dict[str, Any]
    answer: dict[str, Any]
    samples: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """As the report holds it."""
        return asdict(self)


def run_steps(
    api: ClassifierApi,
    picture: Path,
    *,
    concurrencies: Iterable[int],
    repeats: int,
    back_off: BackOff = PATIENT,
) -> Iterator[LoadStep]:
    """Upload `picture` once, then run one step after another.

    Raises:
        VisionstackError: the service did not take the picture, or locust failed.
    """
    with ClassifierClient.at(api) as client:
        first = client.classify(picture)
    for concurrency in concurrencies:
        samples = _callers(
            api, first.file_path, callers=concurrency, repeats=repeats, back_off=back_off
        )
        yield summarise_step(
            samples, concurrency=concurrency, calls=concurrency * repeats, first=first
        )


def summarise_step(
    samples: list[dict[str, Any]], *, concurrency: int, calls: int, first: Classification
) -> LoadStep:
    """The figures of a step; an answer is wrong whose best class is not that of the `first`.

    Raises `VisionstackError` when nothing was answered.
    """
    answered = [sample for sample in samples if sample["status"] == 200]
    if not answered:
        codes = sorted({str(sample.get("code") or sample["status"]) for sample in samples})
        raise VisionstackError(
            f"None of {calls} calls was answered ({', '.join(codes) or 'no sample'}).",
            remedy="Try one with `visionstack classify`.",
        )
    started = min(sample["asked"] for sample in samples)
    seconds = max(sample["asked"] + sample["seconds"] for sample in answered) - started
    return LoadStep(
        model=first.model,
        concurrency=concurrency,
        calls=calls,
        answered=len(answered),
        lost=calls - len(answered),
        wrong=sum(sample["top"] != first.top[0].id for sample in answered),
        throttled=sum(sample["throttled"] for sample in samples),
        failed_attempts=sum(sample["failed"] for sample in samples),
        cold=sum(bool(sample["cold"]) for sample in answered),
        seconds=seconds,
        throughput=len(answered) / seconds,
        response=summarize([sample["seconds"] for sample in answered]).to_json(),
        answer=summarize([sample["answer_seconds"] for sample in answered]).to_json(),
        samples=tuple(round(sample["seconds"], 4) for sample in answered),
    )


def paper_reference() -> dict[str, Any]:
    """What the paper says of the same test; its figures 12 and 13 carry no printed numbers."""
    serverless = reference()["serverless_2020"]
    return {
        "kind": "paper",
        "figure_12": {
            **serverless["concurrency_test"],
            "claim": "response time grows in proportion to the calls at once; none fails",
        },
        "figure_13": {
            "memory_mb": serverless["memory_sweep_mb"],
            "claim": "below 768 MB much slower; between 1536 and 3008 MB hardly a difference",
        },
        "milliseconds": serverless["milliseconds"],
    }


def _callers(
    api: ClassifierApi, file_path: str, *, callers: int, repeats: int, back_off: BackOff
) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="visionstack-load-") as folder:
        out = Path(folder) / "samples.json"
        configuration = {
            "host": api.url,
            "key": api.key,
            "signed_by": api.cloud if api.signing is not None else None,
            "file_path": file_path,
            "callers": callers,
            "repeats": repeats,
            **asdict(back_off),
            "out": str(out),
        }
        done = subprocess.run(
            [sys.executable, "-m", CALLERS],
            env={**os.environ, "VISIONSTACK_LOAD": json.dumps(configuration)},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if not out.exists():
            raise VisionstackError(
                f"locust ended with {done.returncode}: {done.stderr.strip()[-400:]}",
                remedy="Run the same with fewer calls at once.",
            )
        samples: list[dict[str, Any]] = json.loads(out.read_text())
        return samples
