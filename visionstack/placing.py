"""Where labels go on a picture: they never hide each other and never leave it.

The same rule as the page's (`placeLabels` in runtime/streaming/transports/page/draw.js).
"""

from __future__ import annotations

from collections.abc import Sequence

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2."""


def _shared(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def place_labels(
    boxes: Sequence[Box], sizes: Sequence[tuple[float, float]], bounds: tuple[float, float]
) -> list[tuple[float, float] | None]:
    """The upper left corner of each label, None where no place is left; pixels.

    `sizes` and `bounds` are (width, height). Earlier labels choose first: the place near their box
    that hides least of all boxes.
    """
    placed: list[Box] = []
    found: list[tuple[float, float] | None] = []
    for (x1, y1, x2, y2), (width, height) in zip(boxes, sizes, strict=True):
        best: Box | None = None
        least = float("inf")
        if width <= bounds[0] and height <= bounds[1]:
            rows = [y1 - height - 1, y2 + 1, y1, y2 - height]
            for step in range(1, 7):
                rows += [y1 - (step + 1) * (height + 1), y2 + 1 + step * (height + 1)]
            for row, wanted_y in enumerate(rows):
                for column, wanted_x in enumerate((x1, x2 - width, x1 - width - 2, x2 + 2)):
                    x = max(0.0, min(bounds[0] - width, wanted_x))
                    y = max(0.0, min(bounds[1] - height, wanted_y))
                    place = (x, y, x + width, y + height)
                    if any(_shared(place, other) > 0 for other in placed):
                        continue
                    hidden = sum(_shared(place, box) for box in boxes)
                    cost = hidden / (width * height) + row * 0.04 + column * 0.02
                    if cost < least:
                        best, least = place, cost
        if best is not None:
            placed.append(best)
        found.append(None if best is None else (best[0], best[1]))
    return found
