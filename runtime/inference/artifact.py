"""A model artifact: a folder with `model.json` beside the files it names by hash.

Standard library only, since every cold start of the Lambda function imports it. So are the named
tuples here and in `runtime/classifier/`: a dataclass takes a millisecond to make. `Artifact.load`
hashes every file and refuses a damaged folder; an `Artifact` in hand is therefore a checked one.
Only what lies in a function's package was hashed elsewhere: when the package was built.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self

from runtime.contract import Precision
from runtime.inference.errors import ArtifactDamagedError, ArtifactMissingError

MANIFEST: Final = "model.json"
SCHEMA: Final = 1
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_FILE: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_READ_BYTES: Final = 1 << 20

Task = Literal["detect", "classify"]
Family = Literal["darknet", "ultralytics", "end-to-end", "classifier"]
"""`end-to-end`: a detector that suppresses by itself: output (batch, n, 6), best first."""


class FileEntry(NamedTuple):
    """A file of the artifact: hex SHA-256 and size in bytes."""

    sha256: str
    bytes: int


class InputSpec(NamedTuple):
    """The network's input, always uint8 (batch, height, width, 3) with `colour` first to last.

    Scaling and normalisation are part of the graph, so that an engine can fuse them.
    """

    width: int
    height: int
    colour: Literal["RGB", "BGR"]


class Preprocessing(NamedTuple):
    """How a picture becomes the input.

    `letterbox`: scaled to fit, centred, the rest `fill`. `stretch`: scaled to the input's size
    whatever its shape. `crop`: the shorter side to `resize` pixels, then the centre of the input's
    size.
    """

    kind: Literal["letterbox", "stretch", "crop"]
    fill: int = 0
    resize: int = 0
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"


class Weights(NamedTuple):
    """Whether the weights were trained; random ones are announced wherever results are shown."""

    trained: bool
    description: str


class Measured(NamedTuple):
    """Accuracy and time of one precision of the artifact, on one kind of processor."""

    precision: str
    sha256: str
    """Of the graph's file; a figure tells nothing of another file."""
    engine: str
    instructions: str
    """`runtime.inference.engines.processor.instructions()` of where it was measured."""
    metric: str
    """`AP50`, `top 1`, or, without labels, `agreement` with fp32's first class."""
    accuracy: float
    """0 to 1."""
    milliseconds: float
    """Median of a call of the network with one picture."""
    labels: str
    """What it was scored against."""
    low: float | None = None
    high: float | None = None
    """95 % interval of `accuracy`, of a classifier (Wilson 1927)."""
    agreement: float | None = None
    """Share of the pictures whose first class is fp32's, of a classifier."""
    pictures: int | None = None
    """So many were scored, of a classifier."""


