"""Which precision `auto` stands for: by figures recorded with the artifact, never by guess."""

from __future__ import annotations

from typing import Final

from runtime.inference.artifact import Manifest

MOST_LOST: Final = 0.02
"""Of AP50 (or of the share of right first classes) against fp32 on the same labels."""


def fastest_measured(manifest: Manifest, *, engine: str, instructions: str) -> str | None:
    """The fastest precision that loses at most `MOST_LOST`; None where nothing was measured.

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
    least = known["fp32"].accuracy - MOST_LOST
    sound = [row for row in known.values() if row.accuracy >= least]
    return min(sound, key=lambda row: row.milliseconds).precision if sound else None
