"""What the function does, apart from how it was asked: classify, keep warm, hand out uploads."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from runtime.classifier.environment import ExecutionEnvironment
from runtime.classifier.errors import (
    ApiError,
    InternalError,
    PictureError,
    TooLargeError,
    UnavailableError,
)
from runtime.classifier.model import ModelHost, ServedModel
from runtime.classifier.requests import (
    ClassificationRequest,
    FolderRequest,
    UploadRequest,
    WakeupRequest,
    check_file_path,
)
from runtime.classifier.storage import FOLDER_RESULTS_PREFIX, PictureStore, Told, new_file_path
from runtime.contract import MAX_PICTURE_BYTES, PICTURES_PREFIX
from runtime.inference import errors as inference

if TYPE_CHECKING:
    from runtime.inference.classification import Prediction

Answer = dict[str, Any]
"""A JSON object; `timings` holds milliseconds."""


class ClassifierService:
    """The logic of every route. Methods raise `runtime.classifier.errors.ApiError` kinds."""

    def __init__(
        self,
        *,
        models: ModelHost,
        pictures: PictureStore,
        environment: ExecutionEnvironment,
        upload_expires_seconds: int,
        keep_for_training: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._models = models
        self._pictures = pictures
        self._environment = environment
        self._upload_expires_seconds = upload_expires_seconds
        self._keep_for_training = keep_for_training
        self._sleep = sleep

    def classify(self, request: ClassificationRequest, *, cold: bool) -> Answer:
        """Fetch the picture and answer with its top 5, in the paper's keys and more."""
        return self._classified(
            request.file_path, lambda: self._pictures.fetch(request.file_path), cold=cold
        )

    def _classified(self, file_path: str, fetch: Callable[[], bytes], *, cold: bool) -> Answer:
        started = time.perf_counter()
        serving = self._models.serving()
        ready = time.perf_counter()
        data = fetch()
        fetched = time.perf_counter()
        model = serving.model_for(data)
        predictions, timings = _recognise(model, data)
        timings = {"download": _ms(ready, fetched), **timings}
        self._remember(file_path, data, predictions, model)
        self._models.refresh_in_background()
        return {
            "method": "classification",
            **_ranked(predictions),
            "time": time.perf_counter() - started,
            "file_path": file_path,
            **self._about(model, timings, cold=cold),
        }

    def recognise(self, data: bytes, content_type: str, *, cold: bool) -> Answer:
        """Keep the picture and classify it, side by side; the answer names its `file_path`."""
        from concurrent.futures import ThreadPoolExecutor

        started = time.perf_counter()
        if len(data) > MAX_PICTURE_BYTES:
            raise TooLargeError(
                f"the picture has {len(data)} bytes; allowed: {MAX_PICTURE_BYTES}",
                code=inference.PictureTooLargeError.code,
            )
        model = self._models.serving().model_for(data)
        file_path = new_file_path(content_type)
        with ThreadPoolExecutor(1, thread_name_prefix="keep") as pool:
            predictions, timings = _recognise(
                model,
                data,
                decoded=lambda: pool.submit(
                    self._pictures.keep, file_path, data, content_type=content_type
                ),
            )
        self._remember(file_path, data, predictions, model)
        self._models.refresh_in_background()
        return {
            "method": "recognition",
            **_ranked(predictions),
            "time": time.perf_counter() - started,
            "file_path": file_path,
            **self._about(model, timings, cold=cold),
        }

    def wakeup(self, request: WakeupRequest, *, cold: bool) -> Answer:
        """Have the model ready, then stay busy for the rest of `sleep_ms`.

        Nobody waits for a picture here: a model that was replaced meanwhile is loaded, and one that
        was loaded for a fast start is loaded again for fast calls, once in an environment's life.
        """
        started = time.perf_counter()
        before = self._models.serving().models
        self._models.refresh(at_once=True)
        for model in self._models.serving().models:
            if cold or model not in before:
                model.exercise()
        self._sleep(max(0.0, request.sleep_ms / 1000 - (time.perf_counter() - started)))
        model = self._models.current()
        return {
            "method": "wakeup",
            "time": time.perf_counter() - started,
            "environment": self._environment.id,
            "cold": cold,
            "model": {"name": model.name, "version": model.version, "trained": model.trained},
        }

    def upload(self, request: UploadRequest) -> Answer:
        """A presigned form for one picture, and the `file_path` to classify it by."""
        file_path = new_file_path(request.content_type)
        form = self._pictures.upload(file_path, content_type=request.content_type)
        return {
            "method": "images",
            "file_path": file_path,
            "upload": {"url": form.url, "fields": form.fields},
            "expires_in": self._upload_expires_seconds,
            "max_bytes": MAX_PICTURE_BYTES,
        }

    def folder(self, request: FolderRequest, *, cold: bool) -> Answer:
        """Classify a batch and write a JSON line a picture; the same batch writes the same key.

        The next picture is fetched while one is classified: `download` is what was waited for it. A
        picture that cannot be classified becomes a line with its `code`. A failing storage raises,
        so that the batch is tried again as a whole.
        """
        from concurrent.futures import ThreadPoolExecutor

        paths = [key.removeprefix(PICTURES_PREFIX) for key in request.keys]
        rows = []
        with ThreadPoolExecutor(1, thread_name_prefix="fetch-ahead") as pool:
            # One ahead and no more: pictures may be large and the memory small.
            ahead = pool.submit(self._fetch_checked, paths[0])
            for number, path in enumerate(paths):
                fetched = ahead
                if number + 1 < len(paths):
                    ahead = pool.submit(self._fetch_checked, paths[number + 1])
                rows.append(self._row(path, fetched.result, cold=cold and number == 0))
        batch = hashlib.sha256("\n".join(request.keys).encode()).hexdigest()[:32]
        key = f"{FOLDER_RESULTS_PREFIX}{request.run}/{batch}.jsonl"
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        self._pictures.write_results(key, lines.encode())
        failed = sum("code" in row for row in rows)
        return {
            "method": "folder",
            "classified": len(rows) - failed,
            "failed": failed,
            "results": key,
        }

    def _remember(
        self, file_path: str, data: bytes, predictions: list[Prediction], model: ServedModel
    ) -> None:
        """Keep the picture for training where that is asked for; no call fails for it."""
        if not self._keep_for_training:
            return
        top = [(one.id, one.softmax) for one in predictions]
        told = Told(top=top, model=model.name, version=model.version)
        try:
            self._pictures.keep_for_training(file_path, data, told)
        except ApiError as error:
            line = {"level": "WARNING", "message": f"not kept for training: {error.message}"}
            print(json.dumps(line), file=sys.stderr)

    def _fetch_checked(self, file_path: str) -> bytes:
        return self._pictures.fetch(check_file_path(file_path))

    def _row(self, file_path: str, fetch: Callable[[], bytes], *, cold: bool) -> Answer:
        try:
            return self._classified(file_path, fetch, cold=cold)
        except (UnavailableError, InternalError):
            raise
        except ApiError as error:
            return {"file_path": file_path, "code": error.error_code, "message": error.message}

    def _about(self, model: ServedModel, timings: dict[str, float], *, cold: bool) -> Answer:
        if cold:
            timings = {
                "init": self._environment.init_ms,
                "model_download": model.download_ms,
                "model_load": model.load_ms,
                **timings,
            }
        return {
            "model": {"name": model.name, "version": model.version, "trained": model.trained},
            "engine": {"name": model.engine, "precision": model.precision},
            "environment": self._environment.id,
            "cold": cold,
            "timings": {name: round(value, 3) for name, value in timings.items()},
        }


