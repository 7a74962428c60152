"""The models that a server serves: where they come from, and going over to a new version.

A new version is loaded and warmed beside the old one and then takes its place between two frames;
frames that arrived before are still answered by the version that was current then. A version that
cannot be loaded is refused, and the old one goes on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from runtime.backoff import doubled
from runtime.inference.artifact import check_name
from runtime.inference.detector import Detector
from runtime.inference.engines.processor import usable_processors
from runtime.inference.errors import InferenceError
from runtime.inference.pictures import Picture
from runtime.inference.store import Canary, Current, ModelStore
from runtime.protocol.options import ModelOffer
from runtime.streaming.errors import ModelUnavailableError

if TYPE_CHECKING:
    from runtime.inference.tracking import Detected
    from runtime.streaming.host.metrics import Metrics

log = logging.getLogger(__name__)

_ON_CPU = ("openvino", "onnxruntime")
_MOST_STREAMS = 8


class DetectorStages(Protocol):
    """The part of `runtime.inference.detector.Detector` that the pipeline uses."""

    def reduction(self, width: int, height: int) -> int: ...
    def prepare(self, image: Picture) -> Any: ...
    def infer(self, batch: Sequence[Any]) -> Sequence[Any]: ...
    def finish(
        self, raw: Any, prepared: Any, *, confidence: float, iou: float
    ) -> Sequence[Detected]: ...


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """One version of one model, loaded."""

    offer: ModelOffer
    detector: DetectorStages
    max_batch: int = 1
    revision: int = 0
    parallel: DetectorStages | None = None
    """The same network for `streams` calls side by side. One call keeps several processors less
    busy than several calls with a processor each, but is over sooner: it is for a lone frame."""
    streams: int = 1


class ModelSource(Protocol):
    """Where models come from. Both methods may take seconds and are called off the event loop."""

    def wanted(self, name: str) -> Current:
        """The version to serve, and the one to try beside it. Raises ModelUnavailableError."""
        ...

    def load(self, name: str, version: str) -> LoadedModel:
        """Raises ModelUnavailableError, whatever went wrong: damaged, disk full, no such engine."""
        ...


@dataclass(eq=False)
class ModelHost:
    """One name in the handshake; which versions answer may change while it is served."""

    current: LoadedModel
    canary: tuple[LoadedModel, Canary] | None = None
    """What is tried beside it, and on which streams."""
    _revision: int = field(default=0, repr=False)
    """The last that was given to a model of this name."""

    @property
    def name(self) -> str:
        return self.current.offer.name

    @property
    def loaded(self) -> dict[str, LoadedModel]:
        """By version."""
        models = (self.current, self.canary[0]) if self.canary else (self.current,)
        return {model.offer.version: model for model in models}

    def model_for(self, stream: str) -> LoadedModel:
        """By which version the stream of this number is answered now."""
        canary = self.canary
        return canary[0] if canary and canary[1].takes(stream) else self.current

    def replace(self, model: LoadedModel) -> None:
        self.current = self.numbered(model)

    def numbered(self, model: LoadedModel) -> LoadedModel:
        """The model with a revision that none of this name had."""
        self._revision += 1
        return replace(model, revision=self._revision)


class ArtifactSource:
    """Model artifacts in a folder, pulled there from S3 first when a bucket is given."""

    def __init__(
        self,
        *,
        folder: Path,
        engine: str,
        precision: str = "auto",
        bucket: str | None = None,
        max_batch: int | None = None,
    ) -> None:
        self._folder = folder
        self._engine = engine
        self._precision = precision
        self._bucket = bucket
        self._max_batch = max_batch
        self._loaded: dict[str, str] = {}
        """The version of each model that was loaded last, which a rollback goes back to."""
        self._wanted: dict[str, Current] = {}

    def wanted(self, name: str) -> Current:
        try:
            if self._bucket is not None:
                self._wanted[name] = self._store.current(name)
                return self._wanted[name]
            text = (self._folder / name / "current").read_bytes().decode("utf-8", "replace")
            return Current(check_name(text.strip(), what="model version"))
        except OSError as error:
            raise ModelUnavailableError(
                f"There is no model {name} in {self._folder} ({error.strerror}); "
                f"build it with `visionstack models build {name}`."
            ) from error
        except InferenceError as error:
            raise ModelUnavailableError(str(error)) from error

    def load(self, name: str, version: str) -> LoadedModel:
        try:
            if self._bucket is not None:
                source: Any = self._store.pull(name, self._folder, version=version)
            else:
                source = self._folder / name / version
            load = partial(Detector.load, source, engine=self._engine, precision=self._precision)
            detector = load()
            model = _model(detector, version=version, max_batch=self._max_batch)
            processors = usable_processors()
            if detector.engine.name in _ON_CPU and processors > 1:
                streams = max(2, min(processors // 2, _MOST_STREAMS))
                several = load(streams=streams)
                model = replace(model, parallel=several, streams=streams)
            warm(model)
            if self._bucket is not None:
                # A disk that is only a cache need not fill up with one version after another.
                wanted = _versions(self._wanted.get(name))
                kept = {version, self._loaded.get(name, version), *wanted}
                self._store.keep_only(kept, of=name, into=self._folder)
                self._loaded[name] = version
        except InferenceError as error:
            raise ModelUnavailableError(str(error)) from error
        except OSError as error:
            raise ModelUnavailableError(
                f"{name} {version} could not be brought to {self._folder}: {error}."
            ) from error
        except Exception as error:  # intact, and still not what the engine or the decoder expects
            raise ModelUnavailableError(
                f"{name} {version} fails at its first picture: {error!r}."
            ) from error
        return model

    @cached_property
    def _store(self) -> ModelStore:
        import boto3
        from botocore.config import Config

        # botocore's own limits let one call that hangs keep a new version away for five minutes.
        limits = Config(
            connect_timeout=5,
            read_timeout=15,
            retries={"mode": "standard", "total_max_attempts": 3},
        )
        client: Any = boto3.client("s3", config=limits)
        return ModelStore(client, self._bucket or "")


def _versions(wanted: Current | None) -> list[str]:
    if wanted is None:
        return []
    return [wanted.version, *([wanted.canary.version] if wanted.canary else [])]


def probe(model: LoadedModel, *, batch: int = 1) -> None:
    """Run a picture of our own through; whatever goes wrong with it is not a client's fault."""
    detector = model.detector
    prepared = detector.prepare(Picture.whole(np.zeros((480, 640, 3), np.uint8)))
    for raw in detector.infer([prepared] * batch):
        detector.finish(raw, prepared, confidence=0.5, iou=0.5)


