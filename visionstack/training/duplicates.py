"""Pictures that show the same: equal pixels, and nearly equal ones by a perceptual hash.

The hash is dHash (Krawetz 2013, "Kind of Like That"): is each pixel of a 16-row grey thumbnail
brighter than its left neighbour; by more than the noise that compression leaves in what is flat,
such as a white background. Sixteen rows make 256 bits, so that small grey pictures of one
product do not fall together as they do with the usual 64. Own code of five lines, since the
package `imagehash` would bring SciPy and PyWavelets (130 MB).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HASH_ROWS: Final = 16
NEAR: Final = 8
"""Bits of 256 in which near-duplicates may differ."""
_NOISE: Final = 3
"""Of 255."""
_BLOCK: Final = 512


def difference_hash(image: Image.Image) -> NDArray[np.uint64]:
    """The hash (4,) of a picture of any size."""
    grey = image.convert("L").resize((HASH_ROWS + 1, HASH_ROWS), Image.Resampling.BILINEAR)
    values = np.asarray(grey).astype(np.int16)
    return np.packbits(values[:, 1:] > values[:, :-1] + _NOISE).view(np.uint64)


def near_pairs(hashes: NDArray[np.uint64], *, near: int = NEAR) -> NDArray[np.int64]:
    """Pairs (n, 2) of pictures whose hashes (pictures, 4) differ in at most `near` bits."""
    found = []
    for start in range(0, len(hashes), _BLOCK):
        block = hashes[start : start + _BLOCK]
        distance = np.zeros((len(block), len(hashes) - start), np.uint16)
        for word in range(hashes.shape[1]):
            distance += np.bitwise_count(block[:, word, None] ^ hashes[None, start:, word])
        left, right = np.nonzero(distance <= near)
        later = right > left
        found.append(np.stack([left[later], right[later]], 1) + start)
    return np.concatenate(found) if found else np.zeros((0, 2), np.int64)


def groups(count: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """A group's number (count,) for every picture: those linked by pairs share one."""
    parent = list(range(count))

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    for left, right in pairs.tolist():
        one, other = sorted((root(left), root(right)))
        parent[other] = one
    return np.array([root(one) for one in range(count)], np.int64)
