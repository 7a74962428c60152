"""The classifier behind a small gateway in this process: what API Gateway does, as WSGI."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runtime.classifier.environment import ExecutionEnvironment
from runtime.classifier.errors import NotFoundError
from runtime.classifier.function import Function
from runtime.classifier.metrics import CallLog
from runtime.classifier.model import ModelHost, ServedModel
from runtime.classifier.s3 import PresignedPost
from runtime.classifier.service import ClassifierService
from runtime.contract import MAX_PICTURE_BYTES
from runtime.inference.classification import Classifier
from runtime.inference.pictures import DEFAULT_LIMITS
from runtime.inference.store import Current

DOCUMENT = Path(__file__).parents[2] / "docs" / "api" / "openapi.json"
KEY = "the-key"
STAGE = "/v1"
_REASONS = {200: "OK", 404: "Not Found"}


class Gateway:
    """API key, largest body and binary media types as the stack sets them; then the function."""

    def __init__(self, function: Function, document: dict[str, Any]) -> None:
        self._function = function
        self._document = document
        self._binary = set(document["paths"]["/recognitions"]["post"]["requestBody"]["content"])

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., object]
    ) -> Iterable[bytes]:
        status, headers, body = self._answer(environ)
        start_response(f"{status} {_REASONS.get(status, 'Refused')}", list(headers.items()))
        return [body]

    def _answer(self, environ: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        if environ["PATH_INFO"] == "/openapi.json":
            return self._json(200, self._document)
        path = environ["PATH_INFO"].removeprefix(STAGE)
        if path not in self._document["paths"] or environ["REQUEST_METHOD"] != "POST":
            return self._json(403, {"code": "forbidden", "message": "no such route"})
        if environ.get("HTTP_X_API_KEY") != KEY:
            return self._json(403, {"code": "forbidden", "message": "Forbidden"})
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if len(body) > MAX_PICTURE_BYTES:
            return self._json(413, {"code": "too_large", "message": "Request Too Long"})
        content_type = environ.get("CONTENT_TYPE", "")
        binary = content_type.split(";")[0].strip().lower() in self._binary
        event = {
            "resource": path,
            "httpMethod": "POST",
            "headers": {"Content-Type": content_type},
            "requestContext": {},
            "isBase64Encoded": binary,
            "body": base64.b64encode(body).decode() if binary else body.decode("utf-8", "replace"),
        }
        answer = self._function.handle(event, SimpleNamespace(aws_request_id="r"))
        return answer["statusCode"], answer["headers"], answer["body"].encode()

    @staticmethod
    def _json(status: int, body: object) -> tuple[int, dict[str, str], bytes]:
        return status, {"Content-Type": "application/json"}, json.dumps(body).encode()


class OnePicture:
    """Storage that has a picture under one path, and keeps what it is given."""

    def __init__(self, path: str, data: bytes) -> None:
        self.pictures = {path: data}

    def fetch(self, file_path: str) -> bytes:
        if file_path not in self.pictures:
            raise NotFoundError("there is no such picture")
        return self.pictures[file_path]

    def keep(self, file_path: str, data: bytes, *, content_type: str) -> None:
        self.pictures[file_path] = data

    def upload(self, file_path: str, *, content_type: str) -> PresignedPost:
        return PresignedPost("https://b.s3.amazonaws.com/", {"key": file_path})

    def write_results(self, key: str, lines: bytes) -> None:
        raise AssertionError("no route writes results")


class FlatClassifier:
    """Decodes as the real one does; all of its ten classes are equally likely."""

    manifest = SimpleNamespace(
        input=SimpleNamespace(width=8, height=8, colour="RGB"),
        preprocessing=SimpleNamespace(resize=8, interpolation="bilinear"),
    )
    limits = DEFAULT_LIMITS
    labels = tuple(SimpleNamespace(id=f"{n:04d}", name=f"product {n}") for n in range(10))

    def prepare(self, data: bytes) -> Any:
        return Classifier.prepare(self, data)  # type: ignore[arg-type]

    def infer(self, batch: Any) -> Any:
        return np.zeros((len(batch), len(self.labels)), np.float32)

    def rank(self, logits: Any) -> Any:
        return Classifier.rank(self, logits)  # type: ignore[arg-type]


class FlatModels:
    """One version of it."""

    def packaged_version(self) -> None:
        return None

    def wanted(self) -> Current:
        return Current("v1")

    def load(self, version: str, *, optimised: bool) -> ServedModel:
        return ServedModel(
            classifier=FlatClassifier(), name="flat", version=version, trained=False,
            engine="none", precision="fp32", download_ms=0.0, load_ms=0.0, optimised=optimised,
        )  # fmt: skip


@pytest.fixture(scope="session")
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DOCUMENT.read_text())
    return loaded


@pytest.fixture(scope="session")
def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), "red").save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def gateway(document: dict[str, Any], jpeg: bytes) -> Gateway:
    host = ModelHost(FlatModels())
    environment = ExecutionEnvironment({}, started=0.0)
    service = ClassifierService(
        models=host,
        pictures=OnePicture("test/20200118.jpg", jpeg),
        environment=environment,
        upload_expires_seconds=300,
        sleep=lambda seconds: None,
    )
    log = CallLog(function_name="f", clock=lambda: 0.0, write=lambda line: None)
    function = Function(service=service, models=host, environment=environment, log=log)
    function.initialise()
    return Gateway(function, document)
