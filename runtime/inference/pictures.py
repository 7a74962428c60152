"""Bytes to pixels, with the limits checked on the header, before any pixel exists.

Pillow reads every header and every unusual picture; OpenCV decodes the usual JPEGs and WebPs (grey
or RGB) and is imported only by `read_picture`. Both turn pictures as EXIF says, take the first
frame of an animation, put transparent pixels on white, and give 8 bits a channel. A PNG is
Pillow's: it notices damage, and has to decode all of it to find EXIF that comes after the pixels.

`read_picture` leaves out of a JPEG what a network would not see anyway: libjpeg makes a half, a
quarter or an eighth of the size from fewer coefficients, in less time.

The time that decoding takes is bounded by the number of pixels, except for JPEGs of many scans:
each scan may be a few bytes and visits all of the picture. Their scans are counted first, and those
with more than a camera or an image program writes are decoded piece by piece, against a clock.
"""

from __future__ import annotations

import io
import struct
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps, JpegImagePlugin, UnidentifiedImageError

from runtime.contract import MAX_PICTURE_BYTES, MAX_PICTURE_PIXELS
from runtime.inference.errors import (
    DecodedTooLargeError,
    NotAPictureError,
    PictureTooLargeError,
    TooCostlyPictureError,
    TooManyPixelsError,
    TruncatedPictureError,
)
from runtime.inference.picture_costs import (
    RUN_LENGTH_PIXELS,
    RUN_LENGTH_READS,
    check_tiff,
    coefficient_bytes,
    count_scans,
    is_run_length_bmp,
    pixels_in_memory,
    pnm_pixels,
    scans_in_tiff,
)

Pixels = NDArray[np.uint8]
Reduction = Callable[[int, int], int]
"""From a picture's width and height: 1, 2, 4 or 8, by which both may be divided in decoding."""


class Picture(NamedTuple):
    """A decoded picture of `width` x `height`; `pixels` may be smaller than that.

    pixels: uint8 (height, width, 3), or a half, a quarter or an eighth of both, rounded up.
    """

    pixels: Pixels
    width: int
    height: int

    @classmethod
    def whole(cls, pixels: Pixels) -> Self:
        """One whose pixels are all there."""
        return cls(pixels, pixels.shape[1], pixels.shape[0])


FORMATS: Final = ("JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF")
"""The formats that are read, those first whose readers Pillow has loaded when it starts. MPO, what
phones write for a JPEG with a second picture, is read by Pillow's JPEG reader."""
_open: Final = Image.open
"""Pillow's own: Ultralytics replaces `Image.open` by one that installs packages."""
# Between one and two times its own limit Pillow only warns; ours is the one that decides, and
# catching warnings around each call would not be safe with threads.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# It tells of damaged metadata too, in a line for each of up to 65,535 entries of one picture.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
_METADATA: Final = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")
_SIXTEEN_BIT: Final = ("I;16", "I;16B", "I;16L", "I;16N")
_DAMAGE: Final = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError),
    *(TypeError, AssertionError, OverflowError, struct.error),
)
"""What Pillow's readers raise for damaged files, the second line for damaged metadata."""
_JPEG_BEGIN: Final = b"\xff\xd8\xff"
_JPEG_END: Final = b"\xff\xd9"
_JPEG_SCAN: Final = b"\xff\xda"
_PNM_IN_DIGITS: Final = (b"P1", b"P2", b"P3")
"""Pillow reads the numbers in Python, a hundred times slower than any other format."""
_TURNS: Final = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
"""By EXIF's orientation: whether rows and columns change places, then rows, then columns, are
reversed."""
_REDUCED: Final = {1: 0, 2: 16, 4: 32, 8: 64}
"""OpenCV's `IMREAD_REDUCED_GRAYSCALE_2`, `_4` and `_8`; with `IMREAD_COLOR` they are those in
colour. OpenCV itself is not imported here."""
_PIECE_BYTES: Final = 1024
"""A decoder against the clock is given this much at a time: some fifty of the shortest scans."""
_STRIP_ROWS: Final = 256
_MISSING: Final = 128
"""What libjpeg gives for every sample whose coefficients are missing (jdhuff.c)."""
_OTHER_DATA: Final = bytes(range(1, 255)) * 2
"""Taken for coefficients where some are missing, and skipped where none is."""


