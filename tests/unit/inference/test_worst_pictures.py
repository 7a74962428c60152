"""No picture within the limits keeps a decoder for long: none has to be stopped from outside.

An eighth of the limits: what decoding takes grows with pixels, scans and bytes. The unit is the
time of the largest baseline JPEG, about 0.3 s of a processor at the full size; 15 of it are the 5 s
that are stated for a JPEG of many scans, and a sixth of what `/readyz` takes for a stuck thread.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from runtime.contract import MAX_PICTURE_BYTES, MAX_PICTURE_PIXELS
from runtime.inference.errors import (
    NotAPictureError,
    PictureError,
    TooCostlyPictureError,
    TooManyPixelsError,
    TruncatedPictureError,
)
from runtime.inference.picture_costs import pnm_pixels
from runtime.inference.pictures import (
    PictureLimits,
    decode_bgr,
    decode_rgb,
    decoded_bytes,
    open_checked,
)
from tests.hostile import many_scans, run_length_bmp, tiff, tiff_picture

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
    "PNM of another maximum": lambda: b"P5\n1100 1100\n254\n" + b"U" * 1100 * 1100,
    "run-length BMP": lambda: run_length_bmp(1000, 1000),
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


@pytest.mark.parametrize("largest", [1, 100, 254, 256, 1023, 65534])
@pytest.mark.parametrize("kind", ["P5", "P6"])
def test_a_pnm_of_any_maximum_has_the_pixels_that_pillow_gives_it(kind: str, largest: int) -> None:
    width, height, bands = 13, 7, 3 if kind == "P6" else 1
    values = np.random.default_rng(3).integers(0, largest + 1, height * width * bands)
    values[:2] = 0, largest
    stored = values.astype(">u2" if largest > 255 else np.uint8)
    data = f"{kind}\n{width} {height}\n{largest}\n".encode() + stored.tobytes()
    expected = np.asarray(Image.open(io.BytesIO(data)))
    found = pnm_pixels(open_checked(data), data)
    assert found is not None
    assert (found == expected).all()
    assert found.dtype == expected.dtype
    with pytest.raises(TruncatedPictureError):
        decode_rgb(data[:-1])


def strips(count: int, *, large: bool = False) -> bytes:
    """Of a row each, all of the same bytes."""
    places = {
        273: (4, struct.pack("<i", -1) * count),
        278: (4, struct.pack("<L", 1)),
        279: (4, struct.pack("<L", 24) * count),
    }
    return tiff_picture(8, count, places, bytes(24), large=large)


def tiles(side: int) -> bytes:
    """A hundred pixels square, in one deflated tile of `side`."""
    packer = zlib.compressobj(6)
    packed = b"".join(packer.compress(bytes(side * 3)) for _ in range(side)) + packer.flush()
    places = {
        259: (3, struct.pack("<H", 8)),
        322: (4, struct.pack("<L", side)),
        323: (4, struct.pack("<L", side)),
        324: (4, struct.pack("<i", -1)),
        325: (4, struct.pack("<L", len(packed))),
    }
    return tiff_picture(100, 100, places, packed)


def jpeg_in_tiff(scans: int, side: int) -> bytes:
    packed = many_scans(scans, size=(side, side))
    places = {
        259: (3, struct.pack("<H", 7)),
        262: (3, struct.pack("<H", 6)),
        273: (4, struct.pack("<i", -1)),
        278: (4, struct.pack("<L", side)),
        279: (4, struct.pack("<L", len(packed))),
    }
    return tiff_picture(side, side, places, packed)


def behind_the_pixels(count: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "PNG")
    data = file.getvalue()
    return data[:-12] + (b"\0\0\0\0aaAa" + zlib.crc32(b"aaAa").to_bytes(4)) * count + data[-12:]


@pytest.mark.parametrize("large", [False, True], ids=["TIFF", "BigTIFF"])
def test_a_tiff_of_more_strips_than_any_program_writes_is_refused_unread(large: bool) -> None:
    """Pillow makes an object and a decoder for each: 18 s and 800 MiB for 10 MB."""
    assert decode_rgb(strips(3000, large=large)).shape == (3000, 8, 3)
    for decode in (decode_rgb, decode_bgr):
        with pytest.raises(TooCostlyPictureError, match="60,000 numbers in one entry"):
            decode(strips(60_000, large=large))


def test_a_small_tiff_in_a_large_tile_is_counted_and_refused_by_its_tile() -> None:
    """libtiff decodes the whole tile: 1.7 GiB from 2 MB, for a hundred pixels square."""
    assert decode_rgb(tiles(256)).shape == (100, 100, 3)
    few = PictureLimits(pixels=1_000_000)
    assert decoded_bytes(open_checked(tiles(512)), opencv=False) >= 512 * 512 * 3
    with pytest.raises(TooManyPixelsError, match="in tiles of 1,440,000"):
        open_checked(tiles(1200), limits=few)


def test_scans_of_a_jpeg_within_a_tiff_are_counted_too() -> None:
    few = PictureLimits(scanned_pixels=20 * 256 * 256)
    assert decode_rgb(jpeg_in_tiff(2, 256), limits=few).shape == (256, 256, 3)
    with pytest.raises(TooCostlyPictureError, match=r"The TIFF has \d+ scans"):
        decode_rgb(jpeg_in_tiff(30, 256), limits=few)


def test_what_lies_behind_the_pixels_of_a_png_is_bounded_too() -> None:
    assert decode_rgb(behind_the_pixels(100)).shape == (16, 16, 3)
    with pytest.raises(TooCostlyPictureError, match="data is in more pieces"):
        decode_rgb(behind_the_pixels(60_000))


def test_a_bmp_in_run_lengths_is_smaller_than_others_may_be() -> None:
    """Pillow's decoder is Python: 6 s for 28 KB that say 49 million pixels."""
    assert decode_rgb(run_length_bmp(64, 48)).shape == (48, 64, 3)
    with pytest.raises(TooManyPixelsError, match="run-length BMP"):
        open_checked(run_length_bmp(3000, 3000))


