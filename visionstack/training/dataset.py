"""Products read once: every picture decoded, hashed and written as a square, then split in three.

The squares lie in a file under the run's folder, so that data sets may be larger than memory and a
resumed run decodes nothing again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from runtime.inference.engines.processor import usable_processors
from runtime.inference.errors import PictureError
from runtime.inference.pictures import open_checked, to_rgb
from visionstack.files import replace_file
from visionstack.training.duplicates import difference_hash, groups, near_pairs
from visionstack.training.errors import ProductsError
from visionstack.training.products import PARTS, Listing, Part, Picture, Skipped
from visionstack.training.rows import Rows, check_room
from visionstack.training.split import split

Pixels = NDArray[np.uint8]
FEWEST_PER_PRODUCT: Final = 3
_CHUNK: Final = 64
_SAMPLED: Final = 40
_SCHEMA: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """One part: rows of the file of squares, and the number of each one's product."""

    rows: Rows
    numbers: NDArray[np.int64]
    """The row of every picture (n,)."""
    product: NDArray[np.int64]
    """The number of every picture's product (n,)."""
    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.product)

    @property
    def size(self) -> int:
        """Side of every square in pixels."""
        return self.rows.shape[0]

    def pixels(self, chosen: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """uint8 (len(chosen), size, size, 3), red first."""
        return self.rows.read(self.numbers[np.asarray(chosen, np.int64)])

    def some(self, chosen: Sequence[int] | NDArray[np.int64]) -> Pictures:
        """Only those at the places `chosen`."""
        at = np.asarray(chosen, np.int64)
        return Pictures(
            rows=self.rows,
            numbers=self.numbers[at],
            product=self.product[at],
            paths=tuple(self.paths[one] for one in at.tolist()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Products in three parts.

    Attributes:
        hash: hex SHA-256 of every used picture's bytes with its path and product.
        side: median of the pictures' shorter sides in pixels, before scaling to `size`.
        near: pairs of paths that nearly show the same, by perceptual hash.
        left_out: pictures left out of an earlier part since a later one has nearly the same.
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    train: Pictures
    validation: Pictures
    test: Pictures
    source: str
    size: int
    side: int
    hash: str
    seed: int
    skipped: tuple[Skipped, ...] = ()
    near: tuple[tuple[str, str], ...] = ()
    left_out: int = 0

    @property
    def labels(self) -> list[str]:
        """Lines of a labels file."""
        return [f"{one}\t{name}" for one, name in zip(self.ids, self.names, strict=True)]

    def part(self, part: Part) -> Pictures:
        """One of the three."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[part]

    def to_json(self) -> dict[str, Any]:
        """What reports and the artifact say about the data."""
        return {
            "source": self.source,
            "sha256": self.hash,
            "seed": self.seed,
            "count": len(self.ids),
            "ids": list(self.ids),
            "size": self.size,
            **{part: len(self.part(part)) for part in PARTS},
            "skipped": [asdict(one) for one in self.skipped],
            "near_duplicates": {
                "pairs": len(self.near),
                "first": [list(pair) for pair in self.near[:20]],
                "left_out": self.left_out,
            },
        }


@dataclass(frozen=True, slots=True)
class _Read:
    """A picture as it was read; or why it could not be."""

    picture: Picture
    sha256: str = ""
    side: int = 0
    hash: tuple[int, ...] = ()
    pixels: Pixels | None = None
    trouble: str = ""


def read_dataset(
    listing: Listing,
    folder: Path,
    *,
    size: int | None = None,
    seed: int = 0,
    tick: Callable[[int, int], object] = lambda done, total: None,
) -> Dataset:
    """Decode all pictures into `folder` (kept for the next call) and split them.

    Of every picture the middle square, scaled to `size`; without `size`, 224 for photographs and
    96 when the pictures are smaller than that. Broken files are skipped and listed; the same
    picture under two products is left out with both its labels. Raises `ProductsError` and
    `TrainingError`.
    """
    size = size or _fitting_size(listing)
    key = _key(listing, size)
    rows = Rows(folder / f"squares-{key}.u8", shape=(size, size, 3), dtype=np.uint8)
    index = _index(folder / f"squares-{key}.json")
    if index is None:
        index = _decode(listing, rows, size, tick)
        replace_file(folder / f"squares-{key}.json", json.dumps(index))
    return _dataset(listing, index, rows, size=size, seed=seed)


def square(image: Image.Image, size: int) -> Image.Image:
    """The middle square with the resampling that `runtime.inference.classification` uses."""
    return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)


def _decode(
    listing: Listing, rows: Rows, size: int, tick: Callable[[int, int], object]
) -> dict[str, Any]:
    total = len(listing.pictures)
    check_room(rows.path.parent, total * rows.row_bytes)
    rows.path.unlink(missing_ok=True)
    good: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    for done, chunk in enumerate(_chunks(listing, size), start=1):
        kept = [one for one in chunk if one.pixels is not None]
        if kept:
            rows.append(np.stack([one.pixels for one in kept if one.pixels is not None]))
        for one in chunk:
            if one.pixels is None:
                skipped.append({"path": one.picture.path, "reason": one.trouble})
                continue
            entry = {"sha256": one.sha256, "side": one.side, "hash": list(one.hash)}
            good.append({**asdict(one.picture), **entry})
        tick(min(done * _CHUNK, total), total)
    return {"schema": _SCHEMA, "pictures": good, "skipped": skipped}


def _chunks(listing: Listing, size: int) -> Iterator[list[_Read]]:
    def read(picture: Picture) -> _Read:
        try:
            data = listing.read(picture.path)
            image = to_rgb(open_checked(data))
        except (PictureError, ProductsError) as error:
            return _Read(picture, trouble=error.message)
        except OSError as error:
            return _Read(picture, trouble=f"it cannot be read: {error}")
        except MemoryError:
            return _Read(picture, trouble="it does not fit into memory")
        fitted = square(image, size)
        return _Read(
            picture,
            sha256=hashlib.sha256(data).hexdigest(),
            side=min(image.size),
            hash=tuple(difference_hash(fitted).tolist()),
            pixels=np.asarray(fitted),
        )

    with ThreadPoolExecutor(usable_processors()) as pool:
        for start in range(0, len(listing.pictures), _CHUNK):
            yield list(pool.map(read, listing.pictures[start : start + _CHUNK]))


def _dataset(
    listing: Listing, index: dict[str, Any], rows: Rows, *, size: int, seed: int
) -> Dataset:
    entries: list[dict[str, Any]] = index["pictures"]
    skipped = [*listing.skipped, *(Skipped(**one) for one in index["skipped"])]
    usable, contradictory = _without_contradictions(entries)
    skipped += contradictory
    ids = listing.ids
    numbers = {product: number for number, product in enumerate(ids)}
    product = np.array([numbers[entries[at]["product"]] for at in usable], np.int64)
    hashes = np.array([entries[at]["hash"] for at in usable], np.uint64).reshape(-1, 4)
    pairs = near_pairs(hashes)
    group = groups(len(usable), pairs)
    _check_counts(listing, ids, product, group)
    parts, left_out = split(product, group, [entries[at]["part"] for at in usable], seed=seed)
    made = {}
    for part in PARTS:
        mine = [place for place, one in enumerate(parts) if one == part]
        made[part] = Pictures(
            rows=rows,
            numbers=np.array([usable[place] for place in mine], np.int64),
            product=product[mine],
            paths=tuple(entries[usable[place]]["path"] for place in mine),
        )
    _check_parts(listing, ids, made)
    digest = hashlib.sha256()
    for at in usable:
        one = entries[at]
        digest.update(f"{one['path']}\t{one['product']}\t{one['sha256']}\n".encode())
    return Dataset(
        ids=ids,
        names=tuple(listing.names.get(one, one) for one in ids),
        train=made["train"],
        validation=made["validation"],
        test=made["test"],
        source=listing.source.name,
        size=size,
        side=int(np.median([entries[at]["side"] for at in usable])),
        hash=digest.hexdigest(),
        seed=seed,
        skipped=tuple(skipped),
        near=tuple((entries[usable[a]]["path"], entries[usable[b]]["path"]) for a, b in pairs),
        left_out=left_out,
    )


def _without_contradictions(entries: list[dict[str, Any]]) -> tuple[list[int], list[Skipped]]:
    """Rows to use; a picture under two products teaches nothing, so none of its copies is used."""
    products: dict[str, set[str]] = {}
    for one in entries:
        products.setdefault(one["sha256"], set()).add(one["product"])
    usable, skipped = [], []
    for at, one in enumerate(entries):
        if len(found := products[one["sha256"]]) > 1:
            reason = f"the same picture in {len(found)} classes: {', '.join(sorted(found))}"
            skipped.append(Skipped(one["path"], reason))
        else:
            usable.append(at)
    return usable, skipped


def _check_counts(
    listing: Listing, ids: tuple[str, ...], product: NDArray[np.int64], group: NDArray[np.int64]
) -> None:
    for number, one in enumerate(ids):
        mine = product == number
        count, different = int(mine.sum()), len(set(group[mine].tolist()))
        if different < FEWEST_PER_PRODUCT:
            alike = "" if count == different else f", of which {different} differ"
            raise ProductsError(
                f"{listing.source} has {count} usable picture{'s' * (count != 1)} of {one}{alike}; "
                f"{FEWEST_PER_PRODUCT} different ones are needed, one each to train, to choose "
                "and to test with.",
                remedy="Add pictures of it, or leave the product out.",
            )


def _check_parts(listing: Listing, ids: tuple[str, ...], parts: dict[Part, Pictures]) -> None:
    for part, pictures in parts.items():
        present = set(pictures.product.tolist())
        if missing := [one for number, one in enumerate(ids) if number not in present]:
            raise ProductsError(
                f"{listing.source} has no {part} picture of {', '.join(missing[:5])}.",
                remedy="Give every product pictures in each part, or give no parts at all.",
            )


def _fitting_size(listing: Listing) -> int:
    step = max(1, len(listing.pictures) // _SAMPLED)
    sides = []
    for picture in listing.pictures[::step]:
        try:
            sides.append(min(open_checked(listing.read(picture.path)).size))
        except (PictureError, ProductsError, OSError):
            continue
    return 224 if not sides or float(np.median(sides)) >= 96 else 96


def _key(listing: Listing, size: int) -> str:
    digest = hashlib.sha256(f"{_SCHEMA} {size} {listing.source.resolve()}\n".encode())
    for one in listing.pictures:
        digest.update(f"{one.path}\t{one.product}\t{one.part}\t".encode())
        digest.update(f"{listing.stamps[one.path]}\n".encode())
    return digest.hexdigest()[:16]


def _index(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("schema") == _SCHEMA else None
