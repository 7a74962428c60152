"""Average precision of detections, as COCO defines it, by faster-coco-eval.

AP50 is the area under the precision-recall curve (101 points) where a detection counts as right
when its intersection over union with an object of its class is at least 0.5; AP50-95 is the mean
over 0.50, 0.55 … 0.95. Up to 100 detections a picture count, the surest first (Lin et al. 2014,
arXiv:1405.0312, and cocodataset.org's detection evaluation).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from visionstack.accuracy.errors import LabelError
from visionstack.accuracy.labels import Box, LabelSet


class Found(Protocol):
    """A detection: of the runtime, of the streaming client, or read from a file."""

    @property
    def label(self) -> str: ...
    @property
    def confidence(self) -> float: ...
    @property
    def box(self) -> Box: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragePrecision:
    """Of one class, or their mean. NaN where there is no object to be found."""

    objects: int
    ap50: float
    ap50_95: float
    recall50: float
    """Share of the objects that were found at all, at whatever confidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionScore:
    """The mean over the classes that have objects, each class, and the mean by COCO's sizes.

    Sizes by area in square pixels: small below 32², large from 96².
    """

    pictures: int
    overall: AveragePrecision
    by_class: Mapping[str, AveragePrecision]
    by_size: Mapping[str, float]
    """AP50-95."""


def score_detections(labels: LabelSet, found: Sequence[Sequence[Found]]) -> DetectionScore:
    """Score what was found in each of the labelled pictures, in their order.

    Detections of classes that are not labelled do not count. Raises `LabelError` where the numbers
    of pictures differ, or no object is labelled.
    """
    if len(found) != len(labels.pictures):
        raise LabelError(
            f"{labels.source} labels {len(labels.pictures)} pictures, and there are answers to "
            f"{len(found)}."
        )
    if not labels.objects:
        raise LabelError(f"{labels.source} labels no object that counts.")
    evaluation = _evaluated(labels, found)
    # (IoU thresholds, recall points, classes, sizes, limits) and (thresholds, classes, …)
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    counts = [
        sum(
            label.name == name and not label.ignore
            for picture in labels.pictures
            for label in picture.labels
        )
        for name in labels.classes
    ]
    by_class = {
        name: AveragePrecision(
            objects=count,
            ap50=_mean(precision[0, :, index, 0, -1]),
            ap50_95=_mean(precision[:, :, index, 0, -1]),
            recall50=_mean(recall[0, index, 0, -1]),
        )
        for index, (name, count) in enumerate(zip(labels.classes, counts, strict=True))
    }
    return DetectionScore(
        pictures=len(labels.pictures),
        overall=AveragePrecision(
            objects=labels.objects,
            ap50=_mean(precision[0, :, :, 0, -1]),
            ap50_95=_mean(precision[:, :, :, 0, -1]),
            recall50=_mean(recall[0, :, 0, -1]),
        ),
        by_class=by_class,
        by_size={
            size: _mean(precision[:, :, :, index, -1])
            for index, size in enumerate(("small", "medium", "large"), start=1)
        },
    )


def _evaluated(labels: LabelSet, found: Sequence[Sequence[Found]]) -> Any:
    from faster_coco_eval import COCO, COCOeval_faster

    category = {name: number for number, name in enumerate(labels.classes, start=1)}
    truth: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    for image, (picture, detections) in enumerate(zip(labels.pictures, found, strict=True), 1):
        for label in picture.labels:
            entry = _entry(image, category[label.name], label.box)
            truth.append({**entry, "id": len(truth) + 1, "iscrowd": int(label.ignore)})
        for one in detections:
            if one.label in category:
                entry = _entry(image, category[one.label], one.box)
                answers.append({**entry, "score": float(one.confidence)})
    data = COCO(
        {
            "images": [{"id": image} for image in range(1, len(labels.pictures) + 1)],
            "categories": [{"id": number, "name": name} for name, number in category.items()],
            "annotations": truth,
        }
    )
    # An empty list of results is not taken: a false one of no confidence stands for it.
    silent = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1e-3, 1e-3], "score": 0.0}]
    evaluation = COCOeval_faster(
        data, data.loadRes(answers or silent), "bbox", print_function=_mute
    )
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation


def _entry(image: int, category: int, box: Box) -> dict[str, Any]:
    x1, y1, x2, y2 = map(float, box)
    width, height = x2 - x1, y2 - y1
    return {
        "image_id": image,
        "category_id": category,
        "bbox": [x1, y1, width, height],
        "area": width * height,
    }


def _mean(values: Any) -> float:
    """COCO marks what does not exist with -1."""
    array = np.asarray(values, float)
    known = array[array > -1]
    return float(known.mean()) if known.size else math.nan


def _mute(*_: object) -> None:
    """It prints its progress."""
