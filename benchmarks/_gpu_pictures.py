"""Parts of `benchmarks/gpu_check.py` about pictures, from their bytes to their boxes.

Each returns what is saved, `shown` being its table.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks._gpu_given import PICTURES, SECONDS, artifact, images, times
from runtime.measurement.statistics import summarize
from visionstack.accuracy.matching import overlap
from visionstack.paths import MODELS, SAMPLES

if TYPE_CHECKING:
    from runtime.inference.detector import Detection
    from runtime.inference.engines import Engine

STREAMS: Final = (1, 16, 64)
_SAME_BOX: Final = 0.9
"""Intersection over union from where on two boxes are the same object's."""


def accuracy(quick: bool) -> dict[str, Any]:
    """Each box of torch's against ONNX Runtime's in fp32, for both precisions."""
    from runtime.inference.detector import Detector
    from runtime.inference.engines import create_engine

    model, pictures = artifact(), images()
    confidence = 0.25 if model.manifest.weights.trained else 0.05
    truth = Detector(model, create_engine("onnxruntime", model)).detect(
        pictures, confidence=confidence
    )
    rows = []
    for precision in ("fp32", "auto"):
        engine = create_engine("torch", model, precision=precision)
        found = Detector(model, engine).detect(pictures, confidence=confidence)
        rows.append({"precision": engine.precision, **agreement(truth, found)})
    return {"confidence": confidence, "shown": rows}


def agreement(
    truth: Sequence[Sequence[Detection]], found: Sequence[Sequence[Detection]]
) -> dict[str, Any]:
    """How many boxes have a partner of their class, and how far confidences of partners differ."""
    expected = sum(map(len, truth))
    matched, difference, least = 0, 0.0, 1.0
    for theirs, ours in zip(truth, found, strict=True):
        free = list(ours)
        for one in theirs:
            best = max(
                (other for other in free if other.class_id == one.class_id),
                key=lambda other: overlap(one.box, other.box),
                default=None,
            )
            if best is None or overlap(one.box, best.box) < _SAME_BOX:
                continue
            free.remove(best)
            matched += 1
            difference = max(difference, abs(one.confidence - best.confidence))
            least = min(least, overlap(one.box, best.box))
    return {
        "boxes": expected,
        "of ours": sum(map(len, found)),
        "the same": matched,
        "confidence differs by": difference,
        "least overlap": least,
    }


def latency(quick: bool) -> dict[str, Any]:
    """One picture's way in parts: decoding, letterbox, staging, copies, network, boxes."""
    from runtime.inference.detector import Detector
    from runtime.inference.engines import create_engine
    from runtime.inference.pictures import decode_bgr

    model = artifact()
    engine = create_engine("torch", model)
    detector = Detector(model, engine)
    data = (SAMPLES / PICTURES[0]).read_bytes()
    image = decode_bgr(data)
    prepared = detector.prepare(image)
    (raw,) = detector.infer([prepared])
    parts: dict[str, list[float]] = {
        "decode": times(lambda: decode_bgr(data), seconds=1),
        "letterbox": times(lambda: detector.prepare(image), seconds=1),
        "engine": times(lambda: detector.infer([prepared]), seconds=SECONDS),
        **_device_parts(engine, prepared.pixels[None]),
        "boxes": times(lambda: detector.finish(raw, prepared), seconds=1),
        "image to detections": times(lambda: detector.detect([image]), seconds=SECONDS),
    }
    shown = [
        {"part": name, "p50 ms": summarize(found).p50, "p99 ms": summarize(found).p99}
        for name, found in parts.items()
    ]
    return {"samples_ms": parts, "shown": shown}


