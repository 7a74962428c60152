"""A picture to its detections on each engine: against darknet's own program, torch, ONNX Runtime,
and the largest matrix product that this machine reaches in the engine's precision.

Every round measures all rivals one after the other, so that a busy machine is busy for all of them;
a ratio is taken within a round and shown with its spread over the rounds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._inputs import model_folder
from benchmarks._operations import time_by_operation
from benchmarks._results import Results, table
from runtime.contract import Precision
from runtime.inference.artifact import Artifact
from runtime.inference.classification import Classifier
from runtime.inference.detector import Detector
from runtime.inference.engines import Engine, choose_engine, create_engine
from runtime.inference.pictures import decode_bgr
from runtime.measurement.limit import peak_flop_per_second
from visionstack.deploy.local import build_model
from visionstack.models.darknet_program import DarknetProgram, DarknetProgramError
from visionstack.models.packages import FOOLBOX, fetch_members
from visionstack.paths import MODELS, SAMPLES

PICTURE = SAMPLES / "dog.jpg"
ENGINES = (("openvino", "auto"), ("onnxruntime", "auto"), ("torch", "fp32"))
QUICK_MODELS = ("yolov3-tiny",)
MODELS_MEASURED = ("yolov3-tiny", "yolov3", "yolov3-tinyu", "yolov3u", "resnet50")


def main(out: Path, quick: bool) -> None:
    """Writes inference.json and inference.txt into `out`."""
    results = Results(out / "inference.json", title="Inference on one picture", quick=quick)
    results.values["picture"] = PICTURE.name
    results.values["models"] = {}
    rounds = 3 if quick else 7
    for name in QUICK_MODELS if quick else MODELS_MEASURED:
        results.values["models"][name] = _model(name, rounds=rounds, out=out, quick=quick)
        results.save()
    results.values["operations"] = {
        name: time_by_operation(model_folder(name) / "model.onnx")
        for name in results.values["models"]
    }
    results.values["narrow_weights"] = _agreement()
    results.save()
    text = _summary(results.values)
    (out / "inference.txt").write_text(text, encoding="utf-8")
    print(text)


def _darknet(name: str, out: Path) -> DarknetProgram | None:
    """None where darknet is not installed or has no such network."""
    try:
        return DarknetProgram(name, folder=out / "darknet", cache=MODELS / "cache")
    except DarknetProgramError as error:
        print(f"without darknet: {error}")
        return None


def _model(name: str, *, rounds: int, out: Path, quick: bool) -> dict[str, Any]:
    artifact = Artifact.load(model_folder(name))
    work = _Work(artifact)
    wanted = (("torch", "auto"), *ENGINES) if choose_engine() == "torch" else ENGINES
    engines = [create_engine(kind, artifact, precision=precision) for kind, precision in wanted]
    names = [f"{engine.name} {engine.precision}" for engine in engines]
    samples: dict[str, dict[str, list[list[float]]]] = {
        label: {"network": [], "picture_to_answer": []} for label in names
    }
    darknet: list[float] = []
    peaks: dict[str, list[float]] = {label: [] for label in names}
    program = _darknet(name, out)
    for _ in range(rounds):
        for label, engine in zip(names, engines, strict=True):
            for part, call in (
                ("network", work.network(engine)),
                ("picture_to_answer", work.whole(engine)),
            ):
                samples[label][part].append(_timed(call, seconds=0.3 if quick else 1.0))
            if peak := peak_flop_per_second(engine.name, engine.precision):
                peaks[label].append(peak)
        # Two or three minutes of darknet are enough to know a ratio of hundreds.
        if program and (name == "yolov3-tiny" or len(darknet) < 3):
            darknet.append(program.seconds(PICTURE))
    fastest = names[0]
    return {
        "trained": artifact.manifest.weights.trained,
        "gflop": artifact.manifest.flop / 1e9,
        "seconds": samples,
        "darknet_seconds": darknet,
        "ratios": {
            **{
                f"{label} / {fastest}": _ratios(
                    [statistics.median(r) for r in samples[label]["network"]],
                    [statistics.median(r) for r in samples[fastest]["network"]],
                )
                for label in names[1:]
            },
            **(
                {
                    # Darknet's clock covers the network only, ours the letterbox and the boxes too.
                    f"darknet's own / {fastest}": _ratios(
                        darknet,
                        [statistics.median(r) for r in samples[fastest]["picture_to_answer"]],
                    )
                }
                if darknet
                else {}
            ),
        },
        "machine_limit": {
            label: {
                "peak_gflop_per_second": max(peak) / 1e9,
                "share": artifact.manifest.flop
                / min(statistics.median(r) for r in samples[label]["network"])
                / max(peak),
            }
            for label, peak in peaks.items()
            if peak
        },
    }


class _Work:
    """The stages of one picture for a detector or a classifier, on any engine."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self._data = PICTURE.read_bytes()
        self._image = decode_bgr(self._data)
        size = artifact.manifest.input
        self._pixels = np.random.default_rng(0).integers(
            0, 255, (1, size.height, size.width, 3), np.uint8
        )

    def network(self, engine: Engine) -> Callable[[], object]:
        return lambda: engine.run(self._pixels)

    def whole(self, engine: Engine) -> Callable[[], object]:
        """Pixels to detections, or a JPEG to the top five."""
        if self._artifact.manifest.task == "detect":
            detector = Detector(self._artifact, engine)
            return lambda: detector.detect([self._image])
        classifier = Classifier(self._artifact, engine)
        return lambda: classifier.classify(self._data)


