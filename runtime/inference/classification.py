"""A picture's bytes to its most likely classes. Imports neither OpenCV nor torch.

A `Classifier` holds no state between calls; every method may be called from several threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtime.inference.artifact import Artifact, Manifest
from runtime.inference.engines import AUTO, Engine, create_engine
from runtime.inference.errors import ArtifactDamagedError
from runtime.inference.picture_costs import coefficient_bytes
from runtime.inference.pictures import (
    DEFAULT_LIMITS,
    check_memory,
    open_checked,
    to_rgb,
)

TOP: Final = 5
_RESAMPLING: Final = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


class Prediction(NamedTuple):
    """A class and its share of the softmax over all classes."""

    id: str
    label: str
    softmax: float


class Classifier:
    """A classification model on an engine."""

    def __init__(self, artifact: Artifact, engine: Engine) -> None:
        manifest = artifact.manifest
        if manifest.task != "classify" or manifest.input.colour != "RGB":
            raise ArtifactDamagedError(
                f"{manifest.name} is a model for {manifest.task}, not a classifier."
            )
        self.manifest: Manifest = manifest
        self.engine = engine
        self.labels = tuple(artifact.labels())
        self.limits = DEFAULT_LIMITS
        """Of the pictures that it decodes."""

    @classmethod
    def load(
        cls,
        source: Path | Artifact,
        *,
        engine: str = AUTO,
        threads: int | None = None,
        optimised: bool = True,
    ) -> Self:
        """Load a folder (checked) or an artifact that was checked already.

        Unless `optimised`, ONNX Runtime is started as fast as it goes, at the expense of every
        call.

        Raises `ArtifactError` and `EngineError` kinds.
        """
        artifact = source if isinstance(source, Artifact) else Artifact.load(source)
        return cls(artifact, create_engine(engine, artifact, threads=threads, optimised=optimised))

    def prepare(self, data: bytes) -> NDArray[np.uint8]:
        """Decode and crop: uint8 (height, width, 3), red first. Raises `PictureError` kinds."""
        limits = self.limits
        image = open_checked(data, limits=limits)
        # By its whole size, and of what is drafted no more is counted.
        check_memory(image, coefficient_bytes(image, data), limits=limits)
        shortest = self.manifest.preprocessing.resize
        # A JPEG decodes at a half, a quarter or an eighth for little; twice the size that is
        # wanted leaves the resampling something to average.
        image.draft("RGB", (2 * shortest, 2 * shortest))
        return centre_crop(to_rgb(image, limits=limits), self.manifest)

    def infer(self, batch: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Logits (batch, classes). Raises `EngineError`."""
        return self.engine.run(np.stack(batch))[0]

    def rank(self, logits: NDArray[np.float32], *, top: int = TOP) -> list[Prediction]:
        """The `top` classes of one picture's logits (classes,), best first."""
        shifted = np.exp(logits.astype(np.float64) - logits.max())
        softmax = shifted / shifted.sum()
        best = np.argsort(-softmax, kind="stable")[:top]
        return [
            Prediction(self.labels[index].id, self.labels[index].name, float(softmax[index]))
            for index in best
        ]

    def classify(self, data: bytes, *, top: int = TOP) -> list[Prediction]:
        """All stages for one picture's bytes."""
        return self.rank(self.infer([self.prepare(data)])[0], top=top)


def centre_crop(image: Image.Image, manifest: Manifest) -> NDArray[np.uint8]:
    """The shorter side scaled to `preprocessing.resize`, then the middle of the input's size."""
    spec, rule = manifest.input, manifest.preprocessing
    scale = rule.resize / min(image.size)
    # The part of the source that the crop will show: resampling only that saves the rest.
    crop_width, crop_height = spec.width / scale, spec.height / scale
    left, top = (image.width - crop_width) / 2, (image.height - crop_height) / 2
    box = (left, top, left + crop_width, top + crop_height)
    size = (spec.width, spec.height)
    return np.asarray(image.resize(size, _RESAMPLING[rule.interpolation], box=box))