def test_metadata_is_not_written_anew_when_a_picture_is_turned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That took 8 s for 10 MB of rational numbers."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    file = io.BytesIO()
    Image.new("RGB", (16, 8)).save(file, "PNG", exif=exif)
    monkeypatch.setattr(Image.Exif, "tobytes", lambda *_: pytest.fail("written anew"))
    assert decode_rgb(file.getvalue()).shape == (16, 8, 3)


def png_chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


def small_png() -> tuple[bytes, bytes, bytes]:
    """Its head with the first chunk, its pixels, its end."""
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (90, 120, 30)).save(file, "PNG")
    data = file.getvalue()
    return data[:33], data[33:-12], data[-12:]


HEAD, PIXELS, END = small_png()
LONG = b"\xff\xff\xff\xff"
LARGE_HEAD = png_chunk(b"IHDR", struct.pack(">LLBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
PNGS = {
    "whole": HEAD + PIXELS + END,
    "unknown chunks": HEAD + png_chunk(b"aaAa") * 3 + PIXELS + END,
    "pixels said to be longer": HEAD + LONG + PIXELS[4:] + END,
    "a chunk said to be longer": HEAD + PIXELS + LONG + b"aaAa" + END,
    "two heads": HEAD[:8] + LARGE_HEAD + HEAD[8:] + PIXELS + END,
    "no end": HEAD + PIXELS,
    "more behind the end": HEAD + PIXELS + END + END,
    "frames": HEAD + png_chunk(b"fcTL", bytes(26)) + PIXELS + END,
    "very many chunks": HEAD + PIXELS + png_chunk(b"tIME") * 3_000 + END,
}


@pytest.mark.parametrize("kind", PNGS)
def test_a_png_is_not_given_to_opencv(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the memory that a chunk says: 4 GiB and 4 s for 83 bytes."""
    monkeypatch.setattr("cv2.imdecode", lambda *_: pytest.fail("given to OpenCV"))
    with contextlib.suppress(TruncatedPictureError, NotAPictureError, TooCostlyPictureError):
        assert decode_bgr(PNGS[kind]).shape == (30, 40, 3)


def test_a_palette_that_is_missing_is_damage_and_no_fault_of_ours() -> None:
    head = HEAD[:8] + png_chunk(b"IHDR", struct.pack(">LLBBBBB", 8, 8, 8, 3, 0, 0, 0))
    for decode in (decode_rgb, decode_bgr):
        with pytest.raises(TruncatedPictureError):
            decode(head + png_chunk(b"IDAT", zlib.compress(bytes(72))) + END)


def test_a_jpegs_places_that_are_no_numbers_are_damage_and_no_fault_of_ours() -> None:
    places = {259: (3, struct.pack("<H", 7)), 273: (5, bytes(8)), 279: (4, bytes(4))}
    for large in (False, True):
        with pytest.raises(PictureError):
            decode_rgb(tiff_picture(8, 8, places, bytes(192), large=large))


def test_numbers_of_a_wrong_type_are_damage_and_no_fault_of_ours() -> None:
    places = {273: (5, bytes(8)), 278: (4, struct.pack("<L", 8)), 279: (4, struct.pack("<L", 192))}
    data = tiff_picture(8, 8, places, bytes(192))
    for decode in (decode_rgb, decode_bgr):
        with pytest.raises(TruncatedPictureError, match="IFDRational"):
            decode(data)


def test_pillow_tells_the_log_nothing_of_a_picture() -> None:
    """A line for each of 65,535 entries would be 15 MB for a picture of 0.8."""
    body = tiff({tag: (5, bytes(8)) for tag in range(1, 300)})
    file = io.BytesIO()
    exif = b"Exif\0\0" + body.replace(struct.pack("<L", 1), struct.pack("<L", 9_000))
    Image.new("RGB", (16, 8)).save(file, "PNG", exif=exif)
    program = "import sys; from runtime.inference.pictures import decode_rgb; "
    program += "print(decode_rgb(sys.stdin.buffer.read()).shape)"
    done = subprocess.run(
        [sys.executable, "-c", program], input=file.getvalue(), capture_output=True, check=True
    )
    assert (done.stdout, done.stderr) == (b"(8, 16, 3)\n", b"")
