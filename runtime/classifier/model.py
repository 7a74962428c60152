"""The model that an environment serves: fetched, checked, loaded, and replaced while it serves."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from runtime.classifier.environment import room_for_a_picture
from runtime.classifier.errors import ModelUnavailableError
from runtime.inference.artifact import Artifact
from runtime.inference.errors import ArtifactMissingError, InferenceError
from runtime.inference.store import Current, ModelStore

if TYPE_CHECKING:
    from runtime.inference.classification import Classifier

REFRESH_SECONDS: Final = 60.0
"""How old the knowledge of the `current` pointer may get before a call asks again."""


class ServedModel(NamedTuple):
    """A loaded model and what answers say about it. Times in milliseconds.

    `optimised`: loaded for fast calls, and not for a fast start.
    """

    classifier: Classifier
    name: str
    version: str
    trained: bool
    engine: str
    precision: str
    download_ms: float
    load_ms: float
    optimised: bool

    def exercise(self) -> None:
        """One small picture through all stages, so that the first real one pays for no set-up."""
        from PIL import Image

        buffer = io.BytesIO()
        Image.new("RGB", (64, 64)).save(buffer, "JPEG")
        self.classifier.rank(self.classifier.infer([self.classifier.prepare(buffer.getvalue())])[0])


class Serving(NamedTuple):
    """The loaded models: the current version and, where one is tried, the canary."""

    model: ServedModel
    wanted: Current
    canary: ServedModel | None = None

    def model_for(self, picture: bytes) -> ServedModel:
        """By which version the picture is answered: the same one each time it comes."""
        if self.canary is None or self.wanted.canary is None:
            return self.model
        tried = self.wanted.canary.takes(hashlib.sha256(picture).hexdigest())
        return self.canary if tried else self.model

    @property
    def models(self) -> tuple[ServedModel, ...]:
        return (self.model,) if self.canary is None else (self.model, self.canary)


class ModelSource(Protocol):
    """Where models come from. Methods raise `runtime.inference.errors.InferenceError` kinds."""

    def packaged_version(self) -> str | None:
        """The version inside the function's own package, or None."""
        ...

    def wanted(self) -> Current:
        """The version to serve, the published one, and the one that is tried beside it."""
        ...

    def load(self, version: str, *, optimised: bool) -> ServedModel:
        """Fetch, check and load it: `optimised` for fast calls, else for a fast start."""
        ...


class PublishedModelSource:
    """Published models, a version of which the function's package may have brought along.

    What is published decides which version is current; the package saves its download. A model that
    was never published is current as it is packaged.
    """

    def __init__(
        self,
        store: ModelStore,
        *,
        packaged: Path,
        name: str,
        scratch: Path,
        engine: str,
        threads: int,
        memory_mb: int,
    ) -> None:
        """`packaged`: holds `{name}/current` and `{name}/{version}/`, or nothing. `memory_mb`: of
        the function, for models and pictures."""
        self._store = store
        self._packaged = packaged / name
        self._name = name
        self._scratch = scratch
        self._engine = engine
        self._threads = threads
        self._memory_mb = memory_mb

    def packaged_version(self) -> str | None:
        """What the file `current` in the package says."""
        try:
            return (self._packaged / "current").read_text("utf-8").strip()
        except FileNotFoundError:
            return None

    def wanted(self) -> Current:
        """One small GET."""
        try:
            return self._store.current(self._name)
        except ArtifactMissingError:
            packaged = self.packaged_version()
            if packaged is None:
                raise
            return Current(packaged)

    def load(self, version: str, *, optimised: bool) -> ServedModel:
        """From the package if it is there, else from S3."""
        if version == self.packaged_version():
            # Hashed when the package was built; Lambda checks the package and lets nobody write.
            artifact = Artifact.load(self._packaged / version, hashed=False)
            return self._served(artifact, optimised=optimised, download_ms=0.0)
        return self._pulled(version, optimised=optimised)

    def _pulled(self, version: str, *, optimised: bool) -> ServedModel:
        """Pull and load; the hashes are checked on the way in, and libraries imported meanwhile.

        The files go to a folder of their own that is removed when the engine has them: what it
        mapped stays readable, /tmp stays empty, and no two environments share a download.
        """
        import tempfile
        from concurrent.futures import ThreadPoolExecutor

        started = time.perf_counter()
        with (
            tempfile.TemporaryDirectory(prefix="model-", dir=self._scratch) as folder,
            ThreadPoolExecutor(1, thread_name_prefix="model-pull") as pool,
        ):
            pulling = pool.submit(self._store.pull, self._name, Path(folder), version=version)
            _import_engine(self._engine)
            artifact = pulling.result()
            download_ms = (time.perf_counter() - started) * 1000
            return self._served(artifact, optimised=optimised, download_ms=download_ms)

    def _served(self, artifact: Artifact, *, optimised: bool, download_ms: float) -> ServedModel:
        from runtime.inference.classification import Classifier

        started = time.perf_counter()
        classifier = Classifier.load(
            artifact, engine=self._engine, threads=self._threads, optimised=optimised
        )
        limits = classifier.limits
        room = min(limits.decoded_bytes, room_for_a_picture(self._memory_mb))
        classifier.limits = limits._replace(decoded_bytes=room)
        return ServedModel(
            classifier=classifier,
            name=artifact.manifest.name,
            version=artifact.manifest.version,
            trained=artifact.manifest.weights.trained,
            engine=classifier.engine.name,
            precision=classifier.engine.precision,
            download_ms=download_ms,
            load_ms=(time.perf_counter() - started) * 1000,
            # Nothing else has a faster start to give.
            optimised=optimised
            or classifier.engine.name != "onnxruntime"
            or classifier.engine.precision == "int8"
            or artifact.ready_path is None,
        )