def _timed(call: Callable[[], object], *, seconds: float) -> list[float]:
    """Seconds of each call, for as long as `seconds` and at least three times, after a first."""
    call()
    times: list[float] = []
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds or len(times) < 3:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def _ratios(slower: Sequence[float], faster: Sequence[float]) -> dict[str, Any]:
    """Round by round; a rival with fewer rounds is compared in those it has."""
    each = [one / other for one, other in zip(slower, faster, strict=False)]
    return {"median": statistics.median(each), "least": min(each), "most": max(each), "each": each}


def _agreement() -> dict[str, Any]:
    """Top 1 of narrow weights against fp32 on twenty ImageNet pictures, and against the truth."""
    cache = MODELS / "cache"
    pictures = sorted(cache.glob("imagenet_*.jpg"))
    if len(pictures) < 20:
        pictures = sorted(fetch_members(FOOLBOX, "foolbox/data/imagenet_", cache=cache))
    answers: dict[str, list[str]] = {}
    size: dict[str, int] = {}
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8")
    for precision in precisions:
        artifact = build_model("efficientnet-lite0", precision=precision)
        classifier = Classifier.load(artifact, engine="onnxruntime")
        answers[precision] = [classifier.classify(path.read_bytes())[0].id for path in pictures]
        size[precision] = sum(entry.bytes for entry in artifact.manifest.files.values())
    truth = [path.stem.rpartition("_")[2] for path in pictures]
    return {
        precision: {
            "pictures": len(pictures),
            "right": sum(a == b for a, b in zip(top, truth, strict=True)),
            "as_fp32": sum(a == b for a, b in zip(top, answers["fp32"], strict=True)),
            "bytes": size[precision],
        }
        for precision, top in answers.items()
    }


def _summary(values: dict[str, Any]) -> str:
    rows: list[dict[str, Any]] = []
    ratios: list[dict[str, Any]] = []
    for name, model in values["models"].items():
        for label, samples in model["seconds"].items():
            limit = model["machine_limit"].get(label, {})
            network, whole = (
                [1000 * second for part in samples[key] for second in part]
                for key in ("network", "picture_to_answer")
            )
            rows.append(
                {
                    "model": name,
                    "engine": label,
                    "network ms": statistics.median(network),
                    "picture to answer ms": statistics.median(whole),
                    "% of the limit": 100 * limit.get("share", 0.0),
                }
            )
        for what, ratio in model["ratios"].items():
            spread = f"{ratio['least']:.1f} to {ratio['most']:.1f}"
            ratios.append(
                {"model": name, "ratio": what, "median": ratio["median"], "spread": spread}
            )
    narrow = [{"weights": kind, **row} for kind, row in values["narrow_weights"].items()]
    operations = [
        {"model": name, **one, "gflop_per_second": one["gflop_per_second"] or ""}
        for name, found in values["operations"].items()
        for one in found[:8]
    ]
    parts = [rows, ratios, operations, narrow]
    return "\n\n".join(table(part) for part in parts if part) + "\n"
