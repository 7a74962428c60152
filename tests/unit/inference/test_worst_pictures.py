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
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runtime.contract import MAX_PICTURE_BYTES, MAX_PICTURE_PIXELS
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