class ModelHost:
    """Serves one model; loads the new one before it drops the old, and keeps the old on failure.

    A canary is loaded beside it, and answers its share of the pictures once it is there.
    """

    def __init__(
        self,
        source: ModelSource,
        *,
        clock: Callable[[], float] = time.monotonic,
        refresh_seconds: float = REFRESH_SECONDS,
        wait_for_current: bool = False,
        may_optimise: Callable[[], bool] = lambda: True,
    ) -> None:
        """Nothing is loaded yet.

        Args:
            source: where models come from.
            clock: seconds.
            refresh_seconds: how old the knowledge of the current version may get.
            wait_for_current: every call asks which version is current and waits for it, instead
                of being answered by the packaged or an older one meanwhile. One that cannot be had
                is waited for once in `refresh_seconds`; calls between are answered by what is here.
            may_optimise: whether there is memory for another model beside the served one: the same
                loaded again, or a canary.
        """
        self._source = source
        self._clock = clock
        self._refresh_seconds = refresh_seconds
        self._wait_for_current = wait_for_current
        self._may_optimise = may_optimise
        self._lock = threading.Lock()
        self._serving: Serving | None = None
        self._checked_at = float("-inf")
        self._loaded_at = float("-inf")
        self._refused: dict[str, float] = {}
        """The versions that could not be had when they were tried last, and when that was."""
        self.last_failure: str | None = None

    def load(self) -> None:
        """Have a model, whichever; nothing is asked when there is one.

        Raises:
            ModelUnavailableError: saying why.
        """
        if self._serving is None:
            self.serving()

    def current(self, *, optimised: bool = False) -> ServedModel:
        """The current version's model. As `serving`."""
        return self.serving(optimised=optimised).model

    def serving(self, *, optimised: bool = False) -> Serving:
        """What answers a call, loaded now if no earlier attempt succeeded.

        Args:
            optimised: nobody waits for this load, so it may take its time for the current version
                and for faster calls.

        Raises:
            ModelUnavailableError: saying why.
        """
        serving = self._serving
        if serving is None:
            serving = self._begin(optimised=optimised)
            if serving.wanted.canary is None:
                return serving
        if self._wait_for_current:
            self.refresh(awaited=True)
        elif optimised:
            self.refresh(at_once=True)
        return self._serving or serving

    def _begin(self, *, optimised: bool) -> Serving:
        with self._lock:
            if self._serving is None:
                self._serving = self._first(optimised=optimised)
                self._loaded_at = self._clock()
            return self._serving

    def _first(self, *, optimised: bool) -> Serving:
        """The packaged version, or the current one first where that may be waited for."""
        finding = [self._packaged, self._ask]
        if optimised or self._wait_for_current:
            finding.reverse()
        failure: InferenceError | None = None
        for find in finding:
            wanted = None
            try:
                wanted = find()
                if wanted is not None:
                    served = self._source.load(wanted.version, optimised=optimised)
                    self.last_failure = failure.message if failure is not None else None
                    return Serving(served, wanted)
            except InferenceError as error:
                failure = error
                if wanted is not None:
                    self._refused[wanted.version] = self._clock()
        message = failure.message if failure is not None else "there is no model"
        self.last_failure = message
        raise ModelUnavailableError(message) from failure

    def _packaged(self) -> Current | None:
        version = self._source.packaged_version()
        return None if version is None else Current(version)

    def _ask(self) -> Current:
        """What is current; the question is noted, so that it is not asked at every call."""
        self._checked_at = self._clock()
        return self._source.wanted()

    def refresh(self, *, at_once: bool = False, awaited: bool = False) -> None:
        """Look for a newer model, every `refresh_seconds` or now; a bad one changes nothing.

        A model that was loaded for a fast start is replaced by the same one loaded for fast calls
        too: an environment that lives on gets it after `refresh_seconds`. Not when a call waits
        (`awaited`), which asks each time, and waits for a refresh that is under way instead of
        passing it by.
        """
        if not (at_once or self._due(awaited=awaited)):
            return
        if not self._lock.acquire(blocking=awaited):
            return
        try:
            serving = self._serving
            if serving is None:
                return
            ask = at_once or awaited or self._old(self._checked_at)
            wanted = self._ask() if ask else serving.wanted
            again = (
                not awaited
                and not serving.model.optimised
                and (at_once or self._old(self._loaded_at))
            )
            if again:
                self._loaded_at = self._clock()
            self._follow(serving, wanted, again=again, awaited=awaited)
        except InferenceError as error:
            if error.message != self.last_failure:
                line = {"level": "WARNING", "message": f"model: {error.message}"}
                print(json.dumps(line), file=sys.stderr)
            self.last_failure = error.message
        finally:
            self._lock.release()

    def _follow(self, serving: Serving, wanted: Current, *, again: bool, awaited: bool) -> None:
        """Have the wanted models; each takes its place as soon as it is there."""
        self._refused = {
            version: since
            for version, since in self._refused.items()
            if version in (wanted.version, wanted.canary and wanted.canary.version)
        }
        here = {model.version: model for model in serving.models}
        model, canary = serving.model, here.get(wanted.canary.version) if wanted.canary else None
        # What is not wanted any more goes before another is loaded beside the current one. That
        # one may be the canary of before, promoted.
        model = here.get(wanted.version, model)
        self._serving = Serving(model, wanted, canary if canary is not model else None)
        again = again and model is serving.model and canary is None and self._may_optimise()
        if model.version != wanted.version or again:
            loaded = self._load(wanted.version, awaited=awaited)
            if loaded is None:
                return
            model = loaded
            self._serving = Serving(model, wanted, canary)
        if wanted.canary and canary is None:
            if not self._may_optimise():
                # The system would end the environment, and the calls in it.
                raise InferenceError(
                    f"version {wanted.canary.version} is not tried: this function has no memory "
                    "for two models; raise lambda_memory_mib"
                )
            canary = self._load(wanted.canary.version, awaited=awaited)
            if canary is None:
                return
            self._serving = Serving(model, wanted, canary)
        self.last_failure = None

    def _load(self, version: str, *, awaited: bool) -> ServedModel | None:
        """None where a call would wait again for what could not be had just now."""
        if awaited and not self._old(self._tried_at(version)):
            return None
        self._refused[version] = self._clock()  # unless it is loaded
        model = self._source.load(version, optimised=not awaited)
        self._loaded_at = self._clock()
        del self._refused[version]
        return model

    def restored(self) -> None:
        """A snapshot came to life: it may be days old, so the next call asks for a newer model."""
        self._checked_at = float("-inf")

    def refresh_in_background(self) -> None:
        """As `refresh`, beside the call that is going on."""
        if self._due():
            threading.Thread(target=self.refresh, name="model-refresh", daemon=True).start()

    def _due(self, *, awaited: bool = False) -> bool:
        serving = self._serving
        if serving is None:
            return False
        if awaited:
            return True
        canary = serving.wanted.canary
        if canary and serving.canary is None and self._old(self._tried_at(canary.version)):
            return True
        settled = serving.model.optimised
        return self._old(self._checked_at) or (not settled and self._old(self._loaded_at))

    def _tried_at(self, version: str) -> float:
        return self._refused.get(version, float("-inf"))

    def _old(self, moment: float) -> bool:
        return self._clock() - moment > self._refresh_seconds


def _import_engine(engine: str) -> None:
    """Import what loading will need, while the model is under way."""
    from runtime.inference.engines import choose_engine

    importlib.import_module(choose_engine(engine))
    importlib.import_module("runtime.inference.classification")
    # Pillow would load its reader with the first picture.
    importlib.import_module("PIL.JpegImagePlugin")