def _device_parts(engine: Engine, batch: NDArray[np.uint8]) -> dict[str, list[float]]:
    """Of the engine's time on a GPU: staging, copy there, network, copy back."""
    import torch

    captured = getattr(engine, "_graphs", {}).get(batch.shape)
    if captured is None:
        return {}
    parts: dict[str, list[float]] = {"staging": [], "copy": [], "network": [], "copy back": []}
    events = [torch.cuda.Event(enable_timing=True) for _ in range(4)]  # type: ignore[no-untyped-call]
    for _ in range(100):
        began = time.perf_counter()
        captured.staged.numpy()[:1] = batch
        parts["staging"].append((time.perf_counter() - began) * 1000)
        events[0].record()
        captured.pictures.copy_(captured.staged, non_blocking=True)
        events[1].record()
        captured.graph.replay()
        events[2].record()
        for fetched, output in zip(captured.fetched, captured.outputs, strict=True):
            fetched.copy_(output, non_blocking=True)
        events[3].record()
        torch.cuda.synchronize()
        for name, (before, after) in zip(
            ("copy", "network", "copy back"), itertools.pairwise(events), strict=True
        ):
            parts[name].append(before.elapsed_time(after))
    return parts


def streams(quick: bool) -> dict[str, Any]:
    """The server's own pipeline with 1, 16 and 64 streams, each with a frame in flight."""
    from runtime.streaming.models import ArtifactSource

    folder = artifact().folder
    source = ArtifactSource(folder=MODELS, engine="torch")
    model = source.load(folder.parent.name, folder.name)
    rows = []
    for count in STREAMS:
        waited, failures, seconds = _pipelined(model, count, seconds=1.0 if quick else 10.0)
        found = summarize(waited)
        rows.append(
            {
                "streams": count,
                "frames/s": len(waited) / seconds,
                "p50 ms": found.p50,
                "p99 ms": found.p99,
                "failed": failures,
                "samples_ms": waited,
            }
        )
    return {
        "rows": rows,
        "shown": [{k: v for k, v in row.items() if k != "samples_ms"} for row in rows],
    }


def _pipelined(model: Any, count: int, *, seconds: float) -> tuple[list[float], int, float]:
    """Milliseconds from a frame's arrival to its boxes, failures, and how long it went on."""
    from runtime.inference.engines.processor import usable_processors
    from runtime.protocol.messages import Encoding, Frame
    from runtime.streaming.frames.frame import Found, FrameJob
    from runtime.streaming.frames.pipeline import Pipeline
    from runtime.streaming.frames.stream import StreamDecoder
    from runtime.streaming.models import ModelHost

    class Silent:
        def batch_inferred(self, *, model: str, frames: int, microseconds: int) -> None:
            """Nobody asks."""

    host = ModelHost(model)
    payloads = [(SAMPLES / name).read_bytes() for name in PICTURES]
    waited: list[float] = []
    failures: list[object] = []
    in_flight = [count]
    over = threading.Event()
    lock = threading.Lock()

    def frame(decoder: StreamDecoder, sequence: int) -> FrameJob:
        sent = Frame(sequence, 0, Encoding.JPEG, payloads[sequence % len(payloads)])
        return FrameJob(decoder, sent, time.perf_counter_ns() // 1000, host.current)

    def done(jobs: Sequence[FrameJob]) -> None:
        for job in jobs:
            now = time.perf_counter_ns() // 1000
            if isinstance(job.outcome, Found):
                waited.append((now - job.received) / 1000)
            else:
                failures.append(job.outcome)
            if time.perf_counter() < until:
                pipeline.submit(frame(job.stream, job.frame.sequence + 1))
                continue
            with lock:
                in_flight[0] -= 1
                if not in_flight[0]:
                    over.set()

    threads = max(2, usable_processors())
    pipeline = Pipeline(done=done, observer=Silent(), frame_pixels=10**8, threads=threads)
    began = time.perf_counter()
    until = began + seconds
    pipeline.start()
    try:
        for _ in range(count):
            pipeline.submit(frame(StreamDecoder(host, confidence=0.25, iou=0.45), 0))
        if not over.wait(seconds + 60):
            raise RuntimeError(f"{in_flight[0]} frames of {count} streams were not answered")
        return waited, len(failures), time.perf_counter() - began
    finally:
        pipeline.stop(seconds=10)
