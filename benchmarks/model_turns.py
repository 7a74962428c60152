"""Tried, promoted and rolled back under load, on an embedded cloud deployed by cdk as for a user.

Lane after lane: the classifier under 20 calls/s that start on time whether or not others were
answered, the detector under three streams of 10 frames/s. Each turn tries the second version on a
share of the pictures and of the streams, promotes it, and rolls back; each change is waited for
until every answer is by the version that its picture or stream should have. Counted: calls and
frames without an answer (lost), with an error (failed), with one version's name or labels on the
other's answer (mixed), and, where calls wait for the current version, answers by another one than
the picture's when the call began or since (stale).
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np

from benchmarks import _turning_models as models
from benchmarks._results import Results, table
from benchmarks._serverless_cloud import embedded_cloud
from runtime.contract import Output, Route, Stack
from runtime.inference.artifact import Artifact
from runtime.inference.store import Canary
from visionstack.cloud.deployment import Deployment, StreamEndpoint
from visionstack.deploy.local import deploy
from visionstack.models.publishing import publish
from visionstack.models.versions import Versions
from visionstack.paths import MODELS
from visionstack.stream.client import AsyncStreamClient
from visionstack.stream.types import StreamResult

CALLS_PER_SECOND: Final = 20
MOST_CALLS: Final = 12
"""Under way at once. Each is an environment more, whose start takes seconds of a processor on the
embedded cloud: a machine that falls behind once would never catch up. AWS has its own."""
STREAMS: Final = 3
FRAMES_PER_SECOND: Final = 10
SHARE: Final = 0.5
"""Of a version that is tried."""
AFTER_A_CHANGE_S: Final = 3.0
"""Load that goes on once a change was followed, before the next."""
WAITING = (True, False)
"""Whether calls wait for the current version; streams are tried beside the first."""
PATIENCE_S: Final = 100.0
"""A change that was not followed after this long counts as never followed."""
_RECENT: Final = 200
"""Answers that are looked at to see whether a change was followed: several seconds' worth."""
_CONTEXT: Final = {
    "classifier_model": models.CLASSIFIER,
    "stream_model": models.DETECTOR,
    "cold_start": "none",
    "lambda_memory_mib": 1769,
    "drain_seconds": 30,
}


Want = Callable[[str], str]
"""The version by which a key is to be answered."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one call or frame; `version` is what the answer says, "" where it failed."""

    source: int
    sent: float
    done: float
    version: str
    key: str = ""
    """By it a version that is tried answers or not: the picture's hash, the stream's number."""
    mixed: bool = False
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One change of the current version: when it was made, and how long until all followed."""

    action: str
    want: Want
    began: float
    made: float
    followed_s: float | None


@dataclass
class Load:
    """What was sent and answered so far."""

    sources: int
    sent: int = 0
    late: int = 0
    """Calls that began after the next one was due, since `MOST_CALLS` were under way."""
    answers: list[Answer] = field(default_factory=list)

    def follows(self, want: Want, since: float) -> bool:
        """Whether each source's last answer to what was sent since then is by its version."""
        last: dict[int, Answer] = {}
        for answer in self.answers[-_RECENT:]:
            if answer.sent >= since:
                last[answer.source] = answer
        return len(last) == self.sources and all(
            one.version == want(one.key) for one in last.values()
        )


def main(out: Path, quick: bool) -> None:
    """Ten turns a lane; two with `quick`, where only calls that wait are tried."""
    results = Results(
        out / "model_turns.json", title="Promotions and rollbacks under load", quick=quick
    )
    turns = 2 if quick else 10
    with _versions() as made, embedded_cloud():
        rows = []
        for waiting in WAITING[:1] if quick else WAITING:
            context = {**_CONTEXT, "wait_for_current_model": waiting}
            deployed = deploy(context=context)
            name = "calls that wait" if waiting else "calls that don't wait"
            lane = _classifier(
                deployed.deployment, made, turns=turns if waiting else 2, waiting=waiting
            )
            results.values[name] = lane
            rows.append({"lane": name, **lane["counts"]})
            results.save()
            if waiting:
                lane = _detector(deployed.deployment, deployed.stream, made, turns=turns)
                results.values["streams"] = lane
                rows.append({"lane": "streams", **lane["counts"]})
                results.save()
    print(table(rows))


@contextmanager
def _versions() -> Iterator[dict[str, list[Artifact]]]:
    """Both models' versions among the built ones, the first of them current; removed at the end."""
    homes = [MODELS / models.CLASSIFIER, MODELS / models.DETECTOR]
    try:
        made: dict[str, list[Artifact]] = {}
        for name, make in (
            (models.CLASSIFIER, models.classifier),
            (models.DETECTOR, models.detector),
        ):
            # What is written last is what a deployment takes.
            made[name] = [make(version, root=MODELS) for version in reversed(models.VERSIONS)][::-1]
        yield made
    finally:
        for home in homes:
            shutil.rmtree(home, ignore_errors=True)


