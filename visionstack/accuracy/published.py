"""Accuracy that the authors of the weights print, on data that is not here: never measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A printed figure, as a share of 1."""

    metric: str
    value: float
    data: str
    source: str


PUBLISHED: Final = {
    "yolov3-tiny": Published(
        metric="AP50", value=0.331, data="COCO test-dev", source="pjreddie.com/darknet/yolo"
    ),
    "yolov3": Published(
        metric="AP50", value=0.579, data="COCO test-dev, at 608", source="arXiv:1804.02767, table 3"
    ),
    "efficientnet-lite0": Published(
        metric="top 1",
        value=0.751,
        data="ImageNet's validation set",
        source="github.com/tensorflow/tpu, models/official/efficientnet/lite",
    ),
}
"""By the name of the model; they hold for official weights only."""
