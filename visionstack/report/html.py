"""A report as one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import colorsys
import io
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from visionstack.placing import place_labels
from visionstack.report.figures import Absent, Figure, Kind
from visionstack.report.lines import latency_lines
from visionstack.report.plots import Drawing, draw
from visionstack.report.sections import Box, Latency, Picture, Plot, Report, Section, Table

_TEMPLATE: Final = Path(__file__).with_name("page.html.j2")
_THUMBNAIL: Final = 160
"""Pixels a side up to which pictures stand many to a row."""
_LETTER: Final = 0.66
"""Width of a bold letter of the browser's sans-serif for its height, at most, on average."""


@dataclass
class _Block:
    """A section with what its part of the template needs besides."""

    id: str
    type: str
    section: Section
    numeric: list[bool] = field(default_factory=list)
    drawings: list[Drawing] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def render(report: Report) -> str:
    """The page's HTML."""
    blocks = [_block(section, f"part{n}") for n, section in enumerate(report.sections, 1)]
    titled = [block for block in blocks if block.section.title and block.type != "Note"]
    contents = [(block.id, block.section.title) for block in titled]
    template = _environment().from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(report=report, blocks=blocks, contents=contents, kinds=list(Kind))


def _block(section: Section, key: str) -> _Block:
    block = _Block(key, type(section).__name__, section)
    if isinstance(section, Table):
        block.numeric = _numeric_columns(section)
        block.lines = section.mark_meanings()
    if isinstance(section, Plot):
        block.drawings = draw(section, key=key)
    if isinstance(section, Latency):
        block.lines = latency_lines(section)
    return block


def _numeric_columns(table: Table) -> list[bool]:
    return [
        any(isinstance(row.cells[place], Figure) for row in table.rows if place < len(row.cells))
        and not any(
            isinstance(row.cells[place], str) and len(str(row.cells[place])) > 24
            for row in table.rows
            if place < len(row.cells)
        )
        for place in range(len(table.columns))
    ]


def _environment() -> Environment:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(
        uri=_uri,
        size=_size,
        small=_small,
        colour=_colour,
        amount=_amount,
        labelled=_labelled,
        code=_code,
    )
    return environment


def _code(text: str) -> str:
    """The text with what stands in backticks, as in Markdown, set as code."""
    parts = re.split("`([^`]+)`", text)
    return Markup().join(
        Markup("<code>{}</code>").format(part) if place % 2 else part
        for place, part in enumerate(parts)
    )


def _amount(figure: Figure | Absent) -> Any:
    if isinstance(figure, Absent):
        return figure.reason
    if figure.unit in {"USD", "%", "x"}:
        return figure.text
    return Markup("{} <small>{}</small>").format(figure.number, figure.unit)


def _uri(picture: Picture) -> str:
    kind = "png" if picture.data.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(picture.data).decode('ascii')}"


@cache
def _size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as picture:
            return picture.size
    except UnidentifiedImageError as error:
        raise ValueError("the picture is neither a PNG nor a JPEG with a frame header") from error


def _labelled(picture: Picture) -> list[tuple[Box, str, float, float, float]]:
    """Its boxes with their labels: text, left end and base line, and the size of the letters."""
    width, height = _size(picture.data)
    size = width * 0.029
    texts = [box.text for box in picture.boxes]
    sizes = [(_LETTER * size * len(text), 1.3 * size) for text in texts]
    corners = [(box.x1, box.y1, box.x2, box.y2) for box in picture.boxes]
    places = place_labels(corners, sizes, (width, height))
    return [
        (box, "", 0.0, 0.0, size)
        if place is None
        else (box, text, place[0] + 0.1 * size, place[1] + size, size)
        for box, text, place in zip(picture.boxes, texts, places, strict=True)
    ]


def _small(pictures: Sequence[Picture]) -> bool:
    """Whether they would only blur at the width of a photograph."""
    return all(max(_size(picture.data)) <= _THUMBNAIL for picture in pictures)


def _colour(label: str) -> str:
    """A bright colour that one label has in every picture of every report.

    Lighter around blue, which is dark otherwise: its letters have a black edge. As in `draw.js`.
    """
    degrees = zlib.crc32(label.encode()) % 360
    light = 0.62 + 0.14 * max(0.0, math.cos(math.radians(degrees - 245)))
    red, green, blue = colorsys.hls_to_rgb(degrees / 360, light, 0.95)
    return f"#{int(red * 255):02x}{int(green * 255):02x}{int(blue * 255):02x}"
