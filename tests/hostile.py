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


def deep_png(side: int, *, colours: bool = False) -> bytes:
    """A PNG of 16 bits a sample, one grey level; compressed a thousand times."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checked = kind + body
        return struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", side, side, 16, 2 if colours else 0, 0, 0, 0)
    packer = zlib.compressobj(6)
    row = b"\0" + b"\x80\x40" * side * (3 if colours else 1)
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


def tiff(entries: dict[int, tuple[int, bytes]], data: bytes = b"", *, large: bool = False) -> bytes:
    """A little-endian TIFF of one directory; `entries` by tag: type and values. In the values of
    strips' or tiles' offsets (273, 324) a negative number counts from `data` on. `large`: BigTIFF.
    """
    sizes = {1: 1, 3: 2, 4: 4, 5: 8, 7: 1}
    head, each, short = (16, 20, 8) if large else (8, 12, 4)
    begin = head + (8 if large else 2) + each * len(entries) + short
    long = sum(len(values) for _, values in entries.values() if len(values) > short)
    directory, behind = b"", b""
    for tag, (kind, values) in sorted(entries.items()):
        count, said = len(values) // sizes[kind], values
        if tag in (273, 324):
            places = np.frombuffer(values, "<i4").astype(np.int64)
            places = np.where(places < 0, begin + long - 1 - places, places)
            said = places.astype("<u4").tobytes()
        if len(said) > short:
            place = begin + len(behind)
            behind += said
            said = struct.pack("<Q" if large else "<L", place)
        directory += struct.pack("<HHQ" if large else "<HHL", tag, kind, count)
        directory += said.ljust(short, b"\0")
    start = b"II\x2b\0\x08\0\0\0" + struct.pack("<Q", 16) if large else b"II*\0\x08\0\0\0"
    number = struct.pack("<Q" if large else "<H", len(entries))
    return start + number + directory + bytes(short) + behind + data


def tiff_picture(
    width: int, height: int, more: dict[int, tuple[int, bytes]], data: bytes = b"", **options: bool
) -> bytes:
    """An RGB TIFF of eight bits without its pixels' places, which `more` has."""
    entries = {
        256: (4, struct.pack("<L", width)),
        257: (4, struct.pack("<L", height)),
        258: (3, struct.pack("<3H", 8, 8, 8)),
        259: (3, struct.pack("<H", 1)),
        262: (3, struct.pack("<H", 2)),
        277: (3, struct.pack("<H", 3)),
    }
    return tiff(entries | more, data, **options)


def run_length_bmp(width: int, height: int) -> bytes:
    """A BMP whose rows are one pixel and an end of line."""
    data = b"\x01\x05\0\0" * height + b"\0\x01"
    at = 54 + 1024
    info = struct.pack("<LllHHLLllLL", 40, width, height, 1, 8, 1, len(data), 0, 0, 256, 0)
    return struct.pack("<2sLHHL", b"BM", at + len(data), 0, 0, at) + info + bytes(1024) + data
