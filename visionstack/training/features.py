"""A frozen network's features: computed once, kept in a file, read in batches.

Importing this imports torch.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch.utils.data import Dataset

from runtime.inference.engines.processor import computes_bfloat16
from visionstack.training.augmentation import augment
from visionstack.training.dataset import Pictures
from visionstack.training.networks import Backbone
from visionstack.training.rows import Rows, check_room

_JUDGED_PIXELS: Final = 32 * 224 * 224
_MOST_JUDGED: Final = 128
COPIES: Final = 4
"""Augmented copies of each picture whose features a frozen network computes, once."""


def judged_at_once(size: int) -> int:
    """Pictures of this side at a time where no gradients are kept: more take no less time each, and
    128 of 224 pixels took 2 GiB for what efficientnet-lite0 computes on the way."""
    return max(1, min(_MOST_JUDGED, _JUDGED_PIXELS // size**2))


def features(
    backbone: Backbone, pictures: Pictures, folder: Path, *, copies: int
) -> tuple[Rows, int]:
    """A frozen network's features of all pictures, computed once and kept in a file.

    With `copies`, as many augmented copies follow each other after the originals. Returns the rows
    and how many copies of every picture there are, the original one of them.
    """
    digest = hashlib.sha256(f"{backbone.name} {backbone.weights.description} {copies}".encode())
    digest.update(pictures.rows.path.name.encode() + pictures.numbers.tobytes())
    rows = Rows(
        folder / f"features-{digest.hexdigest()[:16]}.f32",
        shape=(backbone.width,),
        dtype=np.float32,
    )
    wanted = len(pictures) * (copies + 1)
    if rows.path.exists() and len(rows) == wanted:
        return rows, copies + 1
    check_room(folder, wanted * rows.row_bytes)
    aside = Rows(rows.path.with_suffix(".partial"), shape=rows.shape, dtype=rows.dtype)
    aside.path.unlink(missing_ok=True)
    backbone.body.eval()
    device = _device()
    step = judged_at_once(pictures.size)
    backbone.body.to(device)
    with (
        torch.inference_mode(),
        torch.autocast(device.type, torch.bfloat16, enabled=computes_half()),
    ):
        for copy_ in range(copies + 1):
            generator = torch.Generator().manual_seed(copy_)
            for start in range(0, len(pictures), step):
                chosen = np.arange(start, min(start + step, len(pictures)))
                batch = planes(pictures.pixels(chosen)).float()
                if copy_:
                    batch = augment(batch, generator=generator)
                batch = batch.to(device).contiguous(memory_format=torch.channels_last)
                aside.append(backbone.features(batch).float().cpu().numpy())
    backbone.body.to("cpu")
    aside.path.replace(rows.path)
    return rows, copies + 1


class Features(Dataset[Any]):
    """Batches of features; of each picture one of its copies, by the epoch.

    `at` are the pictures' places among the `of` whose features the rows hold.
    """

    at_once = _MOST_JUDGED

    def __init__(
        self, rows: Rows, copies: int, product: np.ndarray[Any, Any], at: np.ndarray[Any, Any],
        of: int,
    ) -> None:  # fmt: skip
        self.rows, self.copies, self.product, self.at, self.of = rows, copies, product, at, of

    def __len__(self) -> int:
        return len(self.product)

    def __getitem__(self, chosen: list[int]) -> Any:
        epoch, at = chosen[0], np.array(chosen[1:], np.int64)
        copies = (epoch + at * 7) % self.copies  # every picture another copy in every epoch
        values = self.rows.read(self.at[at] + copies * self.of)
        return torch.from_numpy(values), torch.from_numpy(self.product[at])


def known(
    backbone: Backbone,
    pictures: Pictures,
    known_of: Pictures | None,
    folder: Path,
    *,
    copies: int,
) -> Features:
    """Batches of the features of `pictures`, computed for all of `known_of` where it is given."""
    whole = known_of or pictures
    rows, count = features(backbone, whole, folder, copies=copies)
    place = {number: at for at, number in enumerate(whole.numbers.tolist())}
    at = np.array([place[number] for number in pictures.numbers.tolist()], np.int64)
    return Features(rows, count, pictures.product, at, len(whole))


def planes(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> torch.Tensor:
    """(n, size, size, 3) as torch wants it: (n, 3, size, size)."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def computes_half() -> bool:
    """Whether mixed precision in bfloat16 is worth it here."""
    return torch.cuda.is_available() or computes_bfloat16()
