"""Cold starts of the function's packages, each in a process of its own.

From the interpreter's start to the first answer, with a server of files on loopback in S3's place.
"""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from runtime.contract import PICTURES_PREFIX, Env
from stacks.settings.model import PackageTarget
from visionstack import paths
from visionstack.cloud import local_defaults
from visionstack.packaging.build import ensure
from visionstack.packaging.recipes import recipe

CHILD: Final = Path(__file__).with_name("_serverless_child.py")
INTERPRETER: Final = (sys.executable, "-s", "-S")
"""Without site-packages, so that all libraries come from the function's package."""
PICTURE: Final = paths.SAMPLES / "dog.jpg"
ARTIFACTS, PICTURES = "artifacts", "one-picture"
"""Names of the buckets."""
_PICTURE_PATH: Final = "benchmark/dog.jpg"
_MEMORY_MIB: Final = 1769
"""One processor."""


def built_package(packaging: str, model: str) -> Path:
    """The function's package for this machine's Python, up to date."""
    target = PackageTarget(
        "classifier", local_defaults.python_version(), local_defaults.architecture(), packaging
    )
    return ensure(recipe(target, classifier_model=model)).folder


def live(package: Path, *, model: str, endpoint: str, warm_calls: int) -> dict[str, Any]:
    """The life of one execution environment, in a process of its own.

    Args:
        package: the function's.
        model: the one that it serves.
        endpoint: S3's, with the buckets of `file_server`.
        warm_calls: to make after the first, and again after a wake-up, which is left out with 0.

    Raises:
        RuntimeError: it did not answer; with its last words.
    """
    with tempfile.TemporaryDirectory(prefix="visionstack-cold-") as scratch:
        environment = {
            "PATH": os.defpath,
            "LAMBDA_TASK_ROOT": str(package),
            "TMPDIR": scratch,
            # /var/task is read-only.
            "PYTHONDONTWRITEBYTECODE": "1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(_MEMORY_MIB),
            "AWS_ENDPOINT_URL": endpoint,
            Env.ARTIFACTS_BUCKET: ARTIFACTS,
            Env.PICTURES_BUCKET: PICTURES,
            Env.MODEL: model,
            "BENCHMARK_PICTURE": _PICTURE_PATH,
            "BENCHMARK_PICTURE_FILE": str(PICTURE),
        }
        command = [*INTERPRETER, str(CHILD), str(time.monotonic()), str(warm_calls)]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
    for line in done.stdout.splitlines():
        if line.startswith("RESULT"):
            result: dict[str, Any] = json.loads(line.removeprefix("RESULT"))
            return result
    raise RuntimeError(f"{package.name}: {done.stderr[-800:]}")


@contextmanager
def file_server(more: Mapping[str, Path] | None = None) -> Iterator[str]:
    """As much of S3 as a function needs to start: files to read by GET, in ranges too.

    Its address on loopback. `more`: further files than the picture, by `/bucket/key`.
    """
    files = {f"/{PICTURES}/{PICTURES_PREFIX}{_PICTURE_PATH}": PICTURE, **(more or {})}

    class Bucket(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            """A function that ends resets its connection; that is no news."""
            with suppress(ConnectionError):
                super().handle()

        def do_GET(self) -> None:
            file = files.get(self.path)
            first, _, last = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
            body = b""
            if file is not None:
                with file.open("rb") as opened:
                    opened.seek(int(first or 0))
                    body = opened.read(int(last) - int(first) + 1 if last else -1)
            self.send_response(404 if file is None else 206 if last else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