def warm(model: LoadedModel) -> None:
    """Run one picture of each batch size through, so that no stream pays for a first time."""
    for size in range(1, model.max_batch + 1):
        probe(model, batch=size)
    if model.parallel is not None:
        prepared = model.parallel.prepare(Picture.whole(np.zeros((480, 640, 3), np.uint8)))
        for _ in range(model.streams):
            model.parallel.infer([prepared])


def _model(detector: Any, *, version: str, max_batch: int | None) -> LoadedModel:
    manifest, engine = detector.manifest, detector.engine
    offer = ModelOffer(
        name=manifest.name,
        version=version,
        weights_trained=manifest.weights.trained,
        weights=manifest.weights.description,
        engine=engine.name,
        precision=engine.precision,
        device=engine.device,
        labels=detector.labels,
    )
    if max_batch is None:
        # A GPU gains from batches; on a CPU one picture already takes every core.
        max_batch = 8 if engine.on_gpu else 1
    return LoadedModel(offer, detector, max_batch)


# The models that a server begins with. A new deployment has servers before anybody has published
# one: such a server listens, says on `/readyz` and in the log what it waits for, and serves then.


FIRST_WAIT_SECONDS: Final = 1.0
LONGEST_WAIT_SECONDS: Final = 30.0
"""Between two attempts; each delay is twice the one before."""
REMIND_SECONDS: Final = 600.0
"""The log says it again after this long, although nothing has changed."""


