"""Pictures are decoded within limits, whatever they are."""

from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from runtime.inference import pictures
from runtime.inference.errors import (
    DecodedTooLargeError,
    NotAPictureError,
    PictureError,
    PictureTooLargeError,
    TooCostlyPictureError,
    TooManyPixelsError,
    TruncatedPictureError,
)
from runtime.inference.picture_costs import count_scans
from runtime.inference.pictures import PictureLimits, decode_bgr, decode_rgb
from tests.hostile import deep_png, flat_webp, many_scans

RED, GREEN, BLUE, WHITE = (250, 10, 20), (10, 240, 20), (15, 25, 245), (255, 255, 255)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def halves(left: tuple[int, int, int], right: tuple[int, int, int]) -> Image.Image:
    image = Image.new("RGB", (64, 32), left)
    image.paste(right, (32, 0, 64, 32))
    return image


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_both_decoders_see_the_same_colours_in_every_format(kind: str) -> None:
    data = encoded(halves(RED, BLUE), kind)
    rgb, bgr = decode_rgb(data), decode_bgr(data)
    assert rgb.shape == bgr.shape == (32, 64, 3)
    assert rgb.dtype == bgr.dtype == np.uint8
    assert np.abs(rgb[16, 10].astype(int) - RED).max() < 12
    assert np.abs(rgb[16, 50].astype(int) - BLUE).max() < 12
    assert np.abs(rgb.astype(int) - bgr[:, :, ::-1]).max() <= 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_picture_is_turned_as_exif_says(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees clockwise
    data = encoded(halves(RED, BLUE), kind, exif=exif)
    for decoded in (decode_rgb(data), decode_bgr(data)[:, :, ::-1]):
        assert decoded.shape == (64, 32, 3)
        assert np.abs(decoded[10, 16].astype(int) - RED).max() < 12
        assert np.abs(decoded[50, 16].astype(int) - BLUE).max() < 12


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("wherein", ["exif", "xmp"])
def test_both_decoders_turn_a_picture_alike(wherein: str, orientation: int) -> None:
    options: dict[str, Any] = {}
    if wherein == "exif":
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = orientation
    else:
        options["xmp"] = f'<x tiff:Orientation="{orientation}"/>'.encode()
    quarters = halves(RED, BLUE)
    quarters.paste(GREEN, (0, 0, 16, 16))
    data = encoded(quarters, "JPEG", quality=95, **options)
    one, other = decode_rgb(data), decode_bgr(data)[:, :, ::-1]
    assert one.shape == other.shape
    assert np.abs(one.astype(int) - other).mean() < 6


def test_cmyk_is_converted() -> None:
    data = encoded(Image.new("CMYK", (16, 16), (255, 0, 255, 0)), "JPEG", quality=95)
    for pixel in (decode_rgb(data)[8, 8], decode_bgr(data)[8, 8][::-1]):
        assert pixel[1] > 200
        assert max(pixel[0], pixel[2]) < 60


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    values = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16)
    data = encoded(Image.fromarray(values), "PNG")
    expected = values >> 8
    assert np.abs(decode_rgb(data)[:, :, 0].astype(int) - expected).max() <= 1
    assert np.abs(decode_bgr(data)[:, :, 0].astype(int) - expected).max() <= 1


def test_the_first_frame_of_an_animation_is_taken() -> None:
    first, second = halves(RED, RED), halves(BLUE, BLUE)
    for kind in ("GIF", "WEBP", "PNG"):
        data = encoded(first, kind, save_all=True, append_images=[second], lossless=True)
        for pixel in (decode_rgb(data)[16, 16], decode_bgr(data)[16, 16][::-1]):
            assert np.abs(pixel.astype(int) - RED).max() < 12, kind


def test_transparent_pixels_are_white() -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    data = encoded(image, "PNG")
    assert (decode_rgb(data) == WHITE).all()
    assert (decode_bgr(data) == WHITE).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I", "F"])
def test_unusual_modes_become_three_channels(mode: str) -> None:
    data = encoded(Image.new("L", (9, 7), 255).convert(mode), "TIFF" if mode in "IF" else "PNG")
    decoded = decode_bgr(data)
    assert decoded.shape == (7, 9, 3)
    assert (decoded > 190).all()


def test_a_picture_of_one_pixel_is_a_picture() -> None:
    data = encoded(Image.new("RGB", (1, 1), GREEN), "PNG")
    assert decode_rgb(data).tolist() == [[list(GREEN)]]
    assert decode_bgr(data).tolist() == [[list(GREEN[::-1])]]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(50_000, 50_000), (60_000, 2_000), (2_147_483_647, 1)])
def test_a_bomb_is_refused_before_its_pixels_exist(size: tuple[int, int]) -> None:
    data = png_header(*size)
    assert len(data) < 200
    for decode in (decode_bgr, decode_rgb):
        tracemalloc.start()
        with pytest.raises(TooManyPixelsError, match="allowed"):
            decode(data)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2_000_000


