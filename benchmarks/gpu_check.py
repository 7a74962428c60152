"""What a GPU does with the detectors, in one command and less than eight minutes: `make gpu-check`.

It needs torch, NumPy, OpenCV, ONNX, ONNX Runtime, Pillow and psutil, and no network. Each part runs
in a process of its own against a time limit and is saved as it ends, so that a GPU that hangs costs
that part alone. On a machine without a GPU the same parts run on its CPU, so that they are known to
work. Where no artifact is built, yolov3-tiny's network gets random weights, which take the same
time; boxes are then compared at a low confidence.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks._results import Results, table
from runtime.measurement.statistics import ratio, summarize
from visionstack.paths import MODELS, SAMPLES

if TYPE_CHECKING:
    from runtime.inference.artifact import Artifact
    from runtime.inference.detector import Detection
    from runtime.inference.engines import Engine

PICTURES: Final = ("dog.jpg", "person.jpg", "horses.jpg")
MARK: Final = "RESULT"
DEADLINE_SECONDS: Final = 450.0
STREAMS: Final = (1, 16, 64)
_SAME_BOX: Final = 0.9
"""Intersection over union from where on two boxes are the same object's."""
_SECONDS: Final = 4.0


def main(out: Path, quick: bool) -> None:
    """Write `gpu_check.json` after every part."""
    results = Results(out / "gpu_check.json", title="What a GPU does", quick=quick)
    until = time.monotonic() + DEADLINE_SECONDS
    for name, (_, limit) in PARTS.items():
        left = until - time.monotonic()
        found = _in_a_process(name, quick=quick, seconds=min(limit, left))
        results.values[name] = found
        results.save()
        rows = found.get("shown") or [{"not measured": found.get("failed", "")[-200:]}]
        print(f"-- {name}, {found['seconds']:.0f} s\n{table(list(rows[0]), rows)}", flush=True)


def _in_a_process(name: str, *, quick: bool, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.gpu_check", name, *(["--quick"] * quick)]
    started, seconds = time.monotonic(), max(1.0, seconds)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        found = {"failed": done.stderr.strip()[-2000:] or f"exit status {done.returncode}"}
        for line in done.stdout.splitlines():
            if line.startswith(MARK):
                found = json.loads(line.removeprefix(MARK))
    except subprocess.TimeoutExpired:
        found = {"failed": f"not done after {seconds:.0f} s"}
    return {**found, "seconds": time.monotonic() - started}


def artifact() -> Artifact:
    """yolov3 where it is built, else yolov3-tiny, with random weights if it has to be made here."""
    from runtime.inference.artifact import Artifact

    for name in ("yolov3", "yolov3-tiny"):
        current = MODELS / name / "current"
        if current.is_file():
            return Artifact.load(MODELS / name / current.read_text("utf-8").strip())
    from runtime.inference.artifact import Preprocessing
    from visionstack.models.building import write_artifact
    from visionstack.models.darknet import RandomWeights, build_network, parse_cfg
    from visionstack.models.darknet_models import CFG
    from visionstack.models.draft import RANDOM, Draft, read_labels

    cfg = (CFG / "yolov3-tiny.cfg").read_text("utf-8")
    network = build_network(parse_cfg(cfg), RandomWeights(), size=416)
    draft = Draft(
        model=network.model,
        task="detect",
        family="darknet",
        size=416,
        preprocessing=Preprocessing(kind="letterbox", fill=127),
        labels=read_labels("coco"),
        weights=RANDOM,
        source="made by gpu-check",
        licence="none",
        anchors=network.anchors,
    )
    return write_artifact("yolov3-tiny-random", draft, root=MODELS, say=lambda _: None)


def images() -> list[NDArray[np.uint8]]:
    """The sample pictures' pixels."""
    from runtime.inference.pictures import decode_bgr

    return [decode_bgr((SAMPLES / name).read_bytes()) for name in PICTURES]


def noise(count: int, model: Artifact) -> NDArray[np.uint8]:
    """Pictures as the network takes them."""
    size = model.manifest.input
    shape = (count, size.height, size.width, 3)
    return np.random.default_rng(count).integers(0, 255, shape, np.uint8)


def times(call: Callable[[], object], *, seconds: float) -> list[float]:
    """Milliseconds of each call, for so long and at least five times, after a first."""
    call()
    found: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(found) < 5:
        start = time.perf_counter()
        call()
        found.append((time.perf_counter() - start) * 1000)
    return found


# The parts. Each returns what is saved, `shown` being its table.


def machine(quick: bool) -> dict[str, Any]:
    """The device, its driver and the libraries."""
    import torch

    found: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda, "gpus": []}
    for number in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(number)
        found["gpus"].append({"name": gpu.name, "memory_mib": gpu.total_memory >> 20})
    model = artifact()
    found["model"] = {"name": model.manifest.name, "trained": model.manifest.weights.trained}
    shown = {
        "torch": found["torch"],
        "CUDA": found["cuda"] or "none",
        "GPUs": ", ".join(one["name"] for one in found["gpus"]) or "none: parts run on the CPU",
        "model": found["model"]["name"],
        "trained": found["model"]["trained"],
    }
    return {**found, "shown": [shown]}


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
                key=lambda other: _overlap(one.box, other.box),
                default=None,
            )
            if best is None or _overlap(one.box, best.box) < _SAME_BOX:
                continue
            free.remove(best)
            matched += 1
            difference = max(difference, abs(one.confidence - best.confidence))
            least = min(least, _overlap(one.box, best.box))
    return {
        "boxes": expected,
        "of ours": sum(map(len, found)),
        "the same": matched,
        "confidence differs by": difference,
        "least overlap": least,
    }


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared) if areas > shared else 0.0


