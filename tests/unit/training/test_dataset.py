"""Pictures are read once, what is broken is left out, and the three parts share nothing."""

from __future__ import annotations

import io
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from tests.unit.training.conftest import fill, picture
from visionstack.training.dataset import Dataset, read_dataset
from visionstack.training.duplicates import difference_hash, groups, near_pairs
from visionstack.training.errors import ProductsError, TrainingError
from visionstack.training.products import PARTS, list_products
from visionstack.training.rows import Rows, check_room
from visionstack.training.split import split


def read(folder: Path, out: Path, *, size: int | None = 32, seed: int = 0) -> Dataset:
    return read_dataset(list_products(folder), out, size=size, seed=seed)


def test_the_parts_are_stratified_and_share_no_picture(three: Path, tmp_path: Path) -> None:
    dataset = read(three, tmp_path / "out")
    counts = {part: np.bincount(dataset.part(part).product).tolist() for part in PARTS}
    assert counts == {"train": [14] * 3, "validation": [3] * 3, "test": [3] * 3}
    paths = [path for part in PARTS for path in dataset.part(part).paths]
    assert len(set(paths)) == 60


def test_the_split_follows_the_seed(three: Path, tmp_path: Path) -> None:
    same, again, other = (read(three, tmp_path / "out", seed=seed) for seed in (1, 1, 2))
    assert same.test.paths == again.test.paths != other.test.paths
    assert same.hash == other.hash


def test_pixels_are_the_middle_square(three: Path, tmp_path: Path) -> None:
    dataset = read(three, tmp_path / "out")
    path, pixels = dataset.train.paths[5], dataset.train.pixels([5])[0]
    with Image.open(three / path) as image:
        expected = np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BICUBIC))
    assert np.array_equal(pixels, expected)


def test_the_size_follows_the_pictures(tmp_path: Path) -> None:
    small = read(fill(tmp_path / "s", {"a": 3, "b": 3}), tmp_path / "1", size=None)
    large = read(fill(tmp_path / "l", {"a": 3, "b": 3}, side=160), tmp_path / "2", size=None)
    assert (small.size, large.size) == (96, 224)


def test_broken_files_are_listed_counted_and_skipped(three: Path, tmp_path: Path) -> None:
    (three / "P-1" / "broken.jpg").write_bytes(b"no picture")
    (three / "P-2" / "cut.png").write_bytes(picture(999)[:200])
    (three / "P-3" / "empty.png").write_bytes(b"")
    dataset = read(three, tmp_path / "out")
    assert [one.path for one in dataset.skipped] == [
        "P-1/broken.jpg",
        "P-2/cut.png",
        "P-3/empty.png",
    ]
    assert "not a picture of a known format" in dataset.skipped[0].reason
    assert sum(len(dataset.part(part)) for part in PARTS) == 60


def test_the_same_picture_in_two_classes_is_used_for_neither(three: Path, tmp_path: Path) -> None:
    (three / "P-2" / "copy.png").write_bytes((three / "P-1" / "000.png").read_bytes())
    dataset = read(three, tmp_path / "out")
    assert [(one.path, one.reason) for one in dataset.skipped] == [
        ("P-1/000.png", "the same picture in 2 classes: P-1, P-2"),
        ("P-2/copy.png", "the same picture in 2 classes: P-1, P-2"),
    ]


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_pictures_of_a_class_are_refused(tmp_path: Path, count: int) -> None:
    folder = fill(tmp_path / "p", {"a": 5, "b": count})
    with pytest.raises(ProductsError, match=rf"{count} usable pictures? of b; 3 different ones"):
        read(folder, tmp_path / "out")


def test_copies_of_one_picture_are_no_different_pictures(tmp_path: Path) -> None:
    folder = fill(tmp_path / "p", {"a": 5, "b": 1})
    for number in range(5):
        (folder / "b" / f"copy{number}.png").write_bytes((folder / "b" / "000.png").read_bytes())
    with pytest.raises(ProductsError, match="6 usable pictures of b, of which 1 differ"):
        read(folder, tmp_path / "out")


def test_near_duplicates_stay_on_one_side(tmp_path: Path) -> None:
    three = fill(tmp_path / "three", {"P-1": 20, "P-2": 20}, side=160)
    for number in range(10):
        with Image.open(three / "P-1" / f"{number:03}.png") as image:
            brighter = ImageEnhance.Brightness(image).enhance(0.9)
            brighter.save(three / "P-1" / f"{number:03}-again.jpg", quality=90)
    for seed in range(5):
        dataset = read(three, tmp_path / "out", seed=seed)
        where = {path: part for part in PARTS for path in dataset.part(part).paths}
        assert len(dataset.near) == 10
        for one, other in dataset.near:
            assert where[one] == where[other]


