"""Pictures to detections, in stages that a pipeline can overlap.

A `Detector` holds no state between calls: every method may be called from several threads at once,
and several `infer` calls may be under way together (how much that gains depends on the engine).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from runtime.contract import DETECT_CONFIDENCE, DETECT_IOU
from runtime.inference.artifact import Artifact, Manifest
from runtime.inference.boxes import (
    Boxes,
    Raw,
    decode_anchor_free,
    decode_darknet,
    decode_end_to_end,
    suppress,
)
from runtime.inference.engines import AUTO, Engine, create_engine
from runtime.inference.errors import ArtifactDamagedError
from runtime.inference.letterbox import Letterbox
from runtime.inference.pictures import DEFAULT_LIMITS, Picture, PictureLimits, Pixels, read_picture


@dataclass(frozen=True, slots=True)
class Detection:
    """One object: box = (x1, y1, x2, y2) in pixels of the source picture."""

    label: str
    class_id: int
    confidence: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture as the network's input, uint8 (height, width, 3), and where it lies in it."""

    pixels: NDArray[np.uint8]
    letterbox: Letterbox


class Detector:
    """A detection model on an engine."""

    def __init__(self, artifact: Artifact, engine: Engine) -> None:
        manifest = artifact.manifest
        if manifest.task != "detect" or manifest.input.colour != "BGR":
            raise ArtifactDamagedError(
                f"{manifest.name} is a model for {manifest.task}, not a detector."
            )
        self.manifest: Manifest = manifest
        self.engine = engine
        self.labels: tuple[str, ...] = tuple(label.name for label in artifact.labels())

    @classmethod
    def load(
        cls,
        source: Path | Artifact,
        *,
        engine: str = AUTO,
        precision: str = AUTO,
        threads: int | None = None,
        streams: int = 1,
    ) -> Self:
        """Load a folder (checked) or an artifact that was checked already.

        `precision`, `threads` and `streams` as in `create_engine`.

        Raises `ArtifactError` and `EngineError` kinds.
        """
        artifact = source if isinstance(source, Artifact) else Artifact.load(source)
        loaded = create_engine(
            engine, artifact, precision=precision, threads=threads, streams=streams
        )
        return cls(artifact, loaded)

    def read(self, data: bytes, *, limits: PictureLimits = DEFAULT_LIMITS) -> Prepared:
        """A picture file as the network's input. Raises `PictureError` kinds."""
        return self.prepare(read_picture(data, limits=limits, reduction=self.reduction))

    def reduction(self, width: int, height: int) -> int:
        """By how much a picture of that size may be decoded smaller: 1, 2, 4 or 8.

        What is left is in neither direction smaller than the network sees it.
        """
        place = self._letterbox(width, height)
        for divisor in (8, 4, 2):
            if width >= divisor * place.scaled_width and height >= divisor * place.scaled_height:
                return divisor
        return 1

    def prepare(self, image: Picture | Pixels) -> Prepared:
        """Letterbox (or stretch) a picture, blue first; pixels alone are the whole picture."""
        picture = image if isinstance(image, Picture) else Picture.whole(image)
        letterbox = self._letterbox(picture.width, picture.height)
        placed = letterbox.place(picture.pixels, fill=self.manifest.preprocessing.fill)
        return Prepared(placed, letterbox)

    def _letterbox(self, width: int, height: int) -> Letterbox:
        target = (self.manifest.input.width, self.manifest.input.height)
        stretch = self.manifest.preprocessing.kind == "stretch"
        return Letterbox.fit(source=(width, height), target=target, stretch=stretch)

    def infer(self, batch: Sequence[Prepared]) -> list[Raw]:
        """Run the network once over the batch: each picture's outputs, in order."""
        if not batch:
            return []
        pixels = [prepared.pixels for prepared in batch]
        stacked = pixels[0][None] if len(pixels) == 1 else np.stack(pixels)
        outputs = self.engine.run(stacked)
        return [[output[index] for output in outputs] for index in range(len(batch))]

    def boxes(
        self,
        raw: Raw,
        prepared: Prepared,
        *,
        confidence: float = DETECT_CONFIDENCE,
        iou: float = DETECT_IOU,
    ) -> Boxes:
        """Decode and suppress one picture's outputs: arrays, in pixels of the source.

        `iou` says nothing to a model that suppresses by itself.
        """
        if self.manifest.family == "end-to-end":
            found = decode_end_to_end(raw, confidence=confidence)
            return found.in_source(prepared.letterbox)
        if self.manifest.family == "darknet":
            candidates = decode_darknet(
                raw,
                anchors=self.manifest.anchors,
                size=(self.manifest.input.width, self.manifest.input.height),
                confidence=confidence,
            )
        else:
            candidates = decode_anchor_free(raw, confidence=confidence)
        return suppress(candidates, iou=iou).in_source(prepared.letterbox)

    def finish(
        self,
        raw: Raw,
        prepared: Prepared,
        *,
        confidence: float = DETECT_CONFIDENCE,
        iou: float = DETECT_IOU,
    ) -> list[Detection]:
        """As `boxes`, but labelled: best first."""
        boxes = self.boxes(raw, prepared, confidence=confidence, iou=iou)
        rows = zip(
            boxes.class_id.tolist(), boxes.confidence.tolist(), boxes.xyxy.tolist(), strict=True
        )
        return [
            Detection(self.labels[class_id], class_id, score, tuple(box))
            for class_id, score, box in rows
        ]

    def detect(
        self, images: Sequence[Picture | Pixels], *, confidence: float = DETECT_CONFIDENCE
    ) -> list[list[Detection]]:
        """All stages over one batch of pictures."""
        batch = [self.prepare(image) for image in images]
        return [
            self.finish(raw, prepared, confidence=confidence, iou=DETECT_IOU)
            for raw, prepared in zip(self.infer(batch), batch, strict=True)
        ]
