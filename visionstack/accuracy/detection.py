"""Average precision of detections, as COCO defines it, by faster-coco-eval.

AP50 is the area under the precision-recall curve (101 points) where a detection counts as right
when its intersection over union with an object of its class is at least 0.5; AP50-95 is the mean
over 0.50, 0.55 … 0.95. Up to 100 detections a picture count, the surest first (Lin et al. 2014,
arXiv:1405.0312, and cocodataset.org's detection evaluation).
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from visionstack.accuracy.errors import LabelError
from visionstack.accuracy.intervals import Indices
from visionstack.accuracy.labels import Box, LabelSet
from visionstack.accuracy.names import coco_name


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


class Evaluation:
    """What was found in each of the labelled pictures, in their order, matched with the labels.

    Matched once; scored as a whole, or over resampled pictures.
    Detections of classes that are not labelled do not count. Raises `LabelError` where the numbers
    of pictures differ, or no object is labelled.
    """

    def __init__(self, labels: LabelSet, found: Sequence[Sequence[Found]]) -> None:
        if len(found) != len(labels.pictures):
            raise LabelError(
                f"{labels.source} labels {len(labels.pictures)} pictures, and there are answers to "
                f"{len(found)}."
            )
        if not labels.objects:
            raise LabelError(f"{labels.source} labels no object that counts.")
        self._labels = labels
        self._evaluation = _evaluated(labels, found)

    @property
    def score(self) -> DetectionScore:
        """Of all pictures."""
        labels = self._labels
        # (IoU thresholds, recall points, classes, sizes, limits) and (thresholds, classes, …)
        precision = self._evaluation.eval["precision"]
        recall = self._evaluation.eval["recall"]
        counts = Counter(
            label.name
            for picture in labels.pictures
            for label in picture.labels
            if not label.ignore
        )
        by_class = {
            name: AveragePrecision(
                objects=counts[name],
                ap50=_mean(precision[0, :, index, 0, -1]),
                ap50_95=_mean(precision[:, :, index, 0, -1]),
                recall50=_mean(recall[0, index, 0, -1]),
            )
            for index, name in enumerate(labels.classes)
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

    def curve(self) -> list[tuple[float, float]]:
        """(recall, precision) at an intersection over union of 0.5, the mean over the classes."""
        precision = np.asarray(self._evaluation.eval["precision"])[0, :, :, 0, -1]
        known = precision[:, (precision > -1).all(axis=0)]
        points = np.asarray(self._evaluation.params.recThrs, float)
        return [
            (float(at), float(mean)) for at, mean in zip(points, known.mean(axis=1), strict=True)
        ]

    def resampled(self, pictures: Indices) -> tuple[float, float]:
        """(AP50, AP50-95) over the pictures at these places; one may be there several times."""
        from faster_coco_eval.faster_eval_api_cpp import COCOevalAccumulate

        evaluation = self._evaluation
        number, sizes = len(evaluation.params.imgIds), len(evaluation.params.areaRng)
        params = copy.copy(evaluation._paramsEval)
        params.areaRng, params.maxDets = params.areaRng[:1], params.maxDets[-1:]
        # Blocks of time differ in how many pictures they have.
        params.imgIds = list(range(len(pictures)))
        # The matches lie by class, size and picture; only the first size, all, is taken.
        matches = evaluation._evalImgs_cpp
        picked = [
            matches[index * sizes * number + picture]
            for index in range(len(evaluation.params.catIds))
            for picture in pictures.tolist()
        ]
        precision = np.asarray(COCOevalAccumulate(params, picked)["precision"])
        return _mean(precision[0]), _mean(precision)


def _evaluated(labels: LabelSet, found: Sequence[Sequence[Found]]) -> Any:
    from faster_coco_eval import COCO, COCOeval_faster

    category = {name: number for number, name in enumerate(labels.classes, start=1)}
    found_as = {coco_name(name): number for name, number in category.items()}
    truth: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    for image, (picture, detections) in enumerate(zip(labels.pictures, found, strict=True), 1):
        for label in picture.labels:
            entry = _entry(image, category[label.name], label.box)
            truth.append({**entry, "id": len(truth) + 1, "iscrowd": int(label.ignore)})
        for one in detections:
            number = found_as.get(coco_name(one.label))
            if number is not None:
                entry = _entry(image, number, one.box)
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
        data,
        data.loadRes(answers or silent),
        "bbox",
        print_function=_mute,
        separate_eval=True,
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
