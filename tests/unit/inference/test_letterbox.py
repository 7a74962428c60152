"""Letterboxing loses no box and is Ultralytics' own geometry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.inference.letterbox import Letterbox
from visionstack.models.ultralytics_models import import_tasks
from visionstack.paths import MODELS

SIDE = st.integers(1, 3000)


def to_input(letterbox: Letterbox, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Boxes (n, 4) x1 y1 x2 y2 in pixels of the source to input pixels: scaled, then moved."""
    scale = np.array([letterbox.scale_x, letterbox.scale_y] * 2, np.float32)
    return boxes * scale + np.array([letterbox.left, letterbox.top] * 2, np.float32)


@given(width=SIDE, height=SIDE, target=st.sampled_from([32, 320, 416, 608]), data=st.data())
def test_a_box_returns_from_the_input_to_where_it_was(
    width: int, height: int, target: int, data: st.DataObject
) -> None:
    letterbox = Letterbox.fit(source=(width, height), target=(target, target))
    corners = st.tuples(st.floats(0, width), st.floats(0, height))
    (x1, y1), (x2, y2) = data.draw(corners), data.draw(corners)
    box = np.array([[min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]], np.float32)
    returned = letterbox.to_source(to_input(letterbox, box))
    # float32 carries seven digits, and one input pixel may be many source pixels.
    assert np.abs(returned - box).max() <= 1e-3 * max(1, 1 / letterbox.scale_x, width, height)


@given(width=SIDE, height=SIDE)
def test_the_scaled_picture_fills_one_side_and_stays_inside(width: int, height: int) -> None:
    letterbox = Letterbox.fit(source=(width, height), target=(416, 416))
    assert max(letterbox.scaled_width, letterbox.scaled_height) == 416
    assert 0 <= letterbox.left <= letterbox.left + letterbox.scaled_width <= 416
    assert 0 <= letterbox.top <= letterbox.top + letterbox.scaled_height <= 416


@pytest.mark.parametrize("size", [(768, 576), (576, 768), (416, 416), (1, 1), (3, 1000), (417, 31)])
@pytest.mark.parametrize("stretch", [False, True])
def test_the_pixels_are_those_of_ultralytics(size: tuple[int, int], stretch: bool) -> None:
    import_tasks(MODELS / "cache")
    from ultralytics.data.augment import LetterBox

    picture = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3), np.uint8)
    letterbox = Letterbox.fit(source=size, target=(416, 416), stretch=stretch)
    theirs = LetterBox((416, 416), auto=False, scale_fill=stretch)(image=picture)
    ours = letterbox.place(picture, fill=114)
    assert np.array_equal(ours, theirs)


def test_a_stretched_picture_is_all_of_the_input() -> None:
    letterbox = Letterbox.fit(source=(100, 50), target=(416, 416), stretch=True)
    whole = np.array([[0, 0, 416, 416]], np.float32)
    assert np.allclose(letterbox.to_source(whole), [[0, 0, 100, 50]])
    assert np.allclose(to_input(letterbox, np.array([[0, 0, 100, 50]], np.float32)), whole)


def test_boxes_are_kept_inside_the_source() -> None:
    letterbox = Letterbox.fit(source=(100, 50), target=(416, 416))
    outside = np.array([[-50, -50, 1000, 1000]], np.float32)
    assert letterbox.to_source(outside).tolist() == [[0, 0, 100, 50]]


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5)])
def test_an_empty_picture_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1 x 1"):
        Letterbox.fit(source=size, target=(416, 416))
