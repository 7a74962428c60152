"""The model that an environment serves: fetched, checked, loaded, and replaced while it serves."""

from __future__ import annotations

import importlib
import io
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from runtime.classifier.errors import ModelUnavailableError
from runtime.inference.artifact import Artifact
from runtime.inference.errors import ArtifactMissingError, InferenceError
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


class ServedModel(NamedTuple):
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

    def packaged_version(self) -> str | None:
        """The version inside the function's own package, or None."""
        ...

    def current_version(self) -> str:
        """The version to serve: the published one."""
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
    ) -> None:
        """`packaged`: holds `{name}/current` and `{name}/{version}/`, or nothing."""
        self._store = store
        self._packaged = packaged / name
        self._name = name
        self._scratch = scratch
        self._engine = engine
        self._threads = threads

    def packaged_version(self) -> str | None:
        """What the file `current` in the package says."""
        try:
            return (self._packaged / "current").read_text("utf-8").strip()
        except FileNotFoundError:
            return None

    def current_version(self) -> str:
        """One small GET."""
        try:
            return self._store.current_version(self._name)
        except ArtifactMissingError:
            packaged = self.packaged_version()
            if packaged is None:
                raise
            return packaged

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
        return _served(
            artifact,
            engine=self._engine,
            threads=self._threads,
            optimised=optimised,
            download_ms=download_ms,
        )


class ModelHost:
    """Serves one model; loads the new one before it drops the old, and keeps the old on failure."""

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
            may_optimise: whether there is memory for the served model to be loaded again.
        """
        self._source = source
        self._clock = clock
        self._refresh_seconds = refresh_seconds
        self._wait_for_current = wait_for_current
        self._may_optimise = may_optimise
        self._lock = threading.Lock()
        self._served: ServedModel | None = None
        self._checked_at = float("-inf")
        self._loaded_at = float("-inf")
        self._refused: tuple[str, float] | None = None
        """The version that could not be had when it was awaited last, and when that was."""
        self.last_failure: str | None = None

    def load(self) -> None:
        """Have a model, whichever; nothing is asked when there is one.

        Raises:
            ModelUnavailableError: saying why.
        """
        if self._served is None:
            self.current()

    def current(self, *, optimised: bool = False) -> ServedModel:
        """The model, loaded now if no earlier attempt succeeded.

        Args:
            optimised: nobody waits for this load, so it may take its time for the current version
                and for faster calls.

        Raises:
            ModelUnavailableError: saying why.
        """
        if self._served is not None:
            if self._wait_for_current:
                self.refresh(awaited=True)
            return self._served
        with self._lock:
            if self._served is None:
                self._served = self._first(optimised=optimised)
                self._loaded_at = self._clock()
            return self._served

    def _first(self, *, optimised: bool) -> ServedModel:
        """The packaged version, or the current one first where that may be waited for."""
        finding = [self._source.packaged_version, self._ask]
        if optimised or self._wait_for_current:
            finding.reverse()
        failure: InferenceError | None = None
        for find in finding:
            version = None
            try:
                version = find()
                if version is not None:
                    served = self._source.load(version, optimised=optimised)
                    self.last_failure = failure.message if failure is not None else None
                    return served
            except InferenceError as error:
                failure = error
                if version is not None:
                    self._refused = version, self._clock()
        message = failure.message if failure is not None else "there is no model"
        self.last_failure = message
        raise ModelUnavailableError(message) from failure

    def _ask(self) -> str:
        """The current version; the question is noted, so that it is not asked at every call."""
        self._checked_at = self._clock()
        return self._source.current_version()

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
            served = self._served
            if served is None:
                return
            ask = at_once or awaited or self._old(self._checked_at)
            version = self._ask() if ask else served.version
            refused, since = self._refused or ("", 0.0)
            if awaited and refused == version and not self._old(since):
                return
            again = not awaited and not served.optimised and (at_once or self._old(self._loaded_at))
            if again:
                self._loaded_at = self._clock()
            if version != served.version or (again and self._may_optimise()):
                self._refused = version, self._clock()  # unless it is loaded
                self._served = self._source.load(version, optimised=not awaited)
                self._loaded_at = self._clock()
            self._refused = None
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
        if self._due():
            threading.Thread(target=self.refresh, name="model-refresh", daemon=True).start()

    def _due(self, *, awaited: bool = False) -> bool:
        served = self._served
        if served is None:
            return False
        if awaited:
            return True
        return self._old(self._checked_at) or (not served.optimised and self._old(self._loaded_at))

    def _old(self, moment: float) -> bool:
        return self._clock() - moment > self._refresh_seconds


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
    # Pillow would load its reader with the first picture.
    importlib.import_module("PIL.JpegImagePlugin")