def test_training_pictures_that_are_nearly_given_test_pictures_are_left_out(
    tmp_path: Path,
) -> None:
    folder = fill(
        tmp_path / "p", {f"{part}/{one}": 9 for part in ("train", "test") for one in "ab"}
    )
    leaked = (folder / "test" / "a" / "000.png").read_bytes()
    (folder / "train" / "a" / "leak.png").write_bytes(leaked)
    dataset = read(folder, tmp_path / "out")
    assert dataset.left_out == 1
    assert "train/a/leak.png" not in dataset.train.paths + dataset.validation.paths
    assert len(dataset.test) == 18
    assert np.bincount(dataset.validation.product).min() >= 1


def test_a_second_reading_decodes_nothing(
    three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read(three, tmp_path / "out")
    monkeypatch.setattr("visionstack.training.dataset.to_rgb", lambda _: pytest.fail("decoded"))
    assert read(three, tmp_path / "out").hash == first.hash


def test_a_changed_picture_is_read_again(three: Path, tmp_path: Path) -> None:
    first = read(three, tmp_path / "out")
    (three / "P-1" / "000.png").write_bytes(picture(12345))
    assert read(three, tmp_path / "out").hash != first.hash


def test_no_room_on_the_disk_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="MiB free; training wants"):
        check_room(tmp_path, 2**60)


def test_little_room_is_told_in_numbers_that_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = SimpleNamespace(f_bavail=1, f_frsize=2**20)
    monkeypatch.setattr("visionstack.training.rows.os.statvfs", lambda _: full)
    with pytest.raises(TrainingError, match=r"has 1 MiB free; training wants [1-9]\d+ MiB"):
        check_room(tmp_path, 3 * 2**20)


def test_a_disk_that_fills_while_saving_is_a_sentence() -> None:
    if not os.access("/dev/full", os.W_OK):
        pytest.skip("no /dev/full here")
    with pytest.raises(TrainingError, match=r"could not be written: No space left"):
        Rows(Path("/dev/full"), shape=(4,), dtype=np.uint8).append(np.zeros((2, 4), np.uint8))


def test_hashes_forgive_scaling_and_compression_and_tell_pictures_apart() -> None:
    data = [picture(seed, side=160) for seed in range(30)]
    images = [Image.open(io.BytesIO(one)) for one in data]
    smaller = [image.resize((90, 90)) for image in images]
    hashes = np.stack([difference_hash(image) for image in [*images, *smaller]])
    assert near_pairs(hashes).tolist() == [[at, at + 30] for at in range(30)]


def test_many_pictures_with_one_hash_are_one_group_by_few_pairs() -> None:
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**63, (40, 4)).astype(np.uint64)
    hashes[10:] = hashes[3]
    hashes[25, 0] ^= np.uint64(1)  # nearly
    pairs = near_pairs(hashes)
    assert len(pairs) == 30
    group = groups(40, pairs)
    assert set(group[10:].tolist()) == {group[3]}
    assert len(set(group.tolist())) == 10


@settings(deadline=None)
@given(st.integers(1, 1200), st.integers(0, 2**32))
def test_pairs_link_what_counting_bits_links(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    hashes = random.integers(0, 4, (count, 4), dtype=np.uint64)[: min(count, 60)]
    found = near_pairs(hashes, near=3)
    bits = [[bin(int(word)).count("1") for word in hashes[a] ^ hashes[b]]
            for a in range(len(hashes)) for b in range(a + 1, len(hashes))]  # fmt: skip
    pairs = [(a, b) for a in range(len(hashes)) for b in range(a + 1, len(hashes))]
    near = {pair for pair, one in zip(pairs, bits, strict=True) if sum(one) <= 3}
    assert {tuple(pair) for pair in found.tolist()} <= near
    wanted = groups(len(hashes), np.array(sorted(near)).reshape(-1, 2))
    assert groups(len(hashes), found).tolist() == wanted.tolist()


def test_groups_join_what_pairs_link() -> None:
    found = groups(6, np.array([[0, 1], [1, 2], [4, 5]]))
    assert found.tolist() == [0, 0, 0, 3, 4, 4]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=80),
    st.integers(0, 1000),
)
def test_a_group_is_never_divided(pictures: list[tuple[int, int]], seed: int) -> None:
    product = np.array([one for one, _ in pictures], np.int64)
    group = np.array([one for _, one in pictures], np.int64)
    parts, dropped = split(product, group, [None] * len(pictures), seed=seed)
    assert dropped == 0
    sides: dict[int, set[str | None]] = {}
    for one, part in zip(group.tolist(), parts, strict=True):
        sides.setdefault(one, set()).add(part)
    assert all(len(found) == 1 and None not in found for found in sides.values())
