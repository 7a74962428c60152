"""No picture within the limits keeps a decoder for long: none has to be stopped from outside.

An eighth of the limits: what decoding takes grows with pixels, scans and bytes. The unit is the
time of the largest baseline JPEG, about 0.3 s of a processor at the full size; 15 of it are the 5 s
that are stated for a JPEG of many scans, and a sixth of what `/readyz` takes for a stuck thread.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runtime.contract import MAX_PICTURE_BYTES, MAX_PICTURE_PIXELS
from runtime.inference.errors import TooCostlyPictureError
from runtime.inference.pictures import PictureLimits, decode_bgr, decode_rgb
from tests.hostile import many_scans

PART = 8
LIMITS = PictureLimits(
    bytes=MAX_PICTURE_BYTES // PART,
    pixels=MAX_PICTURE_PIXELS // PART,
    scanned_pixels=PictureLimits().scanned_pixels // PART,
)
LONGEST = 15
WIDTH, HEIGHT = 2500, 2480


def noise(kind: str, *, grain: int = 1, **options: Any) -> bytes:
    """Of nearly as many pixels as are allowed; it repeats itself, so that every format keeps to the
    bytes that are allowed."""
    one = np.random.default_rng(7).integers(0, 256, (64, 64, 3), np.uint8)
    one = one.repeat(grain, axis=0).repeat(grain, axis=1)
    across, down = -(-WIDTH // len(one)), -(-HEIGHT // len(one))
    file = io.BytesIO()
    pixels = np.tile(one, (down, across, 1))[:HEIGHT, :WIDTH]
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def arithmetic() -> bytes:
    program = shutil.which("jpegtran")
    if program is None:
        pytest.skip("arithmetic coding needs jpegtran (Debian: libjpeg-turbo-progs)")
    done = subprocess.run(
        [program, "-arithmetic", "-progressive"],
        input=noise("JPEG", quality=20),
        stdout=subprocess.PIPE,
        check=True,
    )
    return done.stdout


WORST: dict[str, Callable[[], bytes]] = {
    "progressive": lambda: noise("JPEG", quality=20, progressive=True),
    "a restart after each block": lambda: noise("JPEG", quality=10, restart_marker_blocks=1),
    "the most scans": lambda: many_scans(90, size=(860, 860)),
    "more scans than are decoded in one go": lambda: many_scans(3, size=(2400, 2400)),
    "arithmetic": arithmetic,
    "PNG": lambda: noise("PNG", compress_level=1),
    "WebP": lambda: noise("WEBP", grain=8, method=0, quality=5),
    "lossless WebP": lambda: noise("WEBP", method=0, quality=0, lossless=True),
    "GIF": lambda: noise("GIF", grain=16),
    "TIFF": lambda: noise("TIFF", compression="tiff_adobe_deflate"),
}


def seconds(decode: Callable[..., Any], data: bytes) -> float:
    """Of processor time, the least of three."""
    taken = []
    for _ in range(3):
        began = time.process_time()
        decode(data, limits=LIMITS)
        taken.append(time.process_time() - began)
    return min(taken)


@pytest.fixture(scope="module")
def unit() -> float:
    return seconds(decode_bgr, noise("JPEG", quality=10))


@pytest.mark.parametrize("kind", WORST)
def test_no_picture_within_the_limits_keeps_a_decoder_for_long(kind: str, unit: float) -> None:
    data = WORST[kind]()
    ways = [decode_bgr] if kind == "arithmetic" else [decode_bgr, decode_rgb]
    ratios = [seconds(decode, data) / unit for decode in ways]
    print(f"{kind}: {len(data):,} bytes, {', '.join(f'{ratio:.1f}' for ratio in ratios)} units")
    assert max(ratios) < LONGEST


def within_header(kind: str, pieces: bytes) -> bytes:
    """`pieces` behind the signature of a JPEG, or behind a PNG's first chunk."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16), (90, 120, 30)).save(file, kind)
    data, at = file.getvalue(), {"JPEG": 2, "PNG": 33}[kind]
    return data[:at] + pieces + data[at:]


@pytest.mark.parametrize(
    ("kind", "piece"),
    [
        ("JPEG", b"\xff\xe5\x00\x02"),
        ("JPEG", b"\xff\xfe\x00\x02"),
        ("JPEG", b"\xff\xe1\x00\x09Exif\0\0x"),
        ("JPEG", b"\xff"),
        ("PNG", b"\0\0\0\0aaAa" + zlib.crc32(b"aaAa").to_bytes(4)),
    ],
    ids=["segments", "comments", "EXIF", "filling", "chunks"],
)
def test_a_header_in_many_pieces_is_refused_before_python_has_read_them(
    kind: str, piece: bytes
) -> None:
    """Pillow joins pieces of EXIF one by one: minutes for 10 MB, with all threads held up."""
    data = within_header(kind, piece * 3000)
    for decode in (decode_bgr, decode_rgb):
        with pytest.raises(TooCostlyPictureError, match="more pieces"):
            decode(data)


def test_a_picture_may_be_full_of_metadata() -> None:
    longest = b"\xff\xe1\xff\xff" + b"Exif\0\0".ljust(65533, b"\0")
    data = within_header("JPEG", longest * 150)
    assert decode_bgr(data).shape == decode_rgb(data).shape == (16, 16, 3)
