"""As much of S3 as a function needs to start: files to read by GET, in ranges too, nothing else."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from benchmarks._serverless_cold import PICTURE, PICTURE_PATH
from runtime.contract import PICTURES_PREFIX

ONE_PICTURE: Final = "one-picture"
"""Name of the bucket."""


@contextmanager
def one_picture_bucket(more: Mapping[str, Path] | None = None) -> Iterator[str]:
    """Its address on loopback. `more`: further files by `/bucket/key`."""
    files = {f"/{ONE_PICTURE}/{PICTURES_PREFIX}{PICTURE_PATH}": PICTURE, **(more or {})}

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
