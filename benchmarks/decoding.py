"""What decoding a 1080p JPEG at a part of its size could gain, stage by stage in turns.

libjpeg decodes at a half, a quarter or an eighth by leaving out coefficients. The lane decodes at
full size; this says how much a picture to detections would take with less, the network being what
it is here. The picture is dog.jpg enlarged, so its speed counts and its boxes do not.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks._inputs import jpeg, model_folder
from benchmarks._results import Results, table
from runtime.inference.detector import Detector
from runtime.inference.pictures import decode_bgr
from runtime.measurement.statistics import ratio, summarize
from visionstack.paths import SAMPLES

SIZE = (1920, 1080)
SCALES = {"half": cv2.IMREAD_REDUCED_COLOR_2, "quarter": cv2.IMREAD_REDUCED_COLOR_4}


def main(out: Path, quick: bool) -> None:
    """Write `decoding.json`."""
    results = Results(out / "decoding.json", title="Scaled decoding", quick=quick)
    picture = cv2.resize(cv2.imread(str(SAMPLES / "dog.jpg")), SIZE, interpolation=cv2.INTER_CUBIC)
    data = jpeg(np.asarray(picture, np.uint8))
    raw = np.frombuffer(data, np.uint8)
    detector = Detector.load(model_folder())

    def scaled(flag: int) -> Callable[[], object]:
        return lambda: detector.prepare(np.asarray(cv2.imdecode(raw, flag), np.uint8))

    prepared = detector.prepare(decode_bgr(data))
    (outputs,) = detector.infer([prepared])
    stages: dict[str, Callable[[], object]] = {
        "full": lambda: detector.prepare(decode_bgr(data)),
        **{name: scaled(flag) for name, flag in SCALES.items()},
        "network": lambda: detector.infer([prepared]),
        "boxes": lambda: detector.finish(outputs, prepared),
    }
    found: dict[str, list[float]] = {name: [] for name in stages}
    for number in range(10 if quick else 100):
        for name, stage in stages.items():
            start = time.perf_counter()
            stage()
            # The first turn warms all up.
            if number:
                found[name].append((time.perf_counter() - start) * 1000)
    rest = [sum(one) for one in zip(found["network"], found["boxes"], strict=True)]
    whole = [sum(one) for one in zip(found["full"], rest, strict=True)]
    gains: dict[str, Any] = {
        name: ratio(whole, [sum(one) for one in zip(found[name], rest, strict=True)]).to_json()
        for name in SCALES
    }
    gains["for nothing"] = ratio(whole, rest).to_json()
    results.values |= {
        "samples_ms": found,
        "full_over": gains,
        "bytes": len(data),
        "engine": f"{detector.engine.name} {detector.engine.precision}",
        "load_average": os.getloadavg(),
    }
    results.save()
    rows = [
        {"stage": name, "p50 ms": summarize(times).p50, "least ms": min(times)}
        for name, times in found.items()
    ]
    print(table(list(rows[0]), rows))
    shown = [
        {"decoding at": n, **{k: g[k] for k in ("value", "low", "high")}} for n, g in gains.items()
    ]
    print(table(list(shown[0]), shown))
