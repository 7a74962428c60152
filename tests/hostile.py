"""Small files that cost a decoder much: made when a test runs."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from PIL import Image


def many_scans(scans: int, *, size: tuple[int, int] = (1024, 1024)) -> bytes:
    """A progressive JPEG whose last scan, a refinement of few bytes, comes again and again."""
    file = io.BytesIO()
    Image.new("RGB", size, (90, 120, 30)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def flat_webp(side: int) -> bytes:
    """A lossy WebP of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), (90, 120, 30)).save(file, "WEBP", method=0, quality=10)
    return file.getvalue()


def deep_png(side: int) -> bytes:
    """A PNG of 16 bits a pixel, one grey level; compressed a thousand times."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checked = kind + body
        return struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", side, side, 16, 0, 0, 0, 0)
    packer = zlib.compressobj(6)
    row = b"\0" + b"\x80\x40" * side
    pixels = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    begin = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return begin + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def video_units(
    *, width: int, height: int, references: int, count: int, options: str = "bframes=0"
) -> Iterator[bytes]:
    """H.264 access units, Annex B, whose decoder has to keep `references` pictures; `options` are
    x264's."""
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height = width, height
    codec.pix_fmt = "yuv420p"
    codec.time_base = Fraction(1, 25)
    codec.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "x264-params": f"ref={references}:level=6.2:keyint=1000:scenecut=0:{options}",
    }
    for number in range(count):
        plane = np.full((height * 3 // 2, width), 40 + number, np.uint8)
        frame = av.VideoFrame.from_ndarray(plane, format="yuv420p")
        frame.pts = number
        for packet in codec.encode(frame):
            yield bytes(packet)
    for packet in codec.encode(None):
        yield bytes(packet)
