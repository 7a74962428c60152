"""What this machine's processor is called and how many of it this process may use."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def processor_name() -> str:
    """The model name of the CPU as Linux gives it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def computes_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 matrices in hardware (AVX-512 BF16, AMX, Arm BF16)."""
    flags = set((_cpuinfo("flags") or _cpuinfo("Features")).split())
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


_TELLING = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
_TELLING_ARM = ("asimddp", "i8mm", "bf16")


def instructions() -> str:
    """The instruction sets that decide which precision is faster and whether int8 saturates."""
    has = set((_cpuinfo("flags") or _cpuinfo("Features")).split())
    return " ".join(
        [platform.machine(), *(name for name in (*_TELLING, *_TELLING_ARM) if name in has)]
    )


def _cpuinfo(wanted: str) -> str:
    """The first processor's line of that name in /proc/cpuinfo, empty where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return ""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == wanted:
            return value.strip()
    return ""


def usable_processors() -> int:
    """Processors that the scheduler lets this process use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1
