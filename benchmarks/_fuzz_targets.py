"""What the fuzzer calls with bytes of its invention, and what has to hold for all of them.

Each target returns, or raises what is a finding. Nothing here needs the fuzzer, so that the corpus
that is kept is tried by the ordinary tests too (`tests/unit/test_fuzz_corpus.py`).
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import av
import numpy as np

from runtime.classifier.environment import ExecutionEnvironment
from runtime.classifier.function import Function
from runtime.classifier.metrics import CallLog
from runtime.classifier.model import ModelHost
from runtime.classifier.service import ClassifierService
from runtime.contract import Route
from runtime.inference import pictures
from runtime.inference.errors import PictureError
from runtime.protocol import messages
from runtime.protocol.connection import Role, StreamProtocol
from runtime.protocol.errors import ProtocolError
from runtime.streaming.frames.h264 import BadParameterSetError, picture_buffers

_SMALL: Final = pictures.PictureLimits(
    bytes=2**20, pixels=2**18, scanned_pixels=12 * 2**18, seconds=1.0, decoded_bytes=2**24
)
_LARGEST_VIDEO: Final = 2**20
"""Pixels that the decoder may be asked for here."""


def codec(data: bytes) -> None:
    """Messages and both ends of the protocol: only ProtocolError, and what is decoded survives
    being sent again."""
    try:
        decoded = messages.decode(data)
    except ProtocolError:
        pass
    else:
        again = messages.decode(decoded.encode())
        # A NaN in a box is not equal to itself; its bytes are.
        if again.encode() != decoded.encode():
            raise AssertionError(f"{decoded} became {again}")
    for role in Role:
        protocol = StreamProtocol(role)
        protocol.receive_data(data)
        with contextlib.suppress(ProtocolError):
            list(protocol.events())


def picture(data: bytes) -> None:
    """Picture files: only PictureError, never a picture beyond the limits, and both decoders agree
    on its size. Their C code is not instrumented; Pillow's readers in Python are."""
    try:
        header = pictures.open_checked(data, limits=_SMALL)
    except PictureError:
        return
    if not 0 < header.width * header.height <= _SMALL.pixels:
        raise AssertionError(f"{header.size} passed")
    sizes = set()
    for decode in (pictures.decode_rgb, pictures.decode_bgr):
        with contextlib.suppress(PictureError):
            pixels = decode(data, limits=_SMALL)
            if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
                raise AssertionError(f"{pixels.dtype} {pixels.shape}")
            sizes.add(pixels.shape)
    if len(sizes) > 1:
        raise AssertionError(f"one decoder says {sizes}")


def video(data: bytes) -> None:
    """H.264 units: only BadParameterSetError, and FFmpeg's decoder, which is the one that takes the
    memory, finds no larger picture in them than the parser did."""
    try:
        asked = list(picture_buffers(data))
    except BadParameterSetError:
        return
    largest = max((one.width * one.height for one in asked), default=0)
    if any(one.reference_bytes <= 0 for one in asked):
        raise AssertionError(f"{asked}")
    context: Any = av.CodecContext.create("h264", "r")
    context.options = {"max_pixels": str(_LARGEST_VIDEO), "flags": "low_delay"}
    context.thread_type = "NONE"
    with contextlib.suppress(av.error.FFmpegError):
        context.decode(av.Packet(data))
    if context.width * context.height > largest:
        found = f"{context.width} x {context.height}"
        raise AssertionError(f"FFmpeg finds {found} where the parser found {asked}")


def _function() -> Function:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        return _made(Path(folder))


def _made(folder: Path) -> Function:
    """The function on stand-ins for S3 and the network; its log is written as Lambda takes it."""
    from tests.unit.classifier.conftest import (
        FakeEngine,
        MemoryPictures,
        toy_artifact,
        toy_models,
    )

    host = ModelHost(toy_models(toy_artifact(folder), FakeEngine()))
    environment = ExecutionEnvironment({}, started=0.0)
    service = ClassifierService(
        models=host,
        pictures=MemoryPictures(),
        environment=environment,
        upload_expires_seconds=300,
        sleep=lambda _: None,
    )
    log = CallLog(function_name="f", clock=lambda: 1.0, write=_as_utf8)
    made = Function(service=service, models=host, environment=environment, log=log)
    made.initialise()
    return made


def _as_utf8(text: str) -> None:
    text.encode()


_the_function: Final = functools.cache(_function)
_ROUTES: Final = (
    Route.CLASSIFICATION,
    Route.WAKEUP,
    Route.IMAGES,
    Route.RECOGNITIONS,
    "/nowhere",
)
_TYPES: Final = ("application/json", "image/jpeg", "application/octet-stream", "")


def event(data: bytes) -> None:
    """Events of the classifier: an answer as API Gateway wants it or the JSON of a direct call, no
    exception and no status 500. The first byte says how the others arrive."""
    how, rest = data[:1] or b"\0", data[1:]
    number = how[0]
    route, kind = _ROUTES[number % len(_ROUTES)], _TYPES[number // 8 % len(_TYPES)]
    if number >= 128:
        # Lambda's runtime has made an object of the JSON before the function sees it.
        try:
            invoked = json.loads(rest)
        except (ValueError, RecursionError):
            return
    else:
        binary = bool(number & 64)
        invoked = {
            "resource": route,
            "httpMethod": "POST",
            "headers": {"Content-Type": kind},
            "requestContext": {},
            "body": base64.b64encode(rest).decode() if binary else rest.decode(errors="replace"),
            "isBase64Encoded": binary,
        }
    answer = _the_function().handle(invoked, SimpleNamespace(aws_request_id="r"))
    if isinstance(invoked, dict) and "httpMethod" in invoked and "requestContext" in invoked:
        if set(answer) != {"statusCode", "headers", "body", "isBase64Encoded"}:
            raise AssertionError(f"no answer for API Gateway: {answer}")
        if answer["statusCode"] not in range(200, 500):
            raise AssertionError(f"status {answer['statusCode']}: {answer['body']}")
        if not all(isinstance(text, str) for text in answer["headers"].values()):
            raise AssertionError(f"headers that are no texts: {answer['headers']}")
        answer = json.loads(answer["body"].encode())
    _as_utf8(json.dumps(answer, allow_nan=False))


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    one.__name__: one for one in (codec, picture, video, event)
}
CORPUS: Final = Path(__file__).with_name("fuzz_corpus")
