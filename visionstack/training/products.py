"""Which pictures belong to which product: a folder a product, a zip of such, or a CSV of labels.

Nothing is decoded here and nothing is ever unpacked: a picture is read when it is asked for.
A product's id is its folder's name (or the CSV's `id`); `products.csv` beside the folders
(`id,name` a line) gives readable names.
"""

from __future__ import annotations

import csv
import io
import lzma
import os
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from runtime.contract import MAX_PICTURE_BYTES
from visionstack.picture_files import UNREAD_SUFFIXES, is_clutter, left_out
from visionstack.training.errors import ProductsError

Part = Literal["train", "validation", "test"]
PARTS: Final[tuple[Part, ...]] = ("train", "validation", "test")
SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MOST_PICTURES: Final = 100_000
MOST_UNPACKED_BYTES: Final = 64 * 2**30
"""Of a zip's pictures together: what its index announces is checked before anything is read."""
UNKNOWN: Final = "unknown"
"""The id of the answer "none of these"; no product may have it."""
_FOLDERS: Final[dict[str, Part]] = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_UNREAD: Final = f"none of {', '.join(SUFFIXES)}: save it as JPEG first"
_NAMES_FILE: Final = "products.csv"
_LAYOUT: Final = (
    "Put the pictures into {product}/, into train/{product}/ and test/{product}/, or give a CSV "
    "with the columns file,id."
)
_ZIP_ERRORS: Final = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
    struct.error,
)
"""What zipfile and the decompressors below it raise on damaged, encrypted or unknown entries."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture by its path within the source; `part` where the source says it."""

    path: str
    product: str
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is not used, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a source holds. `read` gives a picture's bytes; it raises OSError or `ProductsError`."""

    source: Path
    pictures: tuple[Picture, ...]
    names: dict[str, str]
    skipped: tuple[Skipped, ...]
    stamps: dict[str, str]
    """Changes when a picture's file does, by path: its size with its time or its CRC."""
    read: Callable[[str], bytes] = field(repr=False)

    @property
    def ids(self) -> tuple[str, ...]:
        """The products in the order of their ids."""
        return tuple(sorted({picture.product for picture in self.pictures}))


def list_products(source: Path) -> Listing:
    """Look through a folder, zip or CSV. Raises `ProductsError` naming what cannot be used."""
    if source.is_dir():
        listing = _list_folder(source)
    elif not source.is_file():
        raise ProductsError(
            f"There is no folder, zip or CSV of products at {source}.", remedy=_LAYOUT
        )
    elif source.suffix.lower() == ".csv":
        listing = _list_csv(source)
    else:
        listing = _list_zip(source)
    _check(listing)
    return listing


def _list_folder(folder: Path) -> Listing:
    paths, skipped, stamps = _walk(folder)
    empty = _empty_classes(folder, paths)
    if empty:
        unread = [PurePosixPath(one.path) for one in skipped if one.reason == _UNREAD]
        raise ProductsError(
            f"{folder} has an empty class: no picture in {', '.join(empty[:5])}.",
            remedy=" ".join(
                filter(None, ("Add pictures or remove the folder.", left_out(unread, SUFFIXES)))
            ),
        )
    names = folder / _NAMES_FILE
    pictures = _by_folder(paths)
    return Listing(
        source=folder,
        pictures=tuple(pictures),
        names=_names(names.read_bytes()) if names.is_file() else {},
        skipped=(*skipped, *_loose(paths, pictures)),
        stamps=stamps,
        read=lambda path: _read_file(folder / path),
    )


def _walk(folder: Path) -> tuple[list[str], list[Skipped], dict[str, str]]:
    """Pictures below a folder; links are not followed, since they may lead anywhere."""
    paths: list[str] = []
    skipped: list[Skipped] = []
    stamps: dict[str, str] = {}
    for root, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted([*folders, *files]):
            path = Path(root) / name
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink():
                skipped.append(Skipped(relative, "a symbolic link; links are not followed"))
            elif name in files and _is_unread(relative):
                skipped.append(Skipped(relative, _UNREAD))
            elif name in files and _is_picture(relative):
                found = path.stat()
                if not stat.S_ISREG(found.st_mode):
                    skipped.append(Skipped(relative, "no plain file"))
                    continue
                paths.append(relative)
                stamps[relative] = f"{found.st_size} {found.st_mtime_ns}"
    return paths, skipped, stamps


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_PICTURE_BYTES + 1)