async def load_models(
    hosts: MutableMapping[str, ModelHost],
    source: ModelSource,
    names: Sequence[str],
    *,
    patient: bool,
    waiting: Callable[[str], None],
) -> None:
    """Put every named model into `hosts`.

    Args:
        hosts: By model name; filled in the order of `names`.
        source: Called off the event loop.
        names: The models to load.
        patient: Whether a model that is missing or cannot be loaded is tried again for ever.
        waiting: Told the reason after each failed attempt.

    Raises:
        ModelUnavailableError: a model cannot be loaded, unless `patient`.
    """
    for name in names:
        attempt, said, said_at = 0, "", 0.0
        while name not in hosts:
            try:
                version = (await asyncio.to_thread(source.wanted, name)).version
                hosts[name] = ModelHost(await asyncio.to_thread(source.load, name, version))
            except ModelUnavailableError as error:
                if not patient:
                    raise
                reason, now = str(error), time.monotonic()
                waiting(reason)
                if reason != said or now - said_at > REMIND_SECONDS:
                    log.warning("waiting for a model", extra={"model": name, "reason": reason})
                    said, said_at = reason, now
                await asyncio.sleep(
                    doubled(attempt, first=FIRST_WAIT_SECONDS, longest=LONGEST_WAIT_SECONDS)
                )
                attempt += 1
            else:
                log.info("model loaded", extra={"model": name, "version": version})


# Going over to a model's new version while frames keep coming.


RETRY_SECONDS: Final = 10.0
LONGEST_RETRY_SECONDS: Final = 600.0
"""A version that was refused is tried again after the first, each time after twice as long, up to
the second: S3 may have failed for a moment only, the disk may have room then."""


@dataclass(slots=True)
class _Refused:
    again: float
    """When it is tried again, by the monotonic clock."""
    attempt: int


class Follower:
    """Has the hosts serve what the source wants."""

    def __init__(
        self, hosts: Mapping[str, ModelHost], source: ModelSource, *, metrics: Metrics
    ) -> None:
        self._hosts = hosts
        self._source = source
        self._metrics = metrics
        self._refused: dict[tuple[str, str], _Refused] = {}
        """By a model's name and version."""

    async def watch(self, *, every: float) -> None:
        """Look for new versions for ever; returns at once when `every` (seconds) is 0."""
        while every > 0:
            await asyncio.sleep(every)
            await self.look()

    async def look(self) -> None:
        """Once."""
        for host in self._hosts.values():
            try:
                await self._look(host)
            except Exception:  # of one model; the others are looked after all the same
                log.exception("a model could not be looked after", extra={"model": host.name})

    async def _look(self, host: ModelHost) -> None:
        name = host.name
        try:
            wanted = await asyncio.to_thread(self._source.wanted, name)
        except ModelUnavailableError as error:
            log.warning("no news of a model", extra={"model": name, "reason": str(error)})
            return
        for known in list(self._refused):
            # Promoted again later, it is tried at once.
            if known[0] == name and known[1] not in _versions(wanted):
                del self._refused[known]
        # What is tried no more goes before another is loaded; what is promoted is there already.
        here, canary = host.loaded, wanted.canary
        tried = here.get(canary.version) if canary else None
        host.current = here.get(wanted.version, host.current)
        host.canary = (tried, canary) if canary and tried and tried is not host.current else None
        if wanted.version not in here:
            model = await self._load(name, wanted.version, instead_of=host.current)
            if model is None:
                return
            host.replace(model)
        if canary and tried is None:
            model = await self._load(name, canary.version, instead_of=host.current)
            tried = model and host.numbered(model)
        host.canary = (tried, canary) if canary and tried else None

    async def _load(
        self, name: str, version: str, *, instead_of: LoadedModel
    ) -> LoadedModel | None:
        """None where it cannot be had, or was not to be had just now."""
        key = name, version
        before = self._refused.get(key)
        if before is not None and time.monotonic() < before.again:
            return None
        try:
            model = await asyncio.to_thread(self._source.load, *key)
        except ModelUnavailableError as error:
            attempt = before.attempt + 1 if before else 0
            delay = doubled(attempt, first=RETRY_SECONDS, longest=LONGEST_RETRY_SECONDS)
            self._refused[key] = _Refused(time.monotonic() + delay, attempt)
            self._metrics.reloads.labels(name, "refused").inc()
            log.error(  # noqa: TRY400 - the message says all that is known
                "model version refused, going on with the old one",
                extra={
                    "model": name,
                    "version": version,
                    "serving": instead_of.offer.version,
                    "reason": str(error),
                    "again_in_seconds": delay,
                },
            )
            return None
        self._refused.pop(key, None)
        self._metrics.reloads.labels(name, "loaded").inc()
        log.info("model version loaded", extra={"model": name, "version": version})
        return model
