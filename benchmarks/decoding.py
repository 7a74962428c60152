"""JPEGs decoded at a part of their size: what it saves, and whether boxes get worse.

libjpeg decodes at a half, a quarter or an eighth by leaving out coefficients, and the lane does as
far as the network sees no more (`Detector.reduction`). The time is that of a 1080p picture, dog.jpg
enlarged, stage by stage in turns. The accuracy is of the labelled clip, the same JPEG files decoded
whole and smaller: as it is for a network of 320 pixels, which sees little less than half of it, and
enlarged to 1920 x 1440 for the usual one. Enlarging adds nothing to see, but the decoder does with
it what it does with a camera's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from benchmarks._inputs import jpeg, labelled_clip, model_folder
from benchmarks._results import Results, table
from runtime.inference.detector import Detection, Detector
from runtime.inference.pictures import decode_bgr
from runtime.measurement.statistics import ratio, summarize
from visionstack.accuracy.inputs import Inputs
from visionstack.accuracy.results import against_labels, differences
from visionstack.accuracy.variants import LEAST, answers_of
from visionstack.paths import SAMPLES

SIZE: Final = (1920, 1080)
ENLARGED: Final = (1920, 1440)
SMALL: Final = 320


def main(out: Path, quick: bool) -> None:
    """Write `decoding.json`."""
    results = Results(out / "decoding.json", title="Decoding at a part of the size", quick=quick)
    detector = Detector.load(model_folder())
    results.values |= _times(detector, turns=10 if quick else 100)
    results.values |= {
        "engine": f"{detector.engine.name} {detector.engine.precision}",
        "load_average": os.getloadavg(),
    }
    results.save()
    inputs, results.values["labels"] = labelled_clip()
    small = Detector.load(model_folder(size=SMALL))
    results.values["accuracy"] = [
        _accuracy(small, inputs, None, quick=quick),
        _accuracy(detector, inputs, ENLARGED, quick=quick),
    ]
    results.save()
    _show(results.values)


def _times(detector: Detector, *, turns: int) -> dict[str, Any]:
    picture = cv2.resize(cv2.imread(str(SAMPLES / "dog.jpg")), SIZE, interpolation=cv2.INTER_CUBIC)
    data = jpeg(np.asarray(picture, np.uint8))
    prepared = detector.read(data)
    (outputs,) = detector.infer([prepared])
    stages: dict[str, Callable[[], object]] = {
        "whole": lambda: detector.prepare(decode_bgr(data)),
        "smaller": lambda: detector.read(data),
        "network": lambda: detector.infer([prepared]),
        "boxes": lambda: detector.finish(outputs, prepared),
    }
    found: dict[str, list[float]] = {name: [] for name in stages}
    for number in range(turns):
        for name, stage in stages.items():
            start = time.perf_counter()
            stage()
            # The first turn warms all up.
            if number:
                found[name].append((time.perf_counter() - start) * 1000)
    rest = [sum(one) for one in zip(found["network"], found["boxes"], strict=True)]
    whole = [sum(one) for one in zip(found["whole"], rest, strict=True)]
    smaller = [sum(one) for one in zip(found["smaller"], rest, strict=True)]
    return {
        "samples_ms": found,
        "bytes": len(data),
        "divided by": detector.reduction(*SIZE),
        "whole over smaller": ratio(whole, smaller).to_json(),
    }


def _accuracy(
    detector: Detector, inputs: Inputs, size: tuple[int, int] | None, *, quick: bool
) -> dict[str, Any]:
    ways: dict[str, list[Sequence[Detection]]] = {"whole": [], "smaller": []}
    native = (0, 0)
    for number, picture in enumerate(inputs.read()):
        native = (picture.width, picture.height)
        if quick and number % 5:
            for found in ways.values():
                found.append(())
            continue
        pixels = picture.pixels
        if size is not None:
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC), np.uint8)
        data = jpeg(pixels)
        seen = {"whole": detector.prepare(decode_bgr(data)), "smaller": detector.read(data)}
        for way, prepared in seen.items():
            (raw,) = detector.infer([prepared])
            boxes = detector.finish(raw, prepared, confidence=LEAST)
            ways[way].append([_shrunk(one, size, native) for one in boxes])
    manifest, engine = detector.manifest, detector.engine
    rows = [
        against_labels(
            inputs, answers_of(manifest, engine, name=way, model=manifest.name, found=ways[way])
        )
        for way in reversed(ways)
    ]
    (compared,) = differences(rows, inputs)
    return {
        "network": manifest.input.width,
        "picture": size or native,
        "divided by": detector.reduction(*(size or native)),
        **{row.answers.name: row.figures["AP50"].to_json() for row in rows},
        "difference": compared.difference.estimate.to_json(),
        "in words": compared.sentence,
    }


def _shrunk(one: Detection, size: tuple[int, int] | None, native: tuple[int, int]) -> Detection:
    """Boxes of the enlarged picture in the pixels that are labelled."""
    if size is None:
        return one
    x, y = native[0] / size[0], native[1] / size[1]
    left, top, right, bottom = one.box
    box = (x * left, y * top, x * right, y * bottom)
    return Detection(one.label, one.class_id, one.confidence, box)


def _show(values: dict[str, Any]) -> None:
    rows = [
        {"stage": name, "p50 ms": summarize(times).p50, "least ms": min(times)}
        for name, times in values["samples_ms"].items()
    ]
    print(table(rows))
    print("whole over smaller, picture to detections:", values["whole over smaller"])
    for one in values["accuracy"]:
        print(f"{one['picture']} for {one['network']}, by {one['divided by']}: {one['in words']}")
