"""Cold starts of ResNet50 alone, by packaging and precision, in rounds that take turns.

From the interpreter's start to the first answer, with a server of files in S3's place, so that the
emulator's own load is in no figure. Peak memory is taken in the
rounds that go on to a wake-up, which loads the model again, laid out for the processor.
"""

from __future__ import annotations

import os
import shutil
import statistics
from pathlib import Path
from typing import Any, Final

from benchmarks._results import Results, table
from benchmarks._serverless_cold import ARTIFACTS, built_package, file_server, live
from runtime.contract import MODELS_PREFIX
from runtime.inference.artifact import Artifact, Measured, file_entry
from runtime.inference.classification import Classifier
from runtime.inference.engines.processor import instructions
from runtime.measurement.statistics import ratio, summarize
from visionstack import paths
from visionstack.deploy.local import build_model
from visionstack.models.quantizing import quantize, with_int8
from visionstack.packaging.libraries import archive_of

MODEL: Final = "resnet50"
SETTLED_ROUNDS: Final = 5
"""So many of the first rounds go on to warm calls, a wake-up and further calls."""
WARM_CALLS: Final = 3


def main(out: Path, quick: bool) -> None:
    """Write `cold_start.json` after every start."""
    results = Results(out / "cold_start.json", title="Cold starts", quick=quick)
    rounds = 3 if quick else 40
    exact = build_model(MODEL, random=True)
    narrow = {one: build_model(MODEL, random=True, precision=one) for one in ("fp16", "int8")}
    names = {one: artifact.manifest.name for one, artifact in narrow.items()}
    computed = _computing(exact, paths.MODELS / f"{MODEL}-computing")
    ways = {
        "auto, fp32": ("auto", MODEL, rounds),
        "auto, fp16": ("auto", names["fp16"], rounds),
        "auto, int8 weights": ("auto", names["int8"], rounds),
        "auto, int8": ("auto", computed, rounds),
        "package, fp32": ("package", MODEL, min(rounds, 10)),
        "s3-packages, fp32": ("s3-packages", MODEL, 1 if quick else 2),
    }
    # Both graphs of ResNet50 do not fit beside the libraries: this one is fetched.
    packages, files = {}, {**_published(MODEL), **_published(computed)}
    for way, (packaging, model, _) in ways.items():
        # One folder is built for all models of a packaging, so each is copied while it is there.
        packages[way] = _copied(built_package(packaging, model), out / ".cold" / way)
        libraries = archive_of(packages[way])
        if libraries is not None:
            files[f"/{ARTIFACTS}/{libraries[0]}"] = libraries[1]
    lives: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    failed: dict[str, str] = {}
    results.values |= {"lives": lives, "failed": failed}
    try:
        with file_server(files) as endpoint:
            for number in range(rounds):
                for way, (_, model, times) in ways.items():
                    if number >= times or way in failed:
                        continue
                    calls = WARM_CALLS * int(number < SETTLED_ROUNDS)
                    try:
                        lives[way].append(
                            live(packages[way], model=model, endpoint=endpoint, warm_calls=calls)
                        )
                    except RuntimeError as error:  # one way's failure must not cost the others
                        failed[way] = str(error)
                    else:
                        results.values["load_average"] = os.getloadavg()
                        results.save()
    finally:
        shutil.rmtree(out / ".cold", ignore_errors=True)
        shutil.rmtree(paths.MODELS / computed, ignore_errors=True)
    firsts = {
        way: [life["marks_s"]["first_answer"] for life in lives[way]] for way in ways if lives[way]
    }
    default = firsts["auto, fp32"]
    results.values["over_auto"] = {
        way: ratio(samples, default).to_json() for way, samples in firsts.items()
    }
    results.save()
    rows = [
        {
            "first answer (s)": way,
            "n": len(samples),
            "p50": summarize(samples).p50,
            "min": min(samples),
            "max": max(samples),
            "over auto": results.values["over_auto"][way]["value"],
            "peak MiB": max(life["peak_mib"] for life in lives[way]),
            "settled": max(life["settled_peak_mib"] or 0 for life in lives[way]),
            "warm ms": _warm(lives[way]),
        }
        for way, samples in firsts.items()
    ]
    print(table(rows))
    for way, reason in failed.items():
        print(f"not measured: {way} ({reason})")


def _computing(exact: Artifact, home: Path) -> str:
    """A copy of the model with int8 that `auto` takes, by figures made up for it.

    int8 of random weights is refused, since nothing of theirs holds; times do not depend on them.
    """
    shutil.rmtree(home, ignore_errors=True)
    plain = Artifact(home / exact.manifest.version, exact.manifest)
    shutil.copytree(exact.folder, plain.folder)
    classifier = Classifier.load(plain, engine="onnxruntime")
    pictures = [file.read_bytes() for file in sorted(paths.SAMPLES.glob("*.jpg"))] * 3
    graph = home / "graph.onnx"
    quantize(plain, (classifier.prepare(one)[None] for one in pictures), graph)
    row = Measured(
        precision="fp32",
        sha256=plain.manifest.files[plain.manifest.model].sha256,
        engine="onnxruntime",
        instructions=instructions(),
        metric="top 1",
        accuracy=1.0,
        milliseconds=2.0,
        labels="none: made up for a benchmark",
    )
    narrow = row._replace(precision="int8", sha256=file_entry(graph).sha256, milliseconds=1.0)
    artifact = with_int8(plain, graph, (row, narrow))
    (home / "current").write_text(artifact.manifest.version + "\n")
    return home.name


def _warm(lives: list[dict[str, Any]]) -> float:
    """Median milliseconds of a call after the wake-up, the picture's way from S3 included."""
    seconds: list[float] = [one for life in lives for one in life["settled_handler_s"]]
    return 1000 * statistics.median(seconds)


def _published(model: str) -> dict[str, Path]:
    home = paths.MODELS / model
    version = (home / "current").read_text("utf-8").strip()
    found = {f"/{ARTIFACTS}/{MODELS_PREFIX}{model}/current": home / "current"}
    for file in (home / version).iterdir():
        found[f"/{ARTIFACTS}/{MODELS_PREFIX}{model}/{version}/{file.name}"] = file
    return found


def _copied(package: Path, place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    return Path(shutil.copytree(package, place))