def start(quick: bool) -> dict[str, Any]:
    """Loading, the first run of each batch size (its capture) and the memory that it takes."""
    import psutil
    import torch

    from runtime.inference.engines import create_engine

    model = artifact()
    began = time.perf_counter()
    engine = create_engine("torch", model)
    rows: list[dict[str, Any]] = [
        {"batch": "load", "first ms": (time.perf_counter() - began) * 1e3}
    ]
    sizes = (1, 2, 4, 8, 16, 32) if engine.on_gpu and not quick else (1, 2, 4)
    for size in sizes:
        batch = noise(size, model)
        began = time.perf_counter()
        engine.run(batch)
        first = (time.perf_counter() - began) * 1000
        again = times(lambda batch=batch: engine.run(batch), seconds=1.0)  # type: ignore[misc]
        memory = (
            torch.cuda.memory_reserved() if engine.on_gpu else psutil.Process().memory_info().rss
        )
        rows.append(
            {
                "batch": size,
                "first ms": first,
                "again ms": summarize(again).p50,
                "pictures/s": size * 1000 / summarize(again).p50,
                "memory MiB": memory >> 20,
                "samples": again,
            }
        )
    return {
        "rows": rows,
        "shown": [{k: v for k, v in row.items() if k != "samples"} for row in rows[1:]],
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
        "engine": times(lambda: detector.infer([prepared]), seconds=_SECONDS),
        **_device_parts(engine, prepared.pixels[None]),
        "boxes": times(lambda: detector.finish(raw, prepared), seconds=1),
        "image to detections": times(lambda: detector.detect([image]), seconds=_SECONDS),
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


def reload(quick: bool) -> dict[str, Any]:
    """The longest time between two answers while another version is loaded beside."""
    from runtime.inference.engines import create_engine

    model = artifact()
    serving = create_engine("torch", model)
    batch = noise(1, model)
    alone = times(lambda: serving.run(batch), seconds=_SECONDS)
    loaded = threading.Event()

    def load() -> None:
        try:
            beside = create_engine("torch", model)
            for size in (1, 2, 4, 8) if beside.on_gpu else (1,):
                beside.run(noise(size, model))
        finally:
            loaded.set()

    loading = threading.Thread(target=load)
    began = time.perf_counter()
    loading.start()
    beside: list[float] = []
    while not loaded.is_set():
        start = time.perf_counter()
        serving.run(batch)
        beside.append((time.perf_counter() - start) * 1000)
    loading.join()
    took = time.perf_counter() - began
    shown = [
        {"": "alone", "p50 ms": summarize(alone).p50, "longest ms": max(alone)},
        {
            "": f"while loading, {took:.1f} s",
            "p50 ms": summarize(beside).p50,
            "longest ms": max(beside),
        },
    ]
    return {"alone_ms": alone, "beside_ms": beside, "seconds_loading": took, "shown": shown}


def kernels(quick: bool) -> dict[str, Any]:
    """How many kernels (on a CPU: operations) a picture takes and which take longest."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from runtime.inference.engines.torch_engine import TorchEngine, _step

    model = artifact()
    engine = TorchEngine(model)
    pictures = torch.from_numpy(noise(1, model)).to("cuda" if engine.on_gpu else "cpu")
    activities = [ProfilerActivity.CUDA if engine.on_gpu else ProfilerActivity.CPU]
    with torch.inference_mode():
        for _ in range(3):
            _step(engine._network, pictures)
        with profile(activities=activities) as profiled:
            _step(engine._network, pictures)
            if engine.on_gpu:
                torch.cuda.synchronize()
    spent = "self_device_time_total" if engine.on_gpu else "self_cpu_time_total"
    rows = [
        {"name": one.key[:60], "calls": one.count, "ms": getattr(one, spent) / 1000}
        for one in profiled.key_averages()
        if getattr(one, spent) > 0
    ]
    rows.sort(key=lambda row: -row["ms"])
    total = {
        "name": "all",
        "calls": sum(row["calls"] for row in rows),
        "ms": sum(row["ms"] for row in rows),
    }
    return {"rows": rows, "shown": [total, *rows[:8]]}


def limit(quick: bool) -> dict[str, Any]:
    """The share of the device's largest matrix product that the network reaches, by batch size."""
    from runtime.inference.engines import create_engine
    from runtime.measurement.limit import peak_flop_per_second

    model = artifact()
    engine = create_engine("torch", model)
    peak = peak_flop_per_second("torch", engine.precision)
    rows = []
    for size in (1, 8, 32) if engine.on_gpu else (1,):
        batch = noise(size, model)
        found = times(lambda batch=batch: engine.run(batch), seconds=2.0)  # type: ignore[misc]
        reached = model.manifest.flop * size * 1000 / summarize(found).p50
        rows.append(
            {
                "batch": size,
                "precision": engine.precision,
                "TFLOP/s": reached / 1e12,
                "product's": peak / 1e12 if peak else None,
                "share": reached / peak if peak else None,
            }
        )
    return {"peak": peak, "shown": rows}


def compiled(quick: bool) -> dict[str, Any]:
    """torch.compile's network beside ours, in turns."""
    import torch

    from runtime.inference.engines.torch_engine import TorchEngine, _step

    model = artifact()
    engine = TorchEngine(model)
    batch = noise(1, model)
    pictures = torch.from_numpy(batch).to("cuda" if engine.on_gpu else "cpu")
    mode = "max-autotune" if engine.on_gpu and not quick else "default"
    network = torch.compile(engine._network, mode=mode)

    def theirs() -> None:
        _step(network, pictures)  # type: ignore[arg-type]
        if engine.on_gpu:
            torch.cuda.synchronize()

    ours, rival = [], []
    with torch.inference_mode():
        began = time.perf_counter()
        theirs()
        took = time.perf_counter() - began
        engine.run(batch)
        for _ in range(5 if quick else 10):
            ours += times(lambda: engine.run(batch), seconds=0.3)
            rival += times(theirs, seconds=0.3)
    found = ratio(ours, rival)
    shown = {
        "ours p50 ms": summarize(ours).p50,
        "compiled p50 ms": summarize(rival).p50,
        "ours over compiled": found.value,
        "low": found.low,
        "high": found.high,
        "compiling s": took,
    }
    return {"ours_ms": ours, "compiled_ms": rival, "mode": mode, "shown": [shown]}


PARTS: Final[dict[str, tuple[Callable[[bool], dict[str, Any]], float]]] = {
    "machine": (machine, 60),
    "accuracy": (accuracy, 60),
    "start": (start, 60),
    "latency": (latency, 60),
    "streams": (streams, 110),
    "reload": (reload, 60),
    "kernels": (kernels, 45),
    "limit": (limit, 60),
    "compiled": (compiled, 120),
}
"""What each measures and how many seconds it may take."""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    print(MARK + json.dumps(PARTS[arguments.part][0](arguments.quick)), flush=True)