def _ranked(predictions: list[Prediction]) -> Answer:
    answer: Answer = {}
    for place, prediction in enumerate(predictions, start=1):
        answer[f"TOP{place}_ID"] = prediction.id
        answer[f"TOP{place}_softmax"] = prediction.softmax
        answer[f"TOP{place}_label"] = prediction.label
    return answer


def _recognise(
    model: ServedModel, data: bytes, *, decoded: Callable[[], Any] | None = None
) -> tuple[list[Prediction], dict[str, float]]:
    """Predictions and milliseconds; `decoded` is called once the bytes are known to be a picture.

    A future that `decoded` returns is waited for before the answer.
    """
    started = time.perf_counter()
    try:
        prepared = model.classifier.prepare(data)
        ready = time.perf_counter()
        pending = decoded() if decoded is not None else None
        predictions = model.classifier.rank(model.classifier.infer([prepared])[0])
    except inference.PictureError as error:
        raise _refused(error) from error
    except inference.InferenceError as error:
        raise InternalError(error.message) from error
    done = time.perf_counter()
    timings = {"decode": _ms(started, ready), "inference": _ms(ready, done)}
    if pending is not None:
        pending.result()
        timings["keep"] = _ms(done, time.perf_counter())
    return predictions, timings


def _refused(error: inference.PictureError) -> ApiError:
    too_large = isinstance(
        error,
        inference.PictureTooLargeError
        | inference.TooManyPixelsError
        | inference.TooCostlyPictureError,
    )
    return (TooLargeError if too_large else PictureError)(error.message, code=error.code)


def _ms(start: float, stop: float) -> float:
    return (stop - start) * 1000
