"""The model that an environment serves: fetched, checked, loaded, and replaced while it serves."""

from __future__ import annotations

import importlib
import io
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from runtime.classifier.errors import ModelUnavailableError
from runtime.inference.artifact import Artifact
from runtime.inference.errors import InferenceError
from runtime.inference.store import ModelStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runtime.inference.classification import Prediction

REFRESH_SECONDS: Final = 60.0
"""How old the knowledge of the `current` pointer may get before a call asks again."""


class PictureClassifier(Protocol):
    """The stages of `runtime.inference.classification.Classifier`."""

    def prepare(self, data: bytes) -> Any:
        """Decode and crop. Raises `runtime.inference.errors.PictureError` kinds."""
        ...

    def infer(self, batch: Sequence[Any]) -> Any:
        """Logits, a row a picture."""
        ...

    def rank(self, logits: Any) -> list[Prediction]:
        """Best first."""
        ...


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A loaded model and what answers say about it. Times in milliseconds.

    `optimised`: loaded for fast calls, and not for a fast start.
    """

    classifier: PictureClassifier
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


class ModelSource(Protocol):
    """Where models come from. Methods raise `runtime.inference.errors.InferenceError` kinds."""

    def current_version(self) -> str:
        """The version to serve now."""
        ...

    def load(self, version: str, *, optimised: bool) -> ServedModel:
        """Fetch, check and load it: `optimised` for fast calls, else for a fast start."""
        ...


class S3ModelSource:
    """Published models, pulled to a scratch folder; libraries are imported during the download."""

    def __init__(
        self, store: ModelStore, *, name: str, scratch: Path, engine: str, threads: int
    ) -> None:
        self._store = store
        self._name = name
        self._scratch = scratch
        self._engine = engine
        self._threads = threads

    def current_version(self) -> str:
        """One small GET."""
        return self._store.current_version(self._name)

    def load(self, version: str, *, optimised: bool) -> ServedModel:
        """Pull and load; the hashes are checked on the way in.

        The files go to a folder of their own that is removed when the engine has them: what it
        mapped stays readable, /tmp stays empty, and no two environments share a download.
        """
        started = time.perf_counter()
        with (
            tempfile.TemporaryDirectory(prefix="model-", dir=self._scratch) as folder,
            ThreadPoolExecutor(1, thread_name_prefix="model-pull") as pool,
        ):
            pulling = pool.submit(self._store.pull, self._name, Path(folder), version=version)
            _import_engine(self._engine)
            artifact = pulling.result()
            return _served(
                artifact,
                engine=self._engine,
                threads=self._threads,
                optimised=optimised,
                download_ms=(time.perf_counter() - started) * 1000,
            )


class PackagedModelSource:
    """The model inside the function's own package (`model-in-package`)."""

    def __init__(self, folder: Path, *, name: str, engine: str, threads: int) -> None:
        self._folder = folder / name
        self._engine = engine
        self._threads = threads

    def current_version(self) -> str:
        """What the file `current` says."""
        try:
            return (self._folder / "current").read_text("utf-8").strip()
        except OSError as error:
            raise InferenceError(
                f"the package has no model at {self._folder}: {error.strerror}"
            ) from error

    def load(self, version: str, *, optimised: bool) -> ServedModel:
        """Check and load."""
        artifact = Artifact.load(self._folder / version)
        return _served(
            artifact,
            engine=self._engine,
            threads=self._threads,
            optimised=optimised,
            download_ms=0.0,
        )


class ModelHost:
    """Serves one model; loads the new one before it drops the old, and keeps the old on failure."""

    def __init__(
        self,
        source: ModelSource,
        *,
        clock: Callable[[], float] = time.monotonic,
        refresh_seconds: float = REFRESH_SECONDS,
        may_optimise: Callable[[], bool] = lambda: True,
    ) -> None:
        """`may_optimise` says whether there is memory for the served model to be loaded again."""
        self._may_optimise = may_optimise
        self._source = source
        self._clock = clock
        self._refresh_seconds = refresh_seconds
        self._lock = threading.Lock()
        self._served: ServedModel | None = None
        self._checked_at = float("-inf")
        self.last_failure: str | None = None

    def current(self, *, optimised: bool = False) -> ServedModel:
        """The model, loaded now if no earlier attempt succeeded.

        Args:
            optimised: nobody waits for this load, so it may take its time for faster calls.

        Raises:
            ModelUnavailableError: saying why.
        """
        served = self._served
        if served is not None:
            return served
        with self._lock:
            if self._served is None:
                try:
                    self._served = self._source.load(
                        self._source.current_version(), optimised=optimised
                    )
                except InferenceError as error:
                    self.last_failure = error.message
                    raise ModelUnavailableError(error.message) from error
                self._checked_at = self._clock()
                self.last_failure = None
            return self._served

    def refresh(self, *, at_once: bool = False) -> None:
        """Look for a newer model, every `refresh_seconds` or now; a bad one changes nothing.

        A model that was loaded for a fast start is replaced by the same one loaded for fast calls:
        an environment that lives on gets it at its first look.
        """
        served = self._served
        due = at_once or self._clock() - self._checked_at > self._refresh_seconds
        if served is None or not due or not self._lock.acquire(blocking=False):
            return
        try:
            self._checked_at = self._clock()
            version = self._source.current_version()
            optimises = not served.optimised and self._may_optimise()
            if version != served.version or optimises:
                self._served = self._source.load(version, optimised=True)
            self.last_failure = None
        except InferenceError as error:
            self.last_failure = error.message
        finally:
            self._lock.release()

    def restored(self) -> None:
        """A snapshot came to life: it may be days old, so the next call asks for a newer model."""
        self._checked_at = float("-inf")

    def refresh_in_background(self) -> None:
        """As `refresh`, beside the call that is going on."""
        if self._clock() - self._checked_at > self._refresh_seconds:
            threading.Thread(target=self.refresh, name="model-refresh", daemon=True).start()


def _served(
    artifact: Artifact, *, engine: str, threads: int, optimised: bool, download_ms: float
) -> ServedModel:
    from runtime.inference.classification import Classifier

    started = time.perf_counter()
    classifier = Classifier.load(artifact, engine=engine, threads=threads, optimised=optimised)
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
        or artifact.ready_path is None,
    )


def _import_engine(engine: str) -> None:
    """Import what loading will need, while the model is under way."""
    from runtime.inference.engines import choose_engine

    importlib.import_module(choose_engine(engine))
    importlib.import_module("runtime.inference.classification")
    # Pillow would load its readers with the first picture.
    importlib.import_module("PIL.Image").preinit()