def test_the_limits_are_the_callers() -> None:
    data = encoded(halves(RED, BLUE), "PNG")
    with pytest.raises(PictureTooLargeError, match="bytes"):
        decode_bgr(data, limits=PictureLimits(bytes=len(data) - 1))
    with pytest.raises(TooManyPixelsError, match="64 x 32"):
        decode_bgr(data, limits=PictureLimits(pixels=64 * 32 - 1))
    assert decode_bgr(data, limits=PictureLimits(bytes=len(data), pixels=64 * 32)).shape[0] == 32


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_file_is_named_as_such(kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    cut = data[: int(len(data) * share)]
    for decode in (decode_bgr, decode_rgb):
        with pytest.raises(TruncatedPictureError) as caught:
            decode(cut)
        assert caught.value.code == "truncated_picture"


@pytest.mark.parametrize("data", [b"", b"hello", b"<svg/>", b"%PDF-1.7\n", bytes(5000)])
def test_what_is_no_picture_is_named_as_such(data: bytes) -> None:
    for decode in (decode_bgr, decode_rgb):
        with pytest.raises(NotAPictureError) as caught:
            decode(data)
        assert caught.value.code == "not_a_picture"


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"]),
    st.integers(0, 10_000),
    st.binary(min_size=1, max_size=8),
)
def test_damage_gives_pixels_or_a_picture_error_and_nothing_else(
    kind: str, position: int, damage: bytes
) -> None:
    data = bytearray(encoded(halves(RED, BLUE), kind))
    start = position % len(data)
    data[start : start + len(damage)] = damage
    for decode in (decode_bgr, decode_rgb):
        with contextlib.suppress(*PictureError.__subclasses__()):
            assert decode(bytes(data)).shape[2] == 3


def test_every_picture_error_has_its_own_code() -> None:
    kinds = PictureError.__subclasses__()
    assert len({kind.code for kind in kinds}) == len(kinds) == 5
    assert pictures.DEFAULT_LIMITS.pixels < 2_500_000_000


def test_scans_are_counted_by_their_markers() -> None:
    image = halves(RED, BLUE)
    assert count_scans(encoded(image, "JPEG")) == 1
    assert count_scans(encoded(image, "JPEG", progressive=True)) == 10
    assert count_scans(encoded(image, "JPEG", restart_marker_rows=1)) == 1
    assert count_scans(encoded(image, "JPEG", comment=b"\xff\xda\0\0" * 50)) == 1
    assert count_scans(many_scans(40, size=(64, 64))) == 49
    assert count_scans(b"\xff\xd8\xff\xda\xff\xff\xff") == 1


def test_a_jpeg_of_thousands_of_scans_is_refused_by_its_markers() -> None:
    data = many_scans(3000, size=(512, 512))
    assert len(data) < 50_000
    for decode in (decode_bgr, decode_rgb):
        with pytest.raises(TooCostlyPictureError, match="scans"):
            decode(data)
    with pytest.raises(TooCostlyPictureError, match="scans, more than the 100"):
        decode_bgr(many_scans(150, size=(64, 64)))
    with pytest.raises(TooCostlyPictureError, match="in all its scans"):
        decode_bgr(many_scans(5, size=(64, 64)), limits=PictureLimits(scanned_pixels=64 * 64 * 13))


def test_decoding_many_scans_stops_at_its_deadline() -> None:
    data = many_scans(80, size=(1024, 1024))
    assert decode_bgr(data).shape == (1024, 1024, 3)
    for decode in (decode_bgr, decode_rgb):
        with pytest.raises(TooCostlyPictureError, match="was not decoded"):
            decode(data, limits=PictureLimits(seconds=0.001))


@pytest.mark.parametrize("kind", [b"P1", b"P2", b"P3"])
def test_a_large_picture_of_digits_is_refused_before_python_reads_them(kind: bytes) -> None:
    depth = b"" if kind == b"P1" else b" 1"
    data = kind + b" 800 800" + depth + b"\n" + b"1 " * (800 * 800 * (3 if kind == b"P3" else 1))
    for decode in (decode_bgr, decode_rgb):
        with pytest.raises(TooCostlyPictureError, match="digits"):
            decode(data)
    assert decode_bgr(kind + b" 2 1" + depth + b"\n1 0 0 1 1 1").shape == (1, 2, 3)


def test_a_comment_full_of_scan_markers_costs_nothing() -> None:
    data = encoded(halves(RED, BLUE), "JPEG", comment=b"\xff\xda" * 500)
    assert (decode_bgr(data) == decode_bgr(encoded(halves(RED, BLUE), "JPEG"))).all()


def test_memory_is_counted_by_format_and_refused_before_decoding() -> None:
    for data, each in (
        (deep_png(64), 12),
        (deep_png(64, colours=True), 12),
        (flat_png(64), 12),
        (encoded(Image.new("RGB", (64, 64)), "JPEG"), 7),
        (encoded(Image.new("RGB", (64, 64)), "JPEG", progressive=True), 9),
        (flat_webp(64), 7),
        (encoded(Image.new("RGBA", (64, 64)), "PNG"), 20),
        (encoded(Image.new("F", (64, 64)), "TIFF"), 32),
    ):
        limits = PictureLimits(decoded_bytes=64 * 64 * each)
        assert decode_bgr(data, limits=limits).shape == (64, 64, 3)
        with pytest.raises(DecodedTooLargeError) as refused:
            decode_bgr(data, limits=PictureLimits(decoded_bytes=64 * 64 * each - 1))
        assert refused.value.needed == 64 * 64 * each


