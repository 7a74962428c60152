"""The page's files as CloudFront serves them: all but the document by their content's hash.

A document of today never gets a script of tomorrow, and what browsers have cached may stay there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TOP: Final = Path(__file__).resolve().parents[2]
PAGE_FOLDER: Final = _TOP / "runtime" / "streaming" / "transports" / "page"
RUNTIME_FILES: Final = (
    "ort.webgpu.bundle.min.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
    "ort.wasm.bundle.min.mjs",
    "ort-wasm-simd-threaded.wasm",
)
"""What device.js takes of onnxruntime-web."""
_NO_STREAM: Final = "none"
_SUFFIXES: Final = frozenset({".js", ".css", ".svg", ".mp4"})


@dataclass(frozen=True)
class PageFiles:
    """`document` goes to the top, the others below `folder` with their names."""

    document: str
    folder: str
    files: tuple[Path, ...]
    runtime_files: tuple[Path, ...]
    """Of onnxruntime-web, for `{folder}/onnxruntime/`; none where it is not installed."""

    @classmethod
    def of(cls, *, stream: str | None, runtime_folder: Path | None) -> PageFiles:
        """`stream` is the stream server's address, None where browsers would not trust it."""
        files = tuple(sorted(path for path in PAGE_FOLDER.iterdir() if path.suffix in _SUFFIXES))
        runtime = tuple(runtime_folder / name for name in RUNTIME_FILES) if runtime_folder else ()
        folder = _content_hash([*files, *runtime])
        document = (PAGE_FOLDER / "index.html").read_text(encoding="utf-8")
        placeholder = '<meta name="stream" content="">'
        for path in files:
            for attribute in ("src", "href"):
                document = document.replace(
                    f'{attribute}="{path.name}"', f'{attribute}="{folder}/{path.name}"'
                )
        if document.count(placeholder) != 1:
            raise ValueError(f"index.html must hold {placeholder} once")
        told = placeholder.replace('""', f'"{stream or _NO_STREAM}"')
        return cls(document.replace(placeholder, told), folder, files, runtime)


def find_runtime() -> Path | None:
    """onnxruntime-web's files: of the project that is deployed (`npm ci`), or of this checkout."""
    places = [top / "node_modules" / "onnxruntime-web" / "dist" for top in (Path.cwd(), _TOP)]
    return next(
        (one for one in places if all((one / name).is_file() for name in RUNTIME_FILES)), None
    )


def _content_hash(files: Sequence[Path]) -> str:
    found = hashlib.sha256()
    for path in files:
        found.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()[:16]