def _published(deployment: Deployment, name: str, made: dict[str, list[Artifact]]) -> Versions:
    client = deployment.client("s3")
    bucket = deployment.output(Stack.STORAGE, Output.ARTIFACTS_BUCKET)
    publish(made[name][1], client=client, bucket=bucket, promote=False)
    versions = Versions(client, bucket, name)
    versions.promote(made[name][0].manifest.version, anyway=True)
    return versions


# The classifier.


def _classifier(
    deployment: Deployment, made: dict[str, list[Artifact]], *, turns: int, waiting: bool
) -> dict[str, Any]:
    versions = _published(deployment, models.CLASSIFIER, made)
    names = [artifact.manifest.version for artifact in made[models.CLASSIFIER]]
    api = deployment.classifier_api()
    load = Load(sources=1)
    pictures = models.pictures()

    async def run() -> list[Turn]:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=50)
        async with httpx.AsyncClient(
            timeout=60, headers={"x-api-key": api.key}, limits=limits
        ) as client:
            await _warmed(client, api.url, names)

            under_way = asyncio.Semaphore(MOST_CALLS)

            async def call() -> None:
                load.sent += 1
                due = time.perf_counter()
                async with under_way:
                    sent = time.perf_counter()
                    load.late += sent - due > 1 / CALLS_PER_SECOND
                    picture = pictures[load.sent % len(pictures)]
                    load.answers.append(await _called(client, api.url, names, sent, picture))

            async def call_on_time() -> None:
                async with asyncio.TaskGroup() as calls:
                    began = time.perf_counter()
                    number = 0
                    while not done.is_set():
                        calls.create_task(call())
                        number += 1
                        ahead = began + number / CALLS_PER_SECOND - time.perf_counter()
                        await asyncio.sleep(max(ahead, 0))

            done = asyncio.Event()
            calling = asyncio.create_task(call_on_time())
            try:
                took = await _turned(versions, names, load, turns=turns, settle=_all_new)
                done.set()
                await calling
                return took
            finally:
                calling.cancel()

    took = asyncio.run(run())
    return _told(load, took, waiting=waiting)


async def _warmed(client: httpx.AsyncClient, url: str, names: list[str]) -> None:
    """Environments for as many calls at once as the load has when nothing is slow: what a first
    start takes is no part of a turn."""
    for at_once in (1, 1, 2, 2, 3, 3):
        began = time.perf_counter()
        answers = await asyncio.gather(
            *(_called(client, url, names, began, models.picture()) for _ in range(at_once))
        )
        for answer in answers:
            if answer.trouble:
                print(f"warming up: {answer.trouble}", flush=True)
        took = (time.perf_counter() - began) * 1000
        print(f"warming up: {at_once} at once in {took:.0f} ms", flush=True)


async def _called(
    client: httpx.AsyncClient, url: str, names: list[str], sent: float, picture: bytes
) -> Answer:
    key = hashlib.sha256(picture).hexdigest()
    try:
        response = await client.post(
            url + Route.RECOGNITIONS,
            content=picture,
            headers={"content-type": "image/jpeg"},
        )
    except httpx.HTTPError as error:
        return Answer(0, sent, time.perf_counter(), "", trouble=repr(error))
    done = time.perf_counter()
    if response.status_code != 200:
        return Answer(0, sent, done, "", trouble=f"{response.status_code} {response.text[:200]}")
    body = response.json()
    version = body["model"]["version"]
    right = version in names and body["TOP1_ID"] == models.product(names.index(version))
    return Answer(0, sent, done, version, key, mixed=not right)


def _all_new(load: Load, want: Want, since: float) -> bool:
    """The calls of a whole second, all by their version; environments follow each by itself."""
    now = time.perf_counter()
    recent = [one for one in load.answers[-_RECENT:] if one.sent >= max(since, now - 2)]
    return len(recent) >= CALLS_PER_SECOND and all(one.version == want(one.key) for one in recent)


# The detector.


def _detector(
    deployment: Deployment,
    endpoint: StreamEndpoint,
    made: dict[str, list[Artifact]],
    *,
    turns: int,
) -> dict[str, Any]:
    versions = _published(deployment, models.DETECTOR, made)
    names = [artifact.manifest.version for artifact in made[models.DETECTOR]]
    load = Load(sources=STREAMS)

    async def run() -> list[Turn]:
        done = asyncio.Event()
        streams = [
            asyncio.create_task(_stream(endpoint, number, names, load, done))
            for number in range(STREAMS)
        ]
        try:
            turning = asyncio.create_task(
                _turned(versions, names, load, turns=turns, settle=Load.follows)
            )
            # A stream that ends before its time is an error of the run.
            await asyncio.wait([turning, *streams], return_when=asyncio.FIRST_COMPLETED)
            if not turning.done():
                turning.cancel()
                await asyncio.gather(*streams)
            return await turning
        finally:
            done.set()
            await asyncio.gather(*streams, return_exceptions=True)

    took = asyncio.run(run())
    return _told(load, took, waiting=False)