class PictureLimits(NamedTuple):
    """Largest file in bytes, largest picture in pixels (width times height), and most work."""

    bytes: int = MAX_PICTURE_BYTES
    pixels: int = MAX_PICTURE_PIXELS
    scans: int = 100
    """Of a JPEG. Image programs write 1 to 12; what successive approximation can make use of ends
    well below this."""
    scanned_pixels: int = 12 * MAX_PICTURE_PIXELS
    """Scans times pixels of a JPEG: the largest picture as the usual progressive JPEG."""
    digits_bytes: int = 1024 * 1024
    """Of a PNM whose pixels are written in digits."""
    header_reads: int = 2_000
    """Calls of `read` until the pixels begin. 10 MB of metadata in the longest segments that a JPEG
    can have are 640."""
    pixel_reads: int = 100_000
    """Calls of `read` from there on. A PNG of 10 MB in pieces of 1 KiB has 40,000."""
    seconds: float = 5.0
    """For decoding a JPEG of more than `PLAIN_SCANS` scans."""
    decoded_bytes: int = 640 * 1024 * 1024
    """Memory for decoding at its highest point, by `decoded_bytes`."""


DEFAULT_LIMITS: Final = PictureLimits()
PLAIN_SCANS: Final = 12
"""A JPEG of up to so many scans is decoded in one go."""


class _CountedFile(io.BytesIO):
    """A file that can be read with so many calls. Pillow's readers are Python, a few calls for each
    segment, and keep what they find: a JPEG of 10 MB in empty segments takes seconds and hundreds
    of megabytes, and one in pieces of EXIF, which are joined one by one, many minutes."""

    def __init__(self, data: bytes, *, reads: int) -> None:
        super().__init__(data)
        self._part = "header"
        self._reads = reads

    def end_header(self, *, reads: int) -> None:
        """The pixels come now, and what may be behind them: for these another number counts."""
        self._part, self._reads = "data", reads

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads -= 1
        if self._reads < 0:
            raise TooCostlyPictureError(
                f"The picture's {self._part} is in more pieces than any program writes; "
                "save it anew."
            )
        return super().read(size)


class _TimedFile(_CountedFile):
    """A file that can be read until a time, in pieces."""

    def __init__(self, data: bytes, *, reads: int, seconds: float, what: str) -> None:
        super().__init__(data, reads=reads)
        self._seconds = seconds
        self._until = time.monotonic() + seconds
        self._what = what

    def read(self, size: int | None = -1, /) -> bytes:
        if time.monotonic() > self._until:
            raise TooCostlyPictureError(
                f"{self._what} was not decoded after {self._seconds:g} s; save it anew as a "
                "baseline JPEG."
            )
        return super().read(size)


