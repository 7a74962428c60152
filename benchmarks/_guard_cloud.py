"""As much of S3 as a function needs whose model is in its package: one picture, nothing else."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from benchmarks._serverless_cold import PICTURE, PICTURE_PATH
from runtime.contract import PICTURES_PREFIX

ONE_PICTURE: Final = "one-picture"
"""Name of the bucket."""


class _Bucket(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        """A function that ends resets its connection; that is no news."""
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        found = self.path == f"/{ONE_PICTURE}/{PICTURES_PREFIX}{PICTURE_PATH}"
        body = PICTURE.read_bytes() if found else b""
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@contextmanager
def one_picture_bucket() -> Iterator[str]:
    """Its address on loopback."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Bucket) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