async def _stream(
    endpoint: StreamEndpoint, number: int, names: list[str], load: Load, done: asyncio.Event
) -> None:
    async def frames() -> Any:
        began = time.perf_counter()
        count = 0
        while not done.is_set():
            count += 1
            load.sent += 1
            yield models.picture()
            await asyncio.sleep(max(began + count / FRAMES_PER_SECOND - time.perf_counter(), 0))

    async with AsyncStreamClient(endpoint, policy="lossless") as client:
        key = client.server.session[:8]
        async for answer in client.stream(frames()):
            now = time.perf_counter()
            if not isinstance(answer, StreamResult):
                load.answers.append(Answer(number, now, now, "", trouble=repr(answer)))
                continue
            sent = now - answer.latency.total / 1000
            mixed = is_mixed(answer, names)
            load.answers.append(Answer(number, sent, now, answer.version, key, mixed=mixed))


def is_mixed(answer: StreamResult, names: list[str]) -> bool:
    """Whether the detection is of another version than the answer says."""
    if answer.version not in names or len(answer.detections) != 1:
        return True
    version = names.index(answer.version)
    (found,) = answer.detections
    return (
        found.label != models.label(version)
        or found.class_id != version
        or not np.allclose(found.box, models.BOXES[version], atol=0.5)
    )


# Both.


async def _turned(
    versions: Versions,
    names: list[str],
    load: Load,
    *,
    turns: int,
    settle: Callable[[Load, Want, float], bool],
) -> list[Turn]:
    old, new = names
    canary = Canary(new, SHARE)
    some: Want = lambda key: new if canary.takes(key) else old  # noqa: E731
    await _until(lambda: settle(load, lambda _: old, 0.0))
    took: list[Turn] = []
    for _ in range(turns):
        for action, expected, change in (
            ("canary", some, lambda: versions.try_on(*canary, anyway=True)),
            ("promote", lambda _: new, lambda: versions.promote(new, anyway=True)),
            ("rollback", lambda _: old, versions.rollback),
        ):
            began = time.perf_counter()
            await asyncio.to_thread(change)
            made = time.perf_counter()
            good = await _until(lambda made=made, v=expected: settle(load, v, made))  # type: ignore[misc]
            took.append(Turn(action, expected, began, made, _followed(load, expected, made, good)))
            await asyncio.sleep(AFTER_A_CHANGE_S)
    return took


def _followed(load: Load, want: Want, made: float, good: bool) -> float | None:
    """Seconds from the change to the last answer, of any source, by what was current before."""
    if not good:
        return None
    old = [
        one.done - made for one in load.answers if one.done > made and one.version != want(one.key)
    ]
    return max([0.0, *old])


async def _until(condition: Callable[[], bool]) -> bool:
    ends = time.perf_counter() + PATIENCE_S
    while time.perf_counter() < ends:
        if condition():
            return True
        await asyncio.sleep(0.05)
    return False


def _told(load: Load, turns: list[Turn], *, waiting: bool) -> dict[str, Any]:
    took = {
        action: [turn.followed_s for turn in turns if turn.action == action]
        for action in ("canary", "promote", "rollback")
    }
    failed = [one.trouble for one in load.answers if one.trouble]
    latencies = [(one.done - one.sent) * 1000 for one in load.answers if not one.trouble]
    counts: dict[str, Any] = {
        "changes": len(turns),
        "sent": load.sent,
        "late": load.late,
        "lost": load.sent - len(load.answers),
        "failed": len(failed),
        "mixed": sum(one.mixed for one in load.answers),
        "stale": _stale(load, turns) if waiting else "",
        "p50_ms": float(np.percentile(latencies, 50)),
        "p99_ms": float(np.percentile(latencies, 99)),
        "worst_ms": max(latencies),
    }
    for action, seconds in took.items():
        known = [one for one in seconds if one is not None]
        counts[f"{action}_followed_s"] = float(np.median(known)) if known else "never"
        counts[f"{action}_worst_s"] = max(known) if len(known) == len(seconds) else "never"
    return {
        "counts": counts,
        "followed_s": took,
        "failures": failed[:20],
        "latencies_ms": [round(one, 2) for one in latencies],
    }


def _stale(load: Load, turns: list[Turn]) -> int:
    """Answers to calls made after a change and before the next, by another version."""
    count = 0
    for turn, following in zip(turns, [*turns[1:], None], strict=True):
        ends = following.began if following else float("inf")
        count += sum(
            turn.made <= one.sent and one.done <= ends and one.version != turn.want(one.key)
            for one in load.answers
            if not one.trouble
        )
    return count