def open_checked(data: bytes, *, limits: PictureLimits = DEFAULT_LIMITS) -> Image.Image:
    """The picture with its header read and checked against `limits`, its pixels not yet decoded.

    Raises `PictureTooLargeError`, `TooManyPixelsError`, `TooCostlyPictureError`,
    `NotAPictureError` and `TruncatedPictureError`. A JPEG of many scans raises
    `TooCostlyPictureError` also while it is decoded.
    """
    if len(data) > limits.bytes:
        raise PictureTooLargeError(
            f"The picture has {len(data):,} bytes, more than the {limits.bytes:,} allowed; "
            "send it smaller or compress it more."
        )
    if data.startswith(_PNM_IN_DIGITS) and len(data) > limits.digits_bytes:
        raise TooCostlyPictureError(
            f"The picture is a PNM written in digits of {len(data):,} bytes, more than the "
            f"{limits.digits_bytes:,} allowed; save it as PNG."
        )
    check_tiff(data, entries=limits.header_reads)
    scans = _scans(data, limits=limits)
    file = _CountedFile(data, reads=limits.header_reads)
    if scans > PLAIN_SCANS:
        what = f"The JPEG of {scans:,} scans"
        file = _TimedFile(data, reads=limits.header_reads, seconds=limits.seconds, what=what)
    try:
        image = _opened(file, data)
        area, scans = pixels_in_memory(image), scans or scans_in_tiff(image, data)
    except Image.DecompressionBombError as error:
        raise TooManyPixelsError(
            f"The picture's header announces more than the {limits.pixels:,} pixels allowed."
        ) from error
    except UnidentifiedImageError as error:
        raise NotAPictureError(
            f"The {len(data):,} bytes are not a picture of a known format ({', '.join(FORMATS)})."
        ) from error
    except _DAMAGE as error:
        raise TruncatedPictureError(f"The picture's header is damaged: {error}.") from error
    run_length = is_run_length_bmp(image)
    file.end_header(reads=RUN_LENGTH_READS if run_length else limits.pixel_reads)
    width, height = image.size
    most = min(limits.pixels, RUN_LENGTH_PIXELS) if run_length else limits.pixels
    if area > most:
        tiles = "" if area == width * height else f" in tiles of {area:,}"
        kind = " of a run-length BMP" if run_length else ""
        raise TooManyPixelsError(
            f"The picture is {width} x {height} pixels{tiles}, more than the {most:,} "
            f"allowed{kind}."
        )
    if width * height * scans > limits.scanned_pixels:
        raise TooCostlyPictureError(
            f"The {image.format} has {scans:,} scans of {width} x {height} pixels, more than the "
            f"{limits.scanned_pixels:,} pixels in all its scans that are allowed; save it anew as "
            "a baseline JPEG."
        )
    if scans > PLAIN_SCANS and isinstance(image, ImageFile.ImageFile):
        image.decodermaxblock = _PIECE_BYTES
    if width < 1 or height < 1:
        raise NotAPictureError(f"The picture is {width} x {height} pixels: it is empty.")
    return image


def _opened(file: _CountedFile, data: bytes) -> Image.Image:
    """As `Image.open`, which for a JPEG too would first import the readers of four other formats:
    a fiftieth of a cold start."""
    if not data.startswith(_JPEG_BEGIN):
        return _open(file, formats=FORMATS)

    try:
        return JpegImagePlugin.jpeg_factory(file)
    except (SyntaxError, IndexError, TypeError, struct.error) as error:
        raise UnidentifiedImageError(str(error)) from error


def decoded_bytes(image: Image.Image, *, opencv: bool) -> int:
    """Memory that decoding takes at its highest point, the result included, by what was measured
    with pictures of 49 million pixels and rounded up."""
    if opencv:
        each = 7
    elif image.format == "WEBP":
        each = 24
    elif image.mode in ("I", "F"):
        each = 32
    elif image.has_transparency_data:
        each = 20
    else:
        each = 12
    return pixels_in_memory(image) * each


def check_memory(image: Image.Image, needed: int, *, limits: PictureLimits) -> None:
    """Raises `DecodedTooLargeError`."""
    if needed > limits.decoded_bytes:
        raise DecodedTooLargeError(
            f"Decoding the {image.format} picture of {image.width} x {image.height} pixels "
            f"({image.mode}) takes about {needed:,} bytes of memory, more than the "
            f"{limits.decoded_bytes:,} allowed; send it smaller.",
            needed=needed,
        )


def _scans(data: bytes, *, limits: PictureLimits) -> int:
    """Scans of a JPEG, 0 for other formats. Raises `TooCostlyPictureError`."""
    if not data.startswith(b"\xff\xd8"):
        return 0
    # The marker can lie within other segments, but each scan has it: never too few.
    scans = data.count(_JPEG_SCAN)
    if scans > PLAIN_SCANS:
        scans = count_scans(data)
    if scans > limits.scans:
        raise TooCostlyPictureError(
            f"The JPEG has {scans:,} scans, more than the {limits.scans} allowed; save it anew as "
            "a baseline JPEG."
        )
    return scans


