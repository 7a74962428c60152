"""Products are read from folders and zips, and what is wrong with them is named."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionstack.paths import SAMPLES
from visionstack.training.errors import ProductsError
from visionstack.training.products import read_products


def picture(colour: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def fill(folder: Path, names: dict[str, int], *, size: tuple[int, int] = (40, 30)) -> Path:
    for name, count in names.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            (folder / name / f"{number}.png").write_bytes(picture((number, 0, 0), size))
    return folder


def test_the_sample_products_are_complete() -> None:
    products = read_products(SAMPLES / "fashion_products.zip", size=32)
    assert len(products.ids) == 10
    assert "ankle-boot" in products.ids
    assert (len(products.train), len(products.test)) == (1000, 500)
    assert products.train.pixels.shape == (1000, 32, 32, 3)
    assert np.bincount(products.train.product).tolist() == [100] * 10


def test_a_folder_and_its_zip_are_the_same(tmp_path: Path) -> None:
    folder = fill(tmp_path / "folder", {"train/a": 3, "train/b": 2, "test/a": 1, "test/b": 1})
    with zipfile.ZipFile(tmp_path / "products.zip", "w") as archive:
        for path in folder.rglob("*.png"):
            archive.write(path, path.relative_to(folder))
    one, other = read_products(folder), read_products(tmp_path / "products.zip")
    assert one.ids == other.ids == ("a", "b")
    assert np.array_equal(one.train.pixels, other.train.pixels)
    assert np.array_equal(one.test.product, other.test.product)


def test_without_parts_every_fifth_picture_is_for_the_test(tmp_path: Path) -> None:
    products = read_products(fill(tmp_path / "p", {"a": 10, "b": 5}))
    assert np.bincount(products.train.product).tolist() == [8, 4]
    assert np.bincount(products.test.product).tolist() == [2, 1]


def test_names_come_from_the_list_beside_the_folders(tmp_path: Path) -> None:
    folder = fill(tmp_path / "p", {"A-1": 5, "B-2": 5})
    (folder / "products.csv").write_text("A-1,red chair\n")
    assert read_products(folder).labels == ["A-1\tred chair", "B-2\tB-2"]


@pytest.mark.parametrize(("side", "expected"), [(28, 96), (400, 224)])
def test_the_size_follows_the_pictures(tmp_path: Path, side: int, expected: int) -> None:
    folder = fill(tmp_path / "p", {"a": 5, "b": 5}, size=(side, side))
    assert read_products(folder).size == expected


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"a": 5}, "1 products"),
        ({"a": 5, "b": 1}, "1 picture of b"),
        ({"a": 3, "b": 3}, "no picture to test"),
        ({"train/a": 2, "train/b": 2, "test/c": 1}, "test pictures of c"),
    ],
)
def test_products_that_cannot_be_told_apart_are_refused(
    tmp_path: Path, names: dict[str, int], message: str
) -> None:
    with pytest.raises(ProductsError, match=message):
        read_products(fill(tmp_path / "p", names))


def test_a_bad_picture_is_named(tmp_path: Path) -> None:
    folder = fill(tmp_path / "p", {"a": 5, "b": 5})
    (folder / "b" / "9.jpg").write_bytes(b"no picture")
    with pytest.raises(ProductsError, match=r"b/9\.jpg"):
        read_products(folder, size=32)


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProductsError, match="There is no folder or zip"):
        read_products(tmp_path / "gone.zip")
    (tmp_path / "text.zip").write_text("text")
    with pytest.raises(ProductsError, match="neither a folder nor a zip"):
        read_products(tmp_path / "text.zip")


def zipped(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def test_a_zip_that_unpacks_to_too_much_is_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = zipped(tmp_path / "bomb.zip", {f"a/{n}.png": bytes(300_000) for n in range(4)})
    monkeypatch.setattr("visionstack.training.products.MOST_BYTES", 1_000_000)
    read: list[str] = []
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda _, name, *rest: read.append(str(name)))
    assert source.stat().st_size < 10_000

    with pytest.raises(ProductsError, match=r"bomb\.zip.*1,200,000 bytes.*1,000,000"):
        read_products(source)

    assert read == []


def test_an_entry_that_unpacks_to_more_than_it_says_is_refused(tmp_path: Path) -> None:
    source = zipped(tmp_path / "liar.zip", {"a/0.png": bytes(300_000)})
    data = source.read_bytes()
    source.write_bytes(data.replace((300_000).to_bytes(4, "little"), (100).to_bytes(4, "little")))

    with pytest.raises(ProductsError, match=r"liar\.zip: a/0\.png"):
        read_products(source)


LOCAL, CENTRAL = 0, 1
DAMAGE: dict[str, list[tuple[int, int, bytes]]] = {
    # What, in which of the two headers, at which offset, is overwritten by which bytes.
    "deflate stream": [(LOCAL, 30 + len("a/0.png"), b"\xff" * 8)],
    "method": [(LOCAL, 8, b"\x63\0"), (CENTRAL, 10, b"\x63\0")],
    "bzip2 stream": [(LOCAL, 8, b"\x0c\0"), (CENTRAL, 10, b"\x0c\0")],
    "lzma stream": [(LOCAL, 8, b"\x0e\0"), (CENTRAL, 10, b"\x0e\0")],
    "encrypted": [(LOCAL, 6, b"\x01\0"), (CENTRAL, 8, b"\x01\0")],
    "checksum": [(LOCAL, 14, b"\0\0\0\0"), (CENTRAL, 16, b"\0\0\0\0")],
    "offset": [(CENTRAL, 42, b"\0\0\0\x80")],
    "name": [(LOCAL, 30, b"z")],
}


def _damaged(path: Path, how: str) -> Path:
    data = bytearray(zipped(path, {"a/0.png": picture((1, 2, 3))}).read_bytes())
    starts = {LOCAL: 0, CENTRAL: data.index(b"PK\x01\x02")}
    for header, offset, written in DAMAGE[how]:
        at = starts[header] + offset
        data[at : at + len(written)] = written
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_zip_is_a_sentence_that_names_it(tmp_path: Path, how: str) -> None:
    with pytest.raises(ProductsError, match=r"damaged\.zip"):
        read_products(_damaged(tmp_path / "damaged.zip", how))
