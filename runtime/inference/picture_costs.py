"""What Pillow's readers cost beyond a picture's pixels, known before they are decoded.

Some are Python, which all threads wait for; some take memory that the picture's size does not tell.
"""

from __future__ import annotations

import re
import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from runtime.inference.errors import TooCostlyPictureError

_MARKER_IN_SCAN: Final = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
"""What ends a scan's data: any marker but a stuffed zero and a restart (ITU-T T.81, B.1.1)."""
RUN_LENGTH_PIXELS: Final = 8_000_000
"""Of a BMP in run lengths: Pillow's decoder is Python, and fills rows up pixel by pixel."""
RUN_LENGTH_READS: Final = 2_000_000
"""Of the same: calls of `read`, two for each run."""
TIFF_PIECES: Final = 50_000
"""Strips or tiles of a TIFF, for each of which Pillow makes an object and a decoder."""
TIFF_VALUES: Final = 200_000
"""Numbers in any other entry of a TIFF's directory, which Pillow makes into objects. A transfer
function, the largest that there is, has 196,608."""
_PIECES: Final = (273, 324)
"""StripOffsets and TileOffsets (TIFF 6.0, sections 8 and 15)."""
_TILE_WIDTH, _TILE_LENGTH, _COMPRESSION = 322, 323, 259
_TEXT: Final = (1, 2, 6, 7)
"""Types whose values stay bytes: BYTE, ASCII, SBYTE, UNDEFINED."""
_JPEG: Final = 7


def check_tiff(data: bytes, *, entries: int) -> None:
    """Raises `TooCostlyPictureError` for a TIFF whose directory has more numbers than any program
    writes, by its first `entries` entries; other formats and damaged ones are left to Pillow."""
    if data[:2] not in (b"II", b"MM"):
        return
    order, large = "<" if data[:2] == b"II" else ">", data[2:3] == b"\x2b"
    try:
        (at,) = struct.unpack_from(order + "Q" if large else order + "L", data, 8 if large else 4)
        (count,) = struct.unpack_from(order + "Q" if large else order + "H", data, at)
        for number in range(min(count, entries)):
            place = at + (8 + 20 * number if large else 2 + 12 * number)
            tag, kind, values = struct.unpack_from(order + ("HHQ" if large else "HHL"), data, place)
            most = TIFF_PIECES if tag in _PIECES else TIFF_VALUES
            if kind not in _TEXT and values > most:
                raise TooCostlyPictureError(
                    f"The TIFF has {values:,} numbers in one entry ({tag}), more than the {most:,} "
                    "allowed; save it anew, or as PNG."
                )
    except (struct.error, OverflowError):
        return


def count_scans(data: bytes) -> int:
    """How many scans a JPEG has, from its markers alone (ITU-T T.81, annex B)."""
    scans, at = 0, 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            break
        kind = data[at + 1]
        if kind in {0xFF, 0x01} or 0xD0 <= kind <= 0xD8:
            at += 1 if kind == 0xFF else 2
            continue
        if kind == 0xD9:
            break
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
        if kind == 0xDA:
            scans += 1
            found = _MARKER_IN_SCAN.search(data, at)
            if found is None:
                break
            at = found.end() - 2
    return scans


def coefficient_bytes(image: Image.Image, data: bytes) -> int:
    """What libjpeg keeps of a JPEG of several scans until the last has come, whatever part of its
    size it is decoded at: two bytes for each of up to three samples a pixel."""
    if image.format != "JPEG" or data.count(b"\xff\xda") < 2 or count_scans(data) < 2:
        return 0
    return 6 * image.width * image.height


def pixels_in_memory(image: Image.Image) -> int:
    """Pixels of the picture, or of one of its tiles where that is larger: libtiff decodes whole
    tiles, whatever part of them lies in the picture."""
    tags: Any = getattr(image, "tag_v2", {})
    width, length = tags.get(_TILE_WIDTH), tags.get(_TILE_LENGTH)
    tile = width * length if isinstance(width, int) and isinstance(length, int) else 0
    return max(image.width * image.height, tile)


def scans_in_tiff(image: Image.Image, data: bytes) -> int:
    """The most scans of a JPEG in one strip or tile of a TIFF; 0 for others."""
    tags: Any = getattr(image, "tag_v2", {})
    if tags.get(_COMPRESSION) != _JPEG:
        return 0
    starts, lengths = (
        np.asarray(tags.get(first) or tags.get(second) or (), np.int64).reshape(-1)
        for first, second in ((273, 324), (279, 325))
    )
    if len(starts) != len(lengths):
        return 0
    raw = np.frombuffer(data, np.uint8)
    (scans,) = np.nonzero((raw[:-1] == 0xFF) & (raw[1:] == 0xDA))
    counts = np.searchsorted(scans, starts + lengths) - np.searchsorted(scans, starts)
    return int(counts.max(initial=0))


def is_run_length_bmp(image: Image.Image) -> bool:
    """Whether it is a BMP in run lengths."""
    return _codec(image) == "bmp_rle"


def pnm_pixels(image: Image.Image, data: bytes) -> NDArray[Any] | None:
    """Pixels of a binary PNM whose maximum is none that Pillow has a decoder in C for, else None.

    (height, width) or (height, width, 3), scaled to 255, or to 65535 in int32 where Pillow does so.

    Raises:
        ValueError: there are fewer than the header says.
    """
    if _codec(image) != "ppm" or not isinstance(image, ImageFile.ImageFile):
        return None
    tile = image.tile[0]
    largest = int(tile.args[-1])  # type: ignore[index]
    white, kind = (65535, np.int32) if image.mode == "I" else (255, np.uint8)
    bands = len(image.getbands())
    shape = (image.height, image.width, bands) if bands > 1 else (image.height, image.width)
    count = image.height * image.width * bands
    said = np.frombuffer(data, ">u2" if largest > 255 else np.uint8, count, tile.offset)
    scaled = np.rint(np.arange(65536 if largest > 255 else 256) / largest * white)
    pixels: NDArray[Any] = np.minimum(scaled, white).astype(kind)[said].reshape(shape)
    return pixels


def _codec(image: Image.Image) -> str:
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    return tiles[0].codec_name if tiles else ""
