"""What the function holds of its memory, and keeping freed memory out of the bill for it."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

_M_MMAP_THRESHOLD: Final = -3
_THRESHOLD_BYTES: Final = 128 * 1024
_SECOND_MODEL: Final = 2.5
"""Memory while a model is loaded for fast calls beside the one that serves, over the memory before:
1.3 (EfficientNet-Lite0), 1.6 (ResNet50) and 2.2 (ResNet50, fp16) were measured."""


def return_freed_blocks() -> None:
    """Have the allocator give freed large blocks back to the system at once.

    glibc raises its mmap threshold to the size of what is freed, up to 32 MB, and then keeps such
    blocks in its heaps: the parts of a downloaded model, and the copies that ONNX Runtime makes
    while it optimises the graph, would stay resident. Setting the threshold switches that off
    (mallopt(3)). Other C libraries have no mallopt and are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES)


def has_room_for_a_second_model(memory_mb: int, *, statm: Path = Path("/proc/self/statm")) -> bool:
    """Whether a function of `memory_mb` can load its model again while the first one serves."""
    resident = int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resident * _SECOND_MODEL <= memory_mb * 1024 * 1024