def flat_png(side: int, mode: str = "RGB") -> bytes:
    return encoded(Image.new(mode, (side, side)), "PNG", compress_level=1)


def scanned_jpeg(side: int) -> bytes:
    """Progressive, with as many samples of each colour."""
    return encoded(Image.new("RGB", (side, side)), "JPEG", progressive=True, subsampling=0)


@pytest.mark.parametrize(
    "made",
    [
        flat_webp,
        flat_png,
        partial(flat_png, mode="RGBA"),
        deep_png,
        partial(deep_png, colours=True),
        scanned_jpeg,
    ],
    ids=["webp", "png", "transparent", "deep", "colours", "progressive"],
)
def test_decoding_stays_within_the_memory_it_is_counted_with(made: Callable[[int], bytes]) -> None:
    data = made(3000)
    with pytest.raises(DecodedTooLargeError) as refused:
        decode_bgr(data, limits=PictureLimits(decoded_bytes=0))
    # `ru_maxrss` begins with what pytest had: the highest of a process outlives its exec.
    program = (
        "import pathlib, re, sys\n"
        "from runtime.inference.pictures import decode_bgr\n"
        "import cv2\n"
        "status, reset = (pathlib.Path('/proc/self', n) for n in ('status', 'clear_refs'))\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+) kB', status.read_text())[1]) * 1024\n"
        "data = sys.stdin.buffer.read()\n"
        "reset.write_text('5')\n"
        "before = peak()\n"
        "decode_bgr(data)\n"
        "print(peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, input=data, capture_output=True
    )
    assert 0.5 < int(done.stdout) / refused.value.needed < 1.15


@pytest.mark.parametrize("options", [{"quality": 60}, {"lossless": True}])
def test_a_webp_has_the_same_pixels_by_both_decoders(options: dict[str, Any]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    data = encoded(Image.fromarray(noise).resize((301, 203)), "WEBP", **options)
    assert (decode_bgr(data)[:, :, ::-1] == decode_rgb(data)).all()


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}, {"subsampling": 0}])
def test_a_jpeg_cut_before_its_end_marker_is_truncated(
    share: float, options: dict[str, Any]
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    data = encoded(Image.fromarray(noise).resize((320, 240)), "JPEG", **options)
    begin = data.index(b"\xff\xda")
    end = begin + int((len(data) - begin) * share)
    for decode in (decode_bgr, decode_rgb):
        assert decode(data).shape == (240, 320, 3)
        with pytest.raises(TruncatedPictureError):
            decode(data[:end] + b"\xff\xd9")


@pytest.mark.parametrize("size", [(64, 48), (61, 43), (1, 1)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_jpeg_that_is_the_grey_of_missing_pixels_is_complete(
    size: tuple[int, int], options: dict[str, Any]
) -> None:
    for mode in ("RGB", "L"):
        grey = Image.new(mode, size, (128, 128, 128) if mode == "RGB" else 128)
        data = encoded(grey, "JPEG", **options)
        assert (decode_bgr(data) == 128).all()
        assert (decode_rgb(data) == 128).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("divisor", [2, 4, 8])
def test_a_jpeg_decoded_smaller_is_the_picture_seen_from_afar(
    divisor: int, orientation: int
) -> None:
    """Pillow, which was not asked for less, shrinks what it decoded whole and turned."""
    image = halves(RED, BLUE).resize((128, 72))
    image.paste(GREEN, (0, 0, 128, 32))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(image, "JPEG", quality=95, exif=exif)
    asked: list[tuple[int, int]] = []

    def reduction(width: int, height: int) -> int:
        asked.append((width, height))
        return divisor

    found = pictures.read_picture(data, reduction=reduction)
    whole = pictures.to_rgb(pictures.open_checked(data))
    assert asked == [whole.size] == [(found.width, found.height)]
    small = whole.reduce(divisor)
    assert found.pixels.shape == (small.height, small.width, 3)
    off = np.abs(found.pixels[:, :, ::-1].astype(int) - np.asarray(small, int))
    assert off.mean() < 6


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP"])
def test_only_a_jpeg_is_decoded_smaller(kind: str) -> None:
    found = pictures.read_picture(encoded(halves(RED, BLUE), kind), reduction=lambda *_: 2)
    assert found.pixels.shape == (32, 64, 3)


def test_a_jpeg_cut_short_is_noticed_in_an_eighth_of_its_size() -> None:
    data = encoded(halves(RED, BLUE).resize((512, 256)), "JPEG")
    with pytest.raises(TruncatedPictureError):
        pictures.read_picture(data[: len(data) // 2] + b"\xff\xd9", reduction=lambda *_: 8)
