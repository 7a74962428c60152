"""Arrays that may be larger than memory: rows in a file, read by their numbers.

Read and not mapped: pages of a mapping count as the process's memory until the system wants them
back, those of the page cache do not.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from visionstack.training.errors import TrainingError

_SPARE_BYTES: Final = 256 * 2**20


class Rows:
    """Rows of one shape and type in a file, written once in order, then read by number."""

    def __init__(self, path: Path, *, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.path = path
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.row_bytes = math.prod(shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.path.stat().st_size // self.row_bytes

    def append(self, rows: NDArray[Any]) -> None:
        """Raises `TrainingError` when the disk is full."""
        try:
            with self.path.open("ab") as file:
                file.write(np.ascontiguousarray(rows, self.dtype).tobytes())
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def read(self, numbers: Sequence[int] | NDArray[Any]) -> NDArray[Any]:
        """The rows (len(numbers), *shape)."""
        found = np.empty((len(numbers), *self.shape), self.dtype)
        flat = found.reshape(len(numbers), -1).view(np.uint8)
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            for place, number in enumerate(numbers):
                if (
                    os.preadv(descriptor, [flat[place]], int(number) * self.row_bytes)
                    < flat.shape[1]
                ):
                    raise TrainingError(f"{self.path} ends before row {number}.", remedy=_REMEDY)
        finally:
            os.close(descriptor)
        return found


_REMEDY: Final = "Remove the folder it lies in and train again."


def check_room(folder: Path, needed: int) -> None:
    """Raises `TrainingError` unless the folder's disk has `needed` bytes and some to spare."""
    folder.mkdir(parents=True, exist_ok=True)
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    wanted = needed + _SPARE_BYTES
    if free < wanted:
        raise TrainingError(
            f"{folder} has {free / 2**20:,.0f} MiB free; training wants {wanted / 2**20:,.0f} MiB.",
            remedy="Free some space, or name another folder by --out.",
        )


def cannot_write(path: Path, error: OSError) -> TrainingError:
    """The sentence for a write that failed."""
    return TrainingError(
        f"{path} could not be written: {error.strerror or error}.",
        remedy="Free some space or name another folder by --out; the same command then goes on "
        "from the last epoch that was saved.",
    )
