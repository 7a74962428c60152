"""Keeping freed memory out of the function's bill for memory."""

from __future__ import annotations

import ctypes
from typing import Final

_M_MMAP_THRESHOLD: Final = -3
_THRESHOLD_BYTES: Final = 128 * 1024


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
