"""Products to tell apart: a folder or zip with pictures by product.

Either `train/{product}/…` and `test/{product}/…`, or only `{product}/…`, of which every fifth
picture in the order of names is kept for the test. A product's id is its folder's name; a file
`products.csv` beside the folders (`id,name` a line) gives readable names.
"""

from __future__ import annotations

import csv
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from runtime.inference.errors import PictureError
from runtime.inference.pictures import open_checked, to_rgb
from visionstack.training.errors import ProductsError

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MOST_PICTURES: Final = 100_000
MOST_BYTES: Final = 4 * 1024**3
"""Of all pictures of a zip together, unpacked: they are held in memory."""
FEWEST_PER_PRODUCT: Final = 2
_TEST_EVERY: Final = 5
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
_SPLITS: Final = ("train", "test")

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Pictures uint8 (n, size, size, 3), red first, and the number of each one's product (n,)."""

    pixels: Pixels
    product: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.product)


@dataclass(frozen=True, slots=True, kw_only=True)
class Products:
    """Ids and names by product number, and the two parts."""

    ids: tuple[str, ...]
    names: tuple[str, ...]
    train: Pictures
    test: Pictures
    source: str
    size: int

    @property
    def labels(self) -> list[str]:
        """Lines of a labels file."""
        return [f"{one}\t{name}" for one, name in zip(self.ids, self.names, strict=True)]


def read_products(source: Path, *, size: int | None = None) -> Products:
    """Read a folder or zip; of every picture the middle square, scaled to `size`.

    Without `size`: 224 for photographs, 96 when the pictures are smaller than that themselves.
    Raises `ProductsError` naming what is missing or which picture is bad.
    """
    files = dict(_files(source))
    parts = _parts(files)
    ids = tuple(sorted({product for product, _ in parts["train"]}))
    _check(source, parts, ids)
    if size is None:
        size = _fitting_size(files, parts)
    numbers = {product: number for number, product in enumerate(ids)}
    named = _names(files)
    read = {
        split: Pictures(
            pixels=np.stack([_square(files[path], path, size) for _, path in parts[split]]),
            product=np.array([numbers[product] for product, _ in parts[split]], np.int64),
        )
        for split in _SPLITS
    }
    return Products(
        ids=ids,
        names=tuple(named.get(product, product) for product in ids),
        train=read["train"],
        test=read["test"],
        source=source.name,
        size=size,
    )


def _files(source: Path) -> Iterator[tuple[str, bytes]]:
    """Pictures and the list of names, by path within the source."""
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_file() and _wanted(path.name):
                yield path.relative_to(source).as_posix(), path.read_bytes()
        return
    try:
        archive = zipfile.ZipFile(source)
    except FileNotFoundError as error:
        raise ProductsError(f"There is no folder or zip of products at {source}.") from error
    except _ZIP_ERRORS as error:
        raise ProductsError(f"{source} is neither a folder nor a zip: {error}.") from error
    with archive:
        entries = [entry for entry in archive.infolist() if _wanted(entry.filename)]
        total = sum(entry.file_size for entry in entries)
        if total > MOST_BYTES:
            raise ProductsError(
                f"{source} unpacks to {total:,} bytes; at most {MOST_BYTES:,} are read.",
                remedy="Scale the pictures down, or take fewer.",
            )
        for entry in sorted(entries, key=lambda entry: entry.filename):
            try:
                with archive.open(entry) as file:
                    # With the size that was counted, more than which is then never unpacked.
                    data = file.read(entry.file_size)
            except _ZIP_ERRORS as error:
                raise ProductsError(
                    f"{source}: {entry.filename} cannot be unpacked: {error}.",
                    remedy="Make the zip anew.",
                ) from error
            yield entry.filename, data


def _wanted(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES or path.name == "products.csv"


def _parts(files: dict[str, bytes]) -> dict[str, list[tuple[str, str]]]:
    """(product, path) by part."""
    pictures = [path for path in files if not path.endswith(".csv")]
    split = any(PurePosixPath(path).parts[0] in _SPLITS for path in pictures)
    parts: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    counts: dict[str, int] = {}
    for path in pictures:
        folders = PurePosixPath(path).parts
        if split and len(folders) >= 3 and folders[0] in _SPLITS:
            parts[folders[0]].append((folders[1], path))
        elif not split and len(folders) >= 2:
            product = folders[-2]
            counts[product] = counts.get(product, 0) + 1
            kept = counts[product] % _TEST_EVERY == 0
            parts["test" if kept else "train"].append((product, path))
    return parts


def _check(source: Path, parts: dict[str, list[tuple[str, str]]], ids: tuple[str, ...]) -> None:
    remedy = "Put the pictures into train/{product}/ and test/{product}/, or only {product}/."
    if len(ids) < 2:
        raise ProductsError(f"{source} holds {len(ids)} products; two are needed.", remedy=remedy)
    if not parts["test"]:
        raise ProductsError(f"{source} holds no picture to test with.", remedy=remedy)
    if sum(map(len, parts.values())) > MOST_PICTURES:
        raise ProductsError(f"{source} holds more than {MOST_PICTURES:,} pictures.")
    strange = sorted({product for product, _ in parts["test"]} - set(ids))
    if strange:
        raise ProductsError(
            f"{source} has test pictures of {', '.join(strange)} but none to train with.",
            remedy=remedy,
        )
    for product in ids:
        count = sum(one == product for one, _ in parts["train"])
        if count < FEWEST_PER_PRODUCT:
            raise ProductsError(
                f"{source} has {count} picture of {product} to train with; "
                f"{FEWEST_PER_PRODUCT} are needed."
            )


def _fitting_size(files: dict[str, bytes], parts: dict[str, list[tuple[str, str]]]) -> int:
    first = [path for _, path in parts["train"][:: max(1, len(parts["train"]) // 20)]]
    sides = [min(_open(files[path], path).size) for path in first]
    return 224 if float(np.median(sides)) >= 96 else 96


def _names(files: dict[str, bytes]) -> dict[str, str]:
    text = next((data for path, data in files.items() if path.endswith("products.csv")), b"")
    rows = csv.reader(io.StringIO(text.decode("utf-8", "replace")))
    return {row[0].strip(): row[1].strip() for row in rows if len(row) >= 2}


def _open(data: bytes, path: str) -> Image.Image:
    try:
        return open_checked(data)
    except PictureError as error:
        raise ProductsError(f"{path}: {error.message}", remedy="Remove or replace it.") from error


def _square(data: bytes, path: str, size: int) -> Pixels:
    try:
        image = to_rgb(_open(data, path))
    except PictureError as error:
        raise ProductsError(f"{path}: {error.message}", remedy="Remove or replace it.") from error
    # The same middle and the same resampling as runtime.inference.classification takes.
    return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC))
