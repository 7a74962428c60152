"""Which precision `auto` stands for: by figures recorded with the artifact, never by guess."""

from __future__ import annotations

from typing import Final

from runtime.inference.artifact import Manifest, Measured

MOST_LOST: Final = 0.02
"""Of AP50 (or of the share of right first classes) against fp32 on the same labels.

Without labels, of the share of pictures with fp32's first class: more than that cannot be lost.
"""
LEAST_AGREEMENT: Final = 0.9
"""With fp32's first class, of a classifier: where fp32 itself is hardly ever right there is little
to lose, and a broken variant must not pass for a sound one."""


def fastest_measured(manifest: Manifest, *, engine: str, instructions: str) -> str | None:
    """The fastest sound precision; None where nothing was measured.

    Only figures of this engine, of a processor with the same instruction sets and of the very files
    that the artifact holds count: a variant without them is never taken.
    """
    files = {"int8": manifest.int8}
    known = {}
    for row in manifest.measured:
        entry = manifest.files.get(files.get(row.precision, manifest.model))
        if (row.engine, row.instructions) == (engine, instructions) and (
            entry is not None and entry.sha256 == row.sha256
        ):
            known[row.precision] = row
    if "fp32" not in known:
        return None
    sound_ones = [row for row in known.values() if sound(row, known["fp32"])]
    return min(sound_ones, key=lambda row: row.milliseconds).precision if sound_ones else None


def sound(row: Measured, exact: Measured) -> bool:
    """Whether a variant loses at most `MOST_LOST` against fp32 (`exact`) and agrees with it."""
    agrees = row.agreement is None or row.agreement >= LEAST_AGREEMENT
    return agrees and row.accuracy >= exact.accuracy - MOST_LOST
