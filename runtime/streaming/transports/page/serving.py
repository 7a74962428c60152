"""GETs for the page's own files, the models it runs itself, and onnxruntime-web where there is one.

Large files are given in pieces (`Range`) only: an answer must leave within the handshake's time,
and is whole in memory until then.
"""

from __future__ import annotations

import hmac
import json
import re
from http import HTTPStatus
from pathlib import Path
from typing import Final

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from runtime.page_headers import HEADERS, content_security_policy

_HERE: Final = Path(__file__).resolve().parent
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".mp4": "video/mp4",
}
PIECE_BYTES: Final = 1 << 20
_RANGE: Final = re.compile(r"bytes=(\d{1,15})-(\d{0,15})")
_MODEL: Final = re.compile(r"/models/([A-Za-z0-9][\w.-]*)/([A-Za-z0-9][\w.-]*)")
_RUNTIME: Final = "/onnxruntime/"

SECURITY_HEADERS: Final = {
    "Cache-Control": "no-store",
    # Older Safaris do not count a WebSocket of the same host as 'self'; the API and its bucket have
    # addresses of their own, and the embedded cloud's is http.
    "Content-Security-Policy": content_security_policy(
        "ws:",
        "wss:",
        "https:",
        "http://127.0.0.1:*",
        "http://localhost:*",
        "http://*.localhost:*",
    ),
    **HEADERS,
}


def runtime_folder() -> Path | None:
    """Where onnxruntime-web's files are: beside the page, or the checkout's npm packages."""
    beside = _HERE / "onnxruntime"
    packages = [parent / "node_modules" / "onnxruntime-web" / "dist" for parent in _HERE.parents]
    return next((folder for folder in (beside, *packages) if folder.is_dir()), None)


class PageFiles:
    """Answers GETs below `/`. Models are only given to those who send the token."""

    def __init__(self, *, models: Path | None = None, token: str = "") -> None:
        self._models = models
        self._token = token
        self._onnxruntime = runtime_folder()
        self._own = {
            f"/{path.name}": (_TYPES[path.suffix], path.read_bytes())
            for path in _HERE.iterdir()
            if path.is_file() and path.suffix in _TYPES
        }
        self._own["/"] = self._own["/index.html"]

    def answer(self, path: str, request: Request) -> Response | None:
        """None when there is no such file."""
        if path in self._own and path.endswith(".mp4"):
            # Safari plays nothing that it cannot read in pieces.
            return _piece(_HERE / path[1:], request)
        if path in self._own:
            content_type, body = self._own[path]
            return respond(HTTPStatus.OK, content_type, body)
        if path.startswith(_RUNTIME):
            return self._runtime(path.removeprefix(_RUNTIME), request)
        if (model := _MODEL.fullmatch(path)) is not None:
            return self._model(model[1], model[2], request)
        return None

    def _runtime(self, name: str, request: Request) -> Response | None:
        folder = self._onnxruntime
        if folder is None or not re.fullmatch(r"ort[\w.-]*\.(?:mjs|wasm)", name):
            return None
        return _piece(folder / name, request)

    def _model(self, name: str, file: str, request: Request) -> Response | None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not self._token or not hmac.compare_digest(given.encode(), self._token.encode()):
            return respond(
                HTTPStatus.UNAUTHORIZED, "text/plain", b"the token is missing or wrong\n"
            )
        current = self._models and self._models / name / "current"
        if not current or not current.is_file():
            return None
        folder = current.with_name(current.read_text(encoding="utf-8").strip())
        manifest = folder / "model.json"
        if file != manifest.name:
            listed = json.loads(manifest.read_text(encoding="utf-8"))["files"]
            if file not in listed:
                return None
        return _piece(folder / file, request)


def _piece(path: Path, request: Request) -> Response | None:
    if not path.is_file():
        return None
    size = path.stat().st_size
    content_type = _TYPES.get(path.suffix, "application/octet-stream")
    asked = _RANGE.fullmatch(request.headers.get("Range", ""))
    if asked is None and size > PIECE_BYTES:
        return respond(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            "text/plain",
            f"the file has {size} bytes; ask for {PIECE_BYTES} at most, such as "
            f"Range: bytes=0-{PIECE_BYTES - 1}\n".encode(),
            {"Content-Range": f"bytes */{size}"},
        )
    if asked is None:
        return respond(HTTPStatus.OK, content_type, path.read_bytes())
    first = int(asked[1])
    last = min(int(asked[2] or size - 1), size - 1, first + PIECE_BYTES - 1)
    if first > last:
        return respond(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            "text/plain",
            b"the file is shorter\n",
            {"Content-Range": f"bytes */{size}"},
        )
    with path.open("rb") as file:
        file.seek(first)
        body = file.read(last - first + 1)
    return respond(
        HTTPStatus.PARTIAL_CONTENT,
        content_type,
        body,
        {"Content-Range": f"bytes {first}-{last}/{size}"},
    )


def respond(
    status: HTTPStatus, content_type: str, body: bytes, more: dict[str, str] | None = None
) -> Response:
    """One answer, with the headers that every answer has."""
    headers = Headers(
        {
            "Content-Type": content_type,
            "Content-Length": str(len(body)),
            "Connection": "close",
            **SECURITY_HEADERS,
            **(more or {}),
        }
    )
    return Response(int(status), status.phrase, headers, body)
