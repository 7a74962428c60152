"""The change gate and tracking between key frames: inferences and seconds saved, against agreement.

Agreement is with the detections that inference finds in every frame of the same clip (yolov3-tiny,
confidence 0.3): recall and precision of boxes matched at IoU 0.5. Two clips: `walking`, the sample
clip, in which somebody always moves, and `resting`, made of it: a second of it, then two seconds of
its last frame, over and over, with fresh sensor noise on each frame. Every frame goes through a
JPEG as a camera sends it. `flicker` says how far inference agrees with itself from one frame to the
next, which bounds what any answer made without inference can reach.

Seconds are of one pass that infers every frame; the gate's and the tracker's own time is measured
in each of theirs and counted against what they save. Decoding is the same for all and left out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks._agreement import Agreement
from benchmarks._inputs import CLIP, Frame, jpeg, model_folder
from benchmarks._results import Results, table
from runtime.inference.changes import ChangeGate
from runtime.inference.detector import Detection, Detector
from runtime.inference.tracking import UNCERTAIN, Track, Tracker
from visionstack.accuracy.inputs import read_clip

CONFIDENCE = 0.3
SHARES = (0.0, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
KEY_INTERVALS = (1, 2, 3, 5, 10)
NOISE = 3.0
"""Standard deviation of the added sensor noise, in grey levels."""
QUALITY = 80

Tracked = list[list[Track]]


@dataclass(frozen=True)
class Clip:
    """A clip's frames and what inference finds in each, down to uncertain detections."""

    name: str
    frames: list[Frame]
    found: list[list[Detection]]
    inference_ms: list[float]

    @property
    def expected(self) -> list[list[Detection]]:
        return [[d for d in found if d.confidence >= CONFIDENCE] for found in self.found]


def main(out: Path, quick: bool) -> None:
    limit = 60 if quick else None
    clips: dict[str, Any] = {}
    results = Results(
        out / "changes_and_tracking.json", title="Change gate and tracking", quick=quick
    )
    folder = model_folder()
    detector = Detector.load(folder)
    results.values |= {
        "model": folder.parent.name,
        "engine": f"{detector.engine.name} {detector.engine.precision}",
        "confidence": CONFIDENCE,
        "clips": clips,
        "gate": (gated := []),
        "tracking": (tracked := []),
    }
    detector.detect([next(read_clip(CLIP))])
    for name, made in (("walking", _walking(limit)), ("resting", _resting(limit))):
        clip = _inferred(name, made, detector)
        clips[name] = {
            "frames": len(clip.frames),
            "flicker": _flicker(clip).to_json(),
            "inference_ms": clip.inference_ms,
        }
        gated += [_gate(clip, share) for share in SHARES]
        results.save()
        if name == "walking":
            every_frame = _track(clip, key_interval=1, uncertain=UNCERTAIN)[0]
            for interval in KEY_INTERVALS:
                for way in ("predicted", "predicted, certain only", "held"):
                    tracked.append(_key_frames(clip, interval, way, every_frame))
            results.save()
    for name, rows in (("change gate", gated), ("key frames", tracked)):
        shown = [
            "clip",
            *(("share",) if name == "change gate" else ("key_interval", "between")),
            *("inferences_saved", "seconds_saved", "recall", "precision", "same_id"),
        ]
        print(f"{name}:\n{table(rows, shown)}")
    for name, clip_values in clips.items():
        flicker = clip_values["flicker"]
        print(f"{name}: {clip_values['frames']} frames, from one inferred frame to the next recall")
        print(f"  {flicker['recall']:.3f} and precision {flicker['precision']:.3f}")


def _walking(limit: int | None) -> Iterator[Frame]:
    for frame in islice(read_clip(CLIP), limit):
        yield _sent(frame)