def to_rgb(image: Image.Image, *, limits: PictureLimits = DEFAULT_LIMITS) -> Image.Image:
    """Decode an opened picture: 8-bit RGB, turned as EXIF says, on white where transparent.

    Raises `TruncatedPictureError`, `TooCostlyPictureError` and `DecodedTooLargeError`.
    """
    file = getattr(image, "fp", None)
    data = file.getvalue() if isinstance(file, io.BytesIO) else b""
    whole_jpeg = image.format == "JPEG" and not isinstance(file, _TimedFile)
    try:
        check_memory(image, decoded_bytes(image, opencv=False), limits=limits)
        if (samples := pnm_pixels(image, data)) is not None:
            image = Image.fromarray(samples)
        image.load()
        if whole_jpeg and image.mode in ("RGB", "L"):
            _check_complete(data, image)
        if image.mode in _SIXTEEN_BIT:
            # Pillow's own conversion clips at 255 instead of scaling.
            image = Image.fromarray(_upper_bytes(image))
        elif image.mode in ("I", "F"):
            image = Image.fromarray(_scaled_to_bytes(np.asarray(image, np.float64)))
        # Else Pillow writes all of it anew, without the orientation: seconds for 10 MB of numbers.
        image.getexif()
        for name in _METADATA:
            image.info.pop(name, None)
        # In place, and no conversion of what is RGB: each would be a copy.
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode != "RGB" and image.has_transparency_data:
            opaque = Image.new("RGBA", image.size, "white")
            opaque.alpha_composite(image.convert("RGBA"))
            image = opaque
        return image if image.mode == "RGB" else image.convert("RGB")
    except (*_DAMAGE, Image.DecompressionBombError) as error:
        raise TruncatedPictureError(
            f"The picture's pixels are missing or damaged: {error}."
        ) from error


def decode_rgb(data: bytes, *, limits: PictureLimits = DEFAULT_LIMITS) -> Pixels:
    """uint8 (height, width, 3), red first. Pillow only, for the Lambda function."""
    return np.asarray(to_rgb(open_checked(data, limits=limits), limits=limits))


def decode_bgr(data: bytes, *, limits: PictureLimits = DEFAULT_LIMITS) -> Pixels:
    """uint8 (height, width, 3), blue first, as OpenCV and the detectors have it."""
    return read_picture(data, limits=limits).pixels


def read_picture(
    data: bytes, *, limits: PictureLimits = DEFAULT_LIMITS, reduction: Reduction | None = None
) -> Picture:
    """Blue first. `reduction` says how much smaller a JPEG may be decoded; nothing else is.

    A usual and complete JPEG or WebP goes through OpenCV, which is faster; all else, and anything
    OpenCV declines, through Pillow, which notices missing pixels.
    """
    import cv2

    image = open_checked(data, limits=limits)
    if _opencv_reads(image, data):
        scanned = coefficient_bytes(image, data) + 3 * image.width * image.height
        needed = max(decoded_bytes(image, opencv=True), scanned)
        check_memory(image, needed, limits=limits)
        # Pillow alone says how a picture is turned: OpenCV reads some EXIF otherwise, and no XMP.
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        orientation = _orientation(image)
        width, height = image.size
        if orientation is not None and _TURNS[orientation][0]:
            width, height = height, width
        if reduction is not None and image.format == "JPEG":
            flags |= _REDUCED[reduction(width, height)]
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if pixels is not None and orientation is not None:
            pixels = _turned(pixels, orientation)
            if image.format == "JPEG":
                _check_complete(data, Image.fromarray(_corners(pixels)))
            return Picture(np.asarray(pixels, np.uint8), width, height)
    rgb = to_rgb(image, limits=limits)
    del image
    # By strips: the whole as an array would be a copy the more.
    bgr = np.empty((rgb.height, rgb.width, 3), np.uint8)
    for top, strip in _strips(rgb):
        cv2.cvtColor(strip, cv2.COLOR_RGB2BGR, dst=bgr[top : top + len(strip)])
    return Picture.whole(bgr)