def _empty_classes(folder: Path, paths: Iterable[str]) -> list[str]:
    """Folders that look like a product's and hold no picture."""
    full = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
    found = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    for part in [path for path in found if path.name in _FOLDERS]:
        found.remove(part)
        found += [path for path in part.iterdir() if path.is_dir() and not path.is_symlink()]
    return [
        name
        for path in sorted(found)
        if (name := path.relative_to(folder).as_posix()) not in full
        and not path.name.startswith((".", "__"))
    ]


def _list_zip(source: Path) -> Listing:
    try:
        archive = zipfile.ZipFile(source)
    except _ZIP_ERRORS as error:
        raise ProductsError(
            f"{source} is neither a folder, nor a zip, nor a CSV: {error}.", remedy=_LAYOUT
        ) from error
    entries = check_archive(archive, source)
    top = _common_top([entry.filename for entry in entries if _is_picture(entry.filename)])
    inside = {entry.filename.removeprefix(top): entry for entry in entries}
    pictures = sorted(path for path in inside if _is_picture(path))
    names = inside.get(_NAMES_FILE)

    def read(path: str) -> bytes:
        try:
            # zipfile itself unpacks no more than the size that `check_archive` counted.
            with archive.open(inside[path]) as file:
                return file.read(MAX_PICTURE_BYTES + 1)
        except _ZIP_ERRORS as error:
            raise ProductsError(
                f"{source}: {inside[path].filename} cannot be unpacked: {error}.",
                remedy="Make the zip anew.",
            ) from error

    listed = _by_folder(pictures)
    unread = [Skipped(path, _UNREAD) for path in sorted(inside) if _is_unread(path)]
    return Listing(
        source=source,
        pictures=tuple(listed),
        names=_names(read(_NAMES_FILE)) if names else {},
        skipped=(*unread, *_loose(pictures, listed)),
        stamps={path: f"{inside[path].file_size} {inside[path].CRC:08x}" for path in pictures},
        read=read,
    )


def check_archive(archive: zipfile.ZipFile, source: Path) -> list[zipfile.ZipInfo]:
    """The files of a zip that may be read. Raises `ProductsError` for a zip that climbs out of
    its folder, is encrypted, or unfolds to more than `MOST_UNPACKED_BYTES`."""
    entries = []
    for entry in archive.infolist():
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise ProductsError(
                f"{source}: the entry {entry.filename!r} climbs out of the zip's folder.",
                remedy="Do not use this zip; pack the pictures anew.",
            )
        if entry.is_dir() or stat.S_ISLNK(entry.external_attr >> 16):
            continue
        if entry.flag_bits & 1:
            raise ProductsError(
                f"{source} is encrypted ({entry.filename}).", remedy="Pack it without a password."
            )
        entries.append(entry)
    total = sum(entry.file_size for entry in entries)
    if total > MOST_UNPACKED_BYTES:
        raise ProductsError(
            f"{source} unfolds to {total:,} bytes, more than the {MOST_UNPACKED_BYTES:,} that are "
            "allowed.",
            remedy="Give a folder instead, or fewer pictures.",
        )
    return entries


def _common_top(paths: list[str]) -> str:
    """The one folder that everything lies in, as many programs pack, with its slash; or none."""
    tops = {path.partition("/")[0] for path in paths}
    deep = all(path.count("/") >= 2 for path in paths)
    if len(tops) == 1 and deep and (top := tops.pop()) not in _FOLDERS:
        return f"{top}/"
    return ""


