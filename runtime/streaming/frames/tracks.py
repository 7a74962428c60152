"""Tracking in a stream: `runtime.inference.tracking` on the protocol's detections."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.inference.tracking import UNCERTAIN, Track, Tracker
from runtime.protocol.messages import Detection


class StreamTracker:
    """`confidence` is the stream's threshold: from there on a detection begins a track."""

    def __init__(self, confidence: float) -> None:
        self.lowest = min(UNCERTAIN, confidence)
        """What to ask of the detector: uncertain detections continue tracks."""
        self._tracker = Tracker(confident=confidence, uncertain=self.lowest)

    def update(self, detections: Sequence[Detection]) -> tuple[Detection, ...]:
        return _detections(self._tracker.update(detections))

    def predict(self) -> tuple[Detection, ...]:
        return _detections(self._tracker.predict())


def _detections(tracks: Sequence[Track]) -> tuple[Detection, ...]:
    return tuple(Detection(t.class_id, t.confidence, t.box, t.id) for t in tracks)
