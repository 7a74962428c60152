"""What an H.264 stream asks of its decoder, read from its parameter sets beforehand.

PyAV tells a stream's size once FFmpeg has allocated for it, and never how many pictures it keeps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_SPS: Final = re.compile(rb"\x00\x00\x01[\x07\x27\x47\x67\x87\xa7\xc7\xe7]")
_HIGH: Final = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
"""Profiles whose parameter sets tell the chroma format and the bit depth."""
_LONGEST_SPS: Final = 4096
_START: Final = b"\0\0\1"
_MOST_SETS: Final = 32
"""Parameter sets have numbers from 0 to 31 (7.4.2.1.1)."""
_MOST_PARTS: Final = 512
"""A slice for each row of macroblocks of 8192 lines."""
_PART_BYTES: Final = 4352
"""FFmpeg keeps so much for each of the most parts that it was ever given at once."""
_SUPPLEMENTARY: Final = 6
_MOST_SUPPLEMENTARY: Final = 64 * 1024
_SUPPLEMENTARY_FACTOR: Final = 40
"""FFmpeg takes an object for each message, of 19 bytes and more."""
_USUAL_PARTS: Final = 32
_USUAL_SUPPLEMENTARY: Final = 4096
"""What encoders write beside a picture is in a decoder's own size."""


class BadParameterSetError(ValueError):
    """A sequence parameter set that ends too early or makes no sense."""


class TooManyPartsError(ValueError):
    """An access unit of more parts, or with more said beside them, than a picture has."""


@dataclass(frozen=True, slots=True)
class PictureBuffer:
    """Coded width and height in pixels, bytes of one picture, and how many are kept; `number` is
    that of the parameter set."""

    number: int
    width: int
    height: int
    picture_bytes: int
    references: int

    @property
    def reference_bytes(self) -> int:
        return self.picture_bytes * max(1, self.references)


def picture_buffers(unit: bytes) -> Iterator[PictureBuffer]:
    """Those of the parameter sets in an access unit (Annex B). Raises BadParameterSetError."""
    for count, found in enumerate(_SPS.finditer(unit)):
        if count == _MOST_SETS:
            raise BadParameterSetError(f"a unit has more than {_MOST_SETS} of them")
        yield _parse(unit[found.end() : found.end() + _LONGEST_SPS])


def part_bytes(unit: bytes) -> int:
    """Memory that FFmpeg keeps for a unit's parts (NAL units), beyond that of a usual unit.

    Raises TooManyPartsError.
    """
    parts = unit.count(_START)
    if parts > _MOST_PARTS:
        raise TooManyPartsError(f"{parts:,} parts where {_MOST_PARTS} are allowed")
    said, begin = 0, unit.find(_START)
    while begin >= 0:
        end = unit.find(_START, begin + 3)
        if unit[begin + 3 : begin + 4] and unit[begin + 3] & 31 == _SUPPLEMENTARY:
            said += (len(unit) if end < 0 else end) - begin
        begin = end
    if said > _MOST_SUPPLEMENTARY:
        raise TooManyPartsError(
            f"{said:,} bytes of supplementary information where {_MOST_SUPPLEMENTARY:,} are allowed"
        )
    return _PART_BYTES * max(0, parts - _USUAL_PARTS) + _SUPPLEMENTARY_FACTOR * max(
        0, said - _USUAL_SUPPLEMENTARY
    )


class _Bits:
    """Bits of a NAL unit's payload, most significant first (ITU-T H.264, 7.2 and 9.1)."""

    def __init__(self, data: bytes) -> None:
        # The bytes that keep start codes out of the payload are no part of it (7.4.1).
        payload = data.replace(b"\0\0\3", b"\0\0")
        self._left = len(payload) * 8
        self._value = int.from_bytes(payload)

    def take(self, count: int) -> int:
        if count > self._left:
            raise BadParameterSetError("it ends too early")
        self._left -= count
        return (self._value >> self._left) & ((1 << count) - 1)

    def unsigned(self) -> int:
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 32:
                raise BadParameterSetError("a number has more than 32 bits")
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        value = self.unsigned()
        return (value + 1) // 2 if value & 1 else -(value // 2)


def _parse(data: bytes) -> PictureBuffer:
    """A sequence parameter set without its first byte (7.3.2.1.1)."""
    end = data.find(b"\0\0\1")
    bits = _Bits(data if end < 0 else data[:end])
    profile = bits.take(8)
    bits.take(16)
    number = _at_most(bits.unsigned(), _MOST_SETS - 1)
    chroma, depth, separate = 1, 8, False
    if profile in _HIGH:
        chroma = bits.unsigned()
        if chroma > 3:
            raise BadParameterSetError(f"there is no chroma format {chroma}")
        separate = chroma == 3 and bool(bits.take(1))
        depth = 8 + max(bits.unsigned(), bits.unsigned())
        bits.take(1)
        if bits.take(1):
            for number in range(12 if chroma == 3 else 8):
                if bits.take(1):
                    _skip_scaling_list(bits, 16 if number < 6 else 64)
    bits.unsigned()
    match bits.unsigned():
        case 0:
            bits.unsigned()
        case 1:
            bits.take(1)
            bits.signed()
            bits.signed()
            for _ in range(_at_most(bits.unsigned(), 255)):
                bits.signed()
    references = bits.unsigned()
    bits.take(1)
    width = (bits.unsigned() + 1) * 16
    rows = (bits.unsigned() + 1) * 16
    height = rows if bits.take(1) else rows * 2
    samples = 3.0 if separate else (1.0, 1.5, 2.0, 3.0)[chroma]
    each = samples * (2 if depth > 8 else 1)
    return PictureBuffer(number, width, height, int(width * height * each), references)


def _at_most(value: int, most: int) -> int:
    if value > most:
        raise BadParameterSetError(f"{value} where at most {most} can be")
    return value


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last