def _orientation(image: Image.Image) -> int | None:
    """1 to 8 as EXIF has it, 1 where nothing is said; None where Pillow cannot read it."""
    try:
        said = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DAMAGE:
        return None
    return int(said) if said in _TURNS else 1


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    transposed, upside_down, mirrored = _TURNS[orientation]
    if transposed:
        pixels = pixels.transpose(1, 0, 2)
    turned = pixels[:: -1 if upside_down else 1, :: -1 if mirrored else 1]
    return np.ascontiguousarray(turned)


def _opencv_reads(image: Image.Image, data: bytes) -> bool:
    if image.format == "JPEG":
        # OpenCV fills the missing rest of a truncated JPEG with grey; a complete one ends so.
        timed = isinstance(image, ImageFile.ImageFile) and isinstance(image.fp, _TimedFile)
        return image.mode in ("RGB", "L") and data.endswith(_JPEG_END) and not timed
    if image.format == "WEBP":
        # In OpenCV it takes 3 bytes a pixel, in Pillow 20, and the pixels are the same.
        plain = image.mode == "RGB" and getattr(image, "n_frames", 1) == 1
        complete = len(data) == 8 + int.from_bytes(data[4:8], "little")
        return plain and complete and "exif" not in image.info
    return False


def _corners(pixels: NDArray[Any]) -> NDArray[Any]:
    """The four pixels at the corners (2, 2, …), since EXIF may have turned the last elsewhere."""
    across = pixels[:: max(1, len(pixels) - 1), :: max(1, pixels.shape[1] - 1)]
    return np.ascontiguousarray(across)


def _check_complete(data: bytes, image: Image.Image) -> None:
    """Raises `TruncatedPictureError` for a JPEG whose end marker follows too little data.

    libjpeg fills the rest with grey and only warns. So where a corner has that grey, more data is
    put before the marker: if that changes the picture, some was missing. A progressive JPEG that
    lacks part of what only refines it is not noticed.
    """
    width, height = image.size
    corners = [image.getpixel((x, y)) for x in {0, width - 1} for y in {0, height - 1}]
    if not any(one in (_MISSING, (_MISSING,) * 3) for one in corners):
        return
    end = data.rfind(_JPEG_END)
    try:
        complete = end < 0 or _eighth(data) == _eighth(data[:end] + _OTHER_DATA + data[end:])
    except _DAMAGE as error:
        raise TruncatedPictureError(f"The JPEG's pixels are damaged: {error}.") from error
    if not complete:
        raise TruncatedPictureError("The JPEG ends before all of its pixels have come.")


def _eighth(data: bytes) -> bytes:
    """A JPEG's brightness at an eighth of its size, which is quick."""
    image = _open(io.BytesIO(data), formats=("JPEG",))
    image.draft("L", (1, 1))
    return image.tobytes()


def _strips(image: Image.Image) -> Iterator[tuple[int, NDArray[Any]]]:
    """The picture's rows as arrays, some at a time, each with the number of its first row."""
    for top in range(0, image.height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, image.height)
        yield top, np.asarray(image.crop((0, top, image.width, bottom)))


def _upper_bytes(image: Image.Image) -> Pixels:
    """16 bits a pixel to 8."""
    pixels = np.empty((image.height, image.width), np.uint8)
    for top, strip in _strips(image):
        pixels[top : top + len(strip)] = strip.astype(np.uint16) >> 8
    return pixels


def _scaled_to_bytes(values: NDArray[np.float64]) -> Pixels:
    """32-bit integers and floats have no fixed white: 16-bit range if it fits, else stretched."""
    top = float(values.max())
    if top <= 255 and values.min() >= 0:
        return values.astype(np.uint8)
    if values.min() >= 0 and top <= 65535:
        return (values / 257).astype(np.uint8)
    low = float(values.min())
    return ((values - low) * (255 / max(top - low, 1e-12))).astype(np.uint8)
