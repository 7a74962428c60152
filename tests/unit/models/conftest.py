"""Small networks and a web server that misbehaves on request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

TINY_CFG = """
[net]
width=64
height=64
channels=3

[convolutional]   # 0
batch_normalize=1
filters=4
size=3
stride=1
pad=1
activation=leaky

[maxpool]         # 1
size=2
stride=2

[convolutional]   # 2
batch_normalize=1
filters=4
size=1
stride=1
pad=1
activation=leaky

[shortcut]        # 3
from=-2
activation=linear

[upsample]        # 4
stride=2

[route]           # 5
layers=-1,0

[convolutional]   # 6
filters=21
size=1
stride=1
pad=1
activation=linear

[yolo]            # 7
mask = 3,4,5
anchors = 1,2,  3,4,  5,6,  10,14,  23,27,  37,58
classes=2
num=6
"""
TINY_FLOATS = (4 * 4 + 4 * 27) + (4 * 4 + 4 * 4) + (21 + 21 * 8)


def write_weights(path: Path, values: np.ndarray, *, version: tuple[int, int] = (0, 2)) -> Path:
    """A `.weights` file: its header, then the floats."""
    header = np.array([*version, 0], "<i4").tobytes()
    seen = np.zeros(1, "<i8" if version >= (0, 2) else "<i4").tobytes()
    path.write_bytes(header + seen + values.astype("<f4").tobytes())
    return path


def tiny_values(count: int = TINY_FLOATS) -> np.ndarray:
    """Weights with variances above zero wherever they are read from."""
    return np.random.default_rng(3).uniform(0.1, 1, count).astype(np.float32)


class Server:
    """Serves `content` over HTTP; `cut` bytes at a time when set, as a bad line would."""

    def __init__(self) -> None:
        self.content = b""
        self.cut: int | None = None
        self.failures = 0
        self.ranges: list[str | None] = []
        self.etag: str | None = None
        self.heeds_if_range = True
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.ranges.append(self.headers.get("Range"))
                if server.failures:
                    server.failures -= 1
                    self.send_error(503)
                    return
                span = self.headers.get("Range")
                wanted = self.headers.get("If-Range")
                if server.heeds_if_range and wanted is not None and wanted != server.etag:
                    span = None
                start = int(span.removeprefix("bytes=").removesuffix("-")) if span else 0
                body = server.content[start:]
                if not body:
                    self.send_error(416)
                    return
                self.send_response(206 if span else 200)
                if server.etag is not None:
                    self.send_header("ETag", server.etag)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body if server.cut is None else body[: server.cut])

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/weights.bin"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


def wreck_scales(source: Path, target: Path, *, seed: int) -> None:
    """A graph of int8 that computes nonsense."""
    model = onnx.load(source)
    generator = np.random.default_rng(seed)
    for tensor in model.graph.initializer:
        if tensor.name.endswith("_scale"):
            scale = numpy_helper.to_array(tensor)
            wrong = scale * generator.uniform(0.2, 5.0, scale.shape).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(wrong, np.float32), tensor.name))
    onnx.save(model, target)
