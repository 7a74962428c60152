"""Picture bytes to detections, for every server alike: the project's own decoding, letterboxing,
engine and suppression. Runs in the peers' environments: numpy, OpenCV, OpenVINO and Pillow only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.inference.detector import Detector, Prepared
from runtime.inference.pictures import decode_bgr

CONFIGURATION = "VISIONSTACK_PEER"


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """How a server is to be set up; travels to it as JSON in an environment variable."""

    model: str
    port: int
    workers: int
    threads: int
    """Of the engine, in each worker."""
    batch: int
    """Most pictures in one run of the engine; 1 is no batching."""

    @classmethod
    def from_env(cls) -> Configuration:
        return cls(**json.loads(os.environ[CONFIGURATION]))


class DetectionPipeline:
    """One worker's model."""

    def __init__(self, configuration: Configuration) -> None:
        self._detector = Detector.load(
            Path(configuration.model), engine="openvino", threads=configuration.threads
        )

    def prepare(self, picture: bytes) -> Prepared:
        return self._detector.prepare(decode_bgr(picture))

    def answer(self, batch: Sequence[Prepared]) -> list[dict[str, Any]]:
        """Detections of each picture, and what computed them."""
        engine = self._detector.engine
        return [
            {
                "engine": f"{engine.name} {engine.precision}",
                "detections": [
                    {"class_id": d.class_id, "confidence": d.confidence, "box": d.box}
                    for d in self._detector.finish(raw, prepared)
                ],
            }
            for raw, prepared in zip(self._detector.infer(batch), batch, strict=True)
        ]

    def detect(self, picture: bytes) -> dict[str, Any]:
        """One picture, all stages."""
        return self.answer([self.prepare(picture)])[0]
