"""Labels on pictures: inside, apart, and where the page puts them."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from runtime.streaming.transports.page import serving
from visionstack.placing import Box, place_labels
from visionstack.stream.saving import draw
from visionstack.stream.types import StreamDetection

BOUNDS = (390.0, 292.0)


def crowds(count: int = 60) -> list[tuple[list[Box], list[tuple[float, float]]]]:
    """Boxes and label sizes, many of them at the edges and over each other."""
    dice = random.Random(7)  # noqa: S311 (no secret)
    made = []
    for _ in range(count):
        boxes = []
        for _ in range(20):
            x, y = dice.uniform(-5, 380), dice.uniform(-5, 285)
            boxes.append((x, y, x + dice.uniform(4, 120), y + dice.uniform(4, 120)))
        sizes = [(float(dice.randint(30, 110)), 16.0) for _ in boxes]
        made.append((boxes, sizes))
    return made


def test_labels_never_leave_the_picture_nor_hide_each_other() -> None:
    shown = 0
    for boxes, sizes in crowds():
        places = place_labels(boxes, sizes, BOUNDS)
        areas = [
            (place[0], place[1], place[0] + size[0], place[1] + size[1])
            for place, size in zip(places, sizes, strict=True)
            if place is not None
        ]
        shown += len(areas)
        for index, (x1, y1, x2, y2) in enumerate(areas):
            assert x1 >= 0
            assert y1 >= 0
            assert x2 <= BOUNDS[0]
            assert y2 <= BOUNDS[1]
            for a1, b1, a2, b2 in areas[index + 1 :]:
                assert x2 <= a1 or a2 <= x1 or y2 <= b1 or b2 <= y1
    assert shown > 60 * 20 * 0.9


def test_labels_go_where_the_page_puts_them() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on this machine")
    script = """
        const { placeLabels } = await import(process.argv[1]);
        const cases = JSON.parse(await new Response(process.stdin).text());
        const [width, height] = cases.bounds;
        console.log(JSON.stringify(cases.crowds.map(([boxes, sizes]) => placeLabels(
          boxes, sizes.map(([w, h]) => ({ width: w, height: h })), { width, height })
          .map((place) => place && [place.x, place.y]))));
    """
    draw_js = (Path(serving.__file__).parent / "draw.js").as_uri()
    flags = ["--experimental-default-type=module", "--input-type=module"]
    done = subprocess.run(
        [node, *flags, "-e", script, draw_js],
        input=json.dumps({"bounds": BOUNDS, "crowds": crowds()}),
        capture_output=True,
        text=True,
        check=True,
    )
    ours = [place_labels(boxes, sizes, BOUNDS) for boxes, sizes in crowds()]
    for one, other in zip(ours, json.loads(done.stdout), strict=True):
        for place, found in zip(one, other, strict=True):
            assert (place is None) == (found is None)
            assert place is None or place == pytest.approx(found)


def test_a_saved_pictures_labels_are_whole_at_its_edges() -> None:
    def labelled(box: Box) -> np.ndarray:
        found = StreamDetection("person", 0, 0.9, box, track=3)
        return draw(np.zeros((300, 400, 3), np.uint8), (found,))

    middle, edge = labelled((150, 100, 180, 200)), labelled((380, 100, 399, 200))
    letters = [int((picture.min(axis=2) > 130).sum()) for picture in (middle, edge)]
    assert letters[0] > 50
    assert letters[1] == pytest.approx(letters[0], rel=0.02)