def _resting(limit: int | None) -> Iterator[Frame]:
    """10 frames of the clip, then 20 of the last of them with fresh noise, and so on."""
    generator = np.random.default_rng(0)
    for number, frame in enumerate(islice(read_clip(CLIP), limit and limit // 3)):
        repeated = 21 if number % 10 == 9 else 1
        for _ in range(repeated):
            noise = generator.normal(0, NOISE, frame.shape)
            yield _sent(np.clip(frame + noise, 0, 255).astype(np.uint8))


def _sent(frame: Frame) -> Frame:
    data = np.frombuffer(jpeg(frame, quality=QUALITY), np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def _inferred(name: str, made: Iterator[Frame], detector: Detector) -> Clip:
    clip = Clip(name, [], [], [])
    for frame in made:
        began = time.perf_counter()
        (found,) = detector.detect([frame], confidence=UNCERTAIN)
        clip.inference_ms.append((time.perf_counter() - began) * 1000)
        clip.frames.append(frame)
        clip.found.append(found)
    return clip


def _flicker(clip: Clip) -> Agreement:
    agreement = Agreement()
    expected = clip.expected
    for before, now in pairwise(expected):
        agreement.add(now, before)
    return agreement


def _gate(clip: Clip, share: float) -> dict[str, Any]:
    gate = ChangeGate(share=share)
    agreement = Agreement()
    answered: list[Detection] = []
    gate_ms, inferred = [], []
    for number, (frame, expected) in enumerate(zip(clip.frames, clip.expected, strict=True)):
        began = time.perf_counter()
        unchanged = gate.unchanged(frame)
        gate_ms.append((time.perf_counter() - began) * 1000)
        if not unchanged:
            answered = expected
            inferred.append(number)
        agreement.add(expected, answered)
    row = {"clip": clip.name, "share": share, "between": "held"}
    return row | _saved(clip, inferred, gate_ms) | agreement.to_json()


def _track(clip: Clip, *, key_interval: int, uncertain: float) -> tuple[Tracked, list[float]]:
    tracker = Tracker(confident=CONFIDENCE, uncertain=uncertain)
    answered, tracker_ms = [], []
    for number, found in enumerate(clip.found):
        began = time.perf_counter()
        tracks = tracker.predict() if number % key_interval else tracker.update(found)
        tracker_ms.append((time.perf_counter() - began) * 1000)
        answered.append(tracks)
    return answered, tracker_ms


def _key_frames(clip: Clip, interval: int, way: str, every_frame: Tracked) -> dict[str, Any]:
    """Boxes against every frame's detections; ids against the tracks of every frame."""
    keys = range(0, len(clip.frames), interval)
    agreement, ids = Agreement(), Agreement()
    expected = clip.expected
    own_ms: list[float] = []
    if way == "held":
        for number, detections in enumerate(expected):
            agreement.add(detections, expected[number - number % interval])
    else:
        uncertain = UNCERTAIN if way == "predicted" else CONFIDENCE
        answered, own_ms = _track(clip, key_interval=interval, uncertain=uncertain)
        for detections, tracks, reference in zip(expected, answered, every_frame, strict=True):
            agreement.add(detections, tracks)
            ids.add(reference, tracks)
    row = {"clip": clip.name, "key_interval": interval, "between": way}
    return row | _saved(clip, keys, own_ms) | agreement.to_json() | {"same_id": ids.same_id}


def _saved(clip: Clip, inferred: Sequence[int], own_ms: Sequence[float]) -> dict[str, Any]:
    """`seconds_saved` is a share of the seconds that inferring every frame takes."""
    whole = sum(clip.inference_ms)
    spent = sum(clip.inference_ms[number] for number in inferred) + sum(own_ms)
    return {
        "inferences_saved": 1 - len(inferred) / len(clip.frames),
        "seconds_saved": 1 - spent / whole,
        "own_p50_ms": float(np.median(own_ms)) if own_ms else None,
        "inferred": list(inferred),
        "own_ms": [round(ms, 4) for ms in own_ms],
    }