class Manifest(NamedTuple):
    """What `model.json` says; `version` follows from all the rest."""

    name: str
    task: Task
    family: Family
    input: InputSpec
    preprocessing: Preprocessing
    weights: Weights
    source: str
    licence: str
    files: Mapping[str, FileEntry]
    model: str = "model.onnx"
    ready: str = ""
    """The same network in ONNX Runtime's own operators, for starts in milliseconds; or none."""
    labels: str = "labels.txt"
    precision: Precision = "fp32"
    """What the weights are stored as; engines name what they compute in."""
    flop: int = 0
    """Floating-point operations for one picture (two for a multiply-add); 0 if not known."""
    anchors: tuple[tuple[tuple[float, float], ...], ...] = ()
    """Darknet heads only: (width, height) in input pixels, by output."""
    int8: str = ""
    """The same network with eight-bit convolutions (QDQ), or none."""
    measured: tuple[Measured, ...] = ()
    """What `precision="auto"` chooses by."""
    schema: int = SCHEMA

    @property
    def version(self) -> str:
        """16 hex digits of the SHA-256 of everything else, file hashes included."""
        return hashlib.sha256(_canonical(self._document())).hexdigest()[:16]

    def to_json(self) -> str:
        """`model.json`."""
        document = {"version": self.version, **self._document()}
        return json.dumps(document, indent=2, ensure_ascii=False, default=dict) + "\n"

    def _document(self) -> dict[str, Any]:
        """Without the fields of variants where there is none: those artifacts' versions stand."""
        document = self._asdict()
        for name in ("input", "preprocessing", "weights"):
            document[name] = document[name]._asdict()
        document["files"] = {name: entry._asdict() for name, entry in self.files.items()}
        document["measured"] = [
            {name: value for name, value in row._asdict().items() if value is not None}
            for row in self.measured
        ]
        for name in ("int8", "measured"):
            if not document[name]:
                del document[name]
        return document

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Raises `ArtifactDamagedError` for anything that `to_json` did not write."""
        try:
            document = json.loads(text)
            version = document.pop("version")
            if document.get("schema") != SCHEMA:
                raise ArtifactDamagedError(
                    f"{MANIFEST} has schema {document.get('schema')!r}, not the {SCHEMA} "
                    "that this program reads; build the model again."
                )
            files = {name: FileEntry(**entry) for name, entry in document.pop("files").items()}
            manifest = cls(
                files=files,
                input=InputSpec(**document.pop("input")),
                preprocessing=Preprocessing(**document.pop("preprocessing")),
                weights=Weights(**document.pop("weights")),
                anchors=_anchors(document.pop("anchors")),
                measured=tuple(Measured(**row) for row in document.pop("measured", ())),
                **document,
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ArtifactDamagedError(f"{MANIFEST} makes no sense: {error!r}.") from error
        manifest._check(version)
        return manifest

    def _check(self, version: str) -> None:
        wrong = [name for name in self.files if not _FILE.fullmatch(name)]
        missing = {
            self.model,
            self.labels,
            self.ready or self.model,
            self.int8 or self.model,
        } - set(self.files)
        if wrong or missing or not _NAME.fullmatch(self.name):
            raise ArtifactDamagedError(f"{MANIFEST} of {self.name!r} names unusable files.")
        if version != self.version:
            raise ArtifactDamagedError(
                f"{MANIFEST} of {self.name} says version {version}, "
                f"but its contents are {self.version}."
            )


class Label(NamedTuple):
    """A class: its id (a product id, or the class number as text) and its readable name."""

    id: str
    name: str


class Artifact(NamedTuple):
    """A folder whose files were all checked against its manifest."""

    folder: Path
    manifest: Manifest

    @classmethod
    def load(cls, folder: Path, *, hashed: bool = True) -> Self:
        """Read and check. Raises `ArtifactMissingError` and `ArtifactDamagedError`.

        Args:
            folder: holds `model.json` and the files it names.
            hashed: compare hashes. False compares sizes only, for a folder that was hashed when it
                was put there and that nobody can write to since.
        """
        path = folder / MANIFEST
        try:
            manifest = Manifest.from_json(path.read_bytes())
        except OSError as error:
            raise ArtifactMissingError(
                f"There is no model at {folder}: {error.strerror}."
            ) from error
        for name, entry in manifest.files.items():
            _check_file(folder / name, entry, hashed=hashed)
        return cls(folder, manifest)

    @property
    def model_path(self) -> Path:
        return self.folder / self.manifest.model

    @property
    def ready_path(self) -> Path | None:
        return self.folder / self.manifest.ready if self.manifest.ready else None

    @property
    def int8_path(self) -> Path | None:
        return self.folder / self.manifest.int8 if self.manifest.int8 else None

    def labels(self) -> list[Label]:
        """By class number. A line of the labels file is `name`, or `id<TAB>name`."""
        lines = (self.folder / self.manifest.labels).read_text("utf-8").splitlines()
        return [read_label(number, line) for number, line in enumerate(lines)]


def check_name(name: str, *, what: str = "model name") -> str:
    """`name` if it is safe as a folder's and a key's part; raises `ArtifactMissingError`."""
    if not _NAME.fullmatch(name):
        raise ArtifactMissingError(
            f"{name!r} is no {what}: lower-case letters, digits, '.', '_' and '-' are allowed."
        )
    return name


def file_entry(path: Path) -> FileEntry:
    """Hash and size of a file."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while part := file.read(_READ_BYTES):
            digest.update(part)
            size += len(part)
    return FileEntry(sha256=digest.hexdigest(), bytes=size)


def _check_file(path: Path, entry: FileEntry, *, hashed: bool) -> None:
    try:
        size = path.stat().st_size
        intact = not hashed or file_entry(path).sha256 == entry.sha256
        if size == entry.bytes and intact:
            return
    except OSError as error:
        raise ArtifactDamagedError(
            f"{path} of the model cannot be read: {error.strerror}."
        ) from error
    raise ArtifactDamagedError(
        f"{path} is damaged: it has {size:,} bytes and another size or hash than {MANIFEST} says "
        f"({entry.bytes:,} bytes, {entry.sha256[:12]}…). Build or pull the model again."
    )


def read_label(number: int, line: str) -> Label:
    """The class of this number by its line of the labels file."""
    identity, tab, name = line.partition("\t")
    return Label(identity, name) if tab else Label(str(number), line)


def _anchors(document: Any) -> tuple[tuple[tuple[float, float], ...], ...]:
    return tuple(
        tuple((float(width), float(height)) for width, height in head) for head in document
    )


def _canonical(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), default=dict).encode()