def _list_csv(source: Path) -> Listing:
    """Columns `file` (relative to the CSV) and `id`; `name` and `part` if there are such."""
    folder = source.parent
    try:
        rows = list(csv.DictReader(io.StringIO(source.read_text("utf-8-sig"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ProductsError(f"{source} cannot be read as a CSV in UTF-8: {error}.") from error
    columns = set(rows[0]) if rows else set()
    if not {"file", "id"} <= columns:
        raise ProductsError(
            f"{source} has the columns {', '.join(sorted(map(str, columns))) or 'none'}; "
            "'file' and 'id' are needed.",
            remedy="The first line names the columns: file,id or file,id,name,part.",
        )
    pictures: list[Picture] = []
    names: dict[str, str] = {}
    gone: list[str] = []
    skipped: list[Skipped] = []
    labels: dict[str, str] = {}
    stamps: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        file, product = (row["file"] or "").strip(), (row["id"] or "").strip()
        part = (row.get("part") or "").strip().lower()
        if not file or not product or (part and part not in _FOLDERS):
            raise ProductsError(
                f"{source}, line {number}: file {file!r}, id {product!r}, part {part!r}; a file "
                "and an id are needed, and a part is train, validation or test."
            )
        path = PurePosixPath(file)
        if path.is_absolute() or ".." in path.parts:
            raise ProductsError(f"{source}, line {number}: {file} climbs out of {folder}.")
        if labels.setdefault(file, product) != product:
            raise ProductsError(
                f"{source}, line {number}: {file} is {product}, but {labels[file]} further up."
            )
        if (folder / file).is_symlink():
            skipped.append(Skipped(file, "a symbolic link; links are not followed"))
        elif not (folder / file).is_file():
            gone.append(file)
        elif file not in stamps:
            found = (folder / file).stat()
            stamps[file] = f"{found.st_size} {found.st_mtime_ns}"
            pictures.append(Picture(file, product, _FOLDERS[part] if part else None))
        if row.get("name"):
            names[product] = row["name"].strip()
    if gone:
        raise ProductsError(
            f"{source} names {len(gone)} files that are not in {folder}: "
            f"{', '.join(gone[:5])}{' …' if len(gone) > 5 else ''}.",
            remedy="Paths are relative to the CSV; correct them or take the lines out.",
        )
    return Listing(
        source=source,
        pictures=tuple(pictures),
        names=names,
        skipped=tuple(skipped),
        stamps=stamps,
        read=lambda path: _read_file(folder / path),
    )


def _is_picture(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not is_clutter(path)


def _is_unread(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in UNREAD_SUFFIXES and not is_clutter(path)


def _by_folder(paths: list[str]) -> list[Picture]:
    folders = {path: PurePosixPath(path).parts for path in paths}
    if any(parts[0] in _FOLDERS and len(parts) >= 3 for parts in folders.values()):
        return [
            Picture(path, parts[1], _FOLDERS[parts[0]])
            for path, parts in folders.items()
            if len(parts) >= 3 and parts[0] in _FOLDERS
        ]
    return [Picture(path, parts[-2]) for path, parts in folders.items() if len(parts) >= 2]


def _loose(paths: list[str], pictures: list[Picture]) -> list[Skipped]:
    """Pictures beside the products' folders."""
    used = {picture.path for picture in pictures}
    return [Skipped(path, "in no product's folder") for path in paths if path not in used]


def _names(data: bytes) -> dict[str, str]:
    rows = csv.reader(io.StringIO(data.decode("utf-8-sig", "replace")))
    return {row[0].strip(): " ".join(row[1].split()) for row in rows if len(row) >= 2}


def normalised(product: str) -> str:
    """What two ids must differ in: Unicode NFKC, without case, spaces, `-` and `_` alike."""
    folded = unicodedata.normalize("NFKC", product).casefold()
    return " ".join(folded.replace("-", " ").replace("_", " ").split())


def _check(listing: Listing) -> None:
    source, ids = listing.source, listing.ids
    if len(ids) < 2:
        raise ProductsError(f"{source} holds {len(ids)} products; two are needed.", remedy=_LAYOUT)
    if len(listing.pictures) > MOST_PICTURES:
        raise ProductsError(f"{source} holds more than {MOST_PICTURES:,} pictures.")
    seen: dict[str, str] = {}
    for product in ids:
        if not product.isprintable() or product != product.strip():
            raise ProductsError(
                f"{source}: the id {product!r} has characters that cannot be printed.",
                remedy="Rename it.",
            )
        if (other := seen.setdefault(normalised(product), product)) != product:
            raise ProductsError(
                f"{source}: the ids {other!r} and {product!r} differ only in case, spaces or "
                "hyphens.",
                remedy="Give them names that people and programs can tell apart.",
            )
    if UNKNOWN in seen:
        raise ProductsError(
            f"{source}: the id {seen[UNKNOWN]!r} is what an answer is called that is none of the "
            "products.",
            remedy="Rename it.",
        )
