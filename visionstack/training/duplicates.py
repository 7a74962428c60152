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
    """Pairs (n, 2) that link all pictures whose hashes (pictures, 4) differ in at most `near` bits.

    Of pictures with one hash each is linked to the first of them, and only that one to others:
    a thousand blank pictures are a thousand pairs and not half a million.
    """
    if len(hashes) == 0:
        return np.zeros((0, 2), np.int64)
    _, first, same = np.unique(hashes, axis=0, return_index=True, return_inverse=True)
    to_first = np.stack([first[same.reshape(-1)], np.arange(len(hashes))], 1)
    found = [to_first[to_first[:, 0] != to_first[:, 1]]]
    places = np.sort(first)
    different = hashes[places]
    for start in range(0, len(different), _BLOCK):
        block = different[start : start + _BLOCK]
        distance = np.zeros((len(block), len(different) - start), np.uint16)
        for word in range(hashes.shape[1]):
            distance += np.bitwise_count(block[:, word, None] ^ different[None, start:, word])
        left, right = np.nonzero(distance <= near)
        later = right > left
        found.append(places[np.stack([left[later], right[later]], 1) + start])
    pairs = np.concatenate(found).astype(np.int64)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


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
