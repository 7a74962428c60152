"""Products are listed from folders, zips and CSVs, and what is wrong with them is named."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.unit.training.conftest import fill, picture
from visionstack.cli.main import app
from visionstack.paths import SAMPLES
from visionstack.training import products
from visionstack.training.errors import ProductsError
from visionstack.training.products import list_products


def packed(folder: Path, target: Path, *, under: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, under + path.relative_to(folder).as_posix())
    return target


def test_the_sample_products_are_complete() -> None:
    listing = list_products(SAMPLES / "fashion_products.zip")
    assert len(listing.ids) == 10
    assert "ankle-boot" in listing.ids
    parts = [picture.part for picture in listing.pictures]
    assert (parts.count("train"), parts.count("test")) == (1000, 500)


@pytest.mark.parametrize("under", ["", "everything/"])
def test_a_folder_and_its_zip_are_the_same(tmp_path: Path, under: str) -> None:
    folder = fill(tmp_path / "folder", {"train/a": 3, "train/b": 2, "val/a": 1, "test/b": 1})
    zipped = list_products(packed(folder, tmp_path / "products.zip", under=under))
    one = list_products(folder)
    assert one.pictures == zipped.pictures
    assert {p.part for p in one.pictures} == {"train", "validation", "test"}
    path = one.pictures[0].path
    assert one.read(path) == zipped.read(path)


def test_names_come_from_the_list_beside_the_folders(tmp_path: Path) -> None:
    folder = fill(tmp_path / "p", {"A-1": 3, "B-2": 3})
    (folder / "products.csv").write_text("A-1,red  chair\n")
    assert list_products(folder).names == {"A-1": "red chair"}


def test_a_csv_gives_labels_names_and_parts(tmp_path: Path) -> None:
    fill(tmp_path, {"pictures": 3})
    (tmp_path / "labels.csv").write_text(
        "file,id,name,part\npictures/000.png,A,a chair,train\npictures/001.png,B,,test\n"
        "pictures/002.png,A,a chair,\n"
    )
    listing = list_products(tmp_path / "labels.csv")
    assert [(p.product, p.part) for p in listing.pictures] == [
        ("A", "train"),
        ("B", "test"),
        ("A", None),
    ]
    assert listing.names == {"A": "a chair"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("picture,label\na.png,A\n", "'file' and 'id' are needed"),
        ("", "columns none"),
        ("file,id\n000.png,A\nmissing.png,B\n", r"1 files that are not in .*: missing\.png"),
        ("file,id\n../elsewhere/000.png,A\n", "climbs out"),
        ("file,id\n000.png,A\n000.png,B\n", r"line 3: 000\.png is B, but A further up"),
        ("file,id\n000.png,\n", "a file and an id are needed"),
        ("file,id,part\n000.png,A,holdout\n", "a part is train, validation or test"),
    ],
)
def test_a_csv_that_does_not_match_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "000.png").write_bytes(picture(1))
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ProductsError, match=message):
        list_products(tmp_path / "labels.csv")


def test_a_deployment_without_a_project_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visionstack.paths.PROJECT", None)
    unread = ["train", "classifier", str(tmp_path / "nothing")]
    refused = CliRunner().invoke(app, [*unread, "--deploy"])
    assert "no visionstack project" in str(refused.exception)
    assert "nothing" in str(CliRunner().invoke(app, unread).exception)


def test_a_missing_library_is_told_before_the_pictures_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else known(name)
    )
    refused = CliRunner().invoke(app, ["train", "classifier", str(tmp_path / "nothing")])
    assert "needs the library torch" in str(refused.exception)


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    folder = fill(tmp_path / "p", {"a": 3, "b": 3})
    (folder / "c").mkdir()
    with pytest.raises(ProductsError, match="an empty class: no picture in c"):
        list_products(folder)


def test_pictures_that_cannot_be_read_are_listed_and_clutter_is_not(tmp_path: Path) -> None:
    folder = fill(tmp_path / "p", {"a": 3, "b": 3})
    for name in ("a/IMG_1.HEIC", "b/IMG_2.dng", "a/._000.png", "a/notes.txt", ".x/y.heic"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    for source in (folder, packed(folder, tmp_path / "p.zip")):
        listing = list_products(source)
        assert [one.path for one in listing.skipped] == ["a/IMG_1.HEIC", "b/IMG_2.dng"]
        assert "save it as JPEG" in listing.skipped[0].reason
        assert len(listing.pictures) == 6
    (folder / "loose.png").write_bytes(picture(1))
    for source in (folder, packed(folder, tmp_path / "q.zip")):
        reasons = {one.path: one.reason for one in list_products(source).skipped}
        assert reasons["loose.png"] == "in no product's folder"
    (folder / "c").mkdir()
    (folder / "a" / "IMG_1.HEIC").rename(folder / "c" / "IMG_1.HEIC")
    with pytest.raises(ProductsError, match="an empty class: no picture in c") as refused:
        list_products(folder)
    assert "1 .heic" in str(refused.value.remedy)


@pytest.mark.parametrize(
    ("one", "other"), [("Chair-1", "chair 1"), ("caf\u00e9", "cafe\u0301"), ("a_b", "a-b")]
)
def test_ids_that_collide_after_normalisation_are_refused(
    tmp_path: Path, one: str, other: str
) -> None:
    with pytest.raises(ProductsError, match="differ only in case, spaces or hyphens"):
        list_products(fill(tmp_path / "p", {one: 3, other: 3}))


def test_unknown_is_no_product(tmp_path: Path) -> None:
    with pytest.raises(ProductsError, match="none of the products"):
        list_products(fill(tmp_path / "p", {"Unknown": 3, "b": 3}))


def test_one_product_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProductsError, match="1 products; two are needed"):
        list_products(fill(tmp_path / "p", {"a": 3}))


def test_links_are_not_followed(tmp_path: Path) -> None:
    folder = fill(tmp_path / "p", {"a": 3, "b": 3})
    outside = fill(tmp_path / "outside", {"x": 2})
    (folder / "a" / "link.png").symlink_to(outside / "x" / "000.png")
    (folder / "c").symlink_to(outside / "x")
    listing = list_products(folder)
    assert listing.ids == ("a", "b")
    assert [(one.path, "link" in one.reason) for one in listing.skipped] == [
        ("c", True),
        ("a/link.png", True),
    ]


@pytest.mark.parametrize("name", ["../outside.png", "/etc/outside.png", "..\\outside.png"])
def test_a_zip_that_climbs_out_of_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    target = packed(fill(tmp_path / "p", {"a": 3, "b": 3}), tmp_path / "p.zip")
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr(name, picture(1))
    with pytest.raises(ProductsError, match="climbs out of the zip's folder"):
        list_products(target)


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProductsError, match="There is no folder, zip or CSV"):
        list_products(tmp_path / "gone.zip")
    (tmp_path / "text.zip").write_text("text")
    with pytest.raises(ProductsError, match="neither a folder, nor a zip, nor a CSV"):
        list_products(tmp_path / "text.zip")


def zipped(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def test_a_zip_that_unpacks_to_too_much_is_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = zipped(tmp_path / "bomb.zip", {f"a/{n}.png": bytes(300_000) for n in range(4)})
    monkeypatch.setattr(products, "MOST_UNPACKED_BYTES", 1_000_000)
    read: list[str] = []
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda _, name, *rest: read.append(str(name)))
    assert source.stat().st_size < 10_000

    with pytest.raises(ProductsError, match=r"bomb\.zip unfolds to 1,200,000 bytes.*1,000,000"):
        list_products(source)

    assert read == []


def test_an_entry_that_unpacks_to_more_than_it_says_is_refused(tmp_path: Path) -> None:
    source = zipped(tmp_path / "liar.zip", {"a/0.png": bytes(300_000), "b/0.png": picture(1)})
    data = source.read_bytes()
    source.write_bytes(data.replace((300_000).to_bytes(4, "little"), (100).to_bytes(4, "little")))

    listing = list_products(source)
    with pytest.raises(ProductsError, match=r"liar\.zip: a/0\.png"):
        listing.read("a/0.png")


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
    data = bytearray(zipped(path, {"a/0.png": picture(1), "b/0.png": picture(2)}).read_bytes())
    starts = {LOCAL: 0, CENTRAL: data.index(b"PK\x01\x02")}
    for header, offset, written in DAMAGE[how]:
        at = starts[header] + offset
        data[at : at + len(written)] = written
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_zip_is_a_sentence_that_names_it(tmp_path: Path, how: str) -> None:
    with pytest.raises(ProductsError, match=r"damaged\.zip"):
        list_products(_damaged(tmp_path / "damaged.zip", how)).read("a/0.png")
