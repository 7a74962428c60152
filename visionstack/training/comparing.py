"""The paper's figure 3 with intervals: three ways of training, over seeds and amounts of data.

Each seed draws other pictures for training and validation and other starting weights; the test
part is the same for all. The frozen network's features of every picture are computed once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.measurement import machine
from visionstack.files import replace_file
from visionstack.models.building import CACHE
from visionstack.models.downloads import Say
from visionstack.report.figures import measured
from visionstack.report.sections import Line, Lines, Report, Row, Section, Table
from visionstack.report.write import write
from visionstack.training.dataset import Dataset, Pictures
from visionstack.training.plans import Candidate
from visionstack.training.run import shrink
from visionstack.training.table import table1

FILE: Final = "compare.json"
WAYS: Final = (Candidate("scratch"), Candidate("head"), Candidate("head", augmented=True))
NAMES: Final = (
    "own CNN from scratch",
    "pre-trained, last layer trained",
    "the same with augmentation",
)
_VALIDATION: Final = 5
"""Every fifth of the pictures that a way is given chooses the epoch."""
_RESAMPLES: Final = 4000
_EPOCHS: Final = 30
_PATIENCE: Final = 4
Right = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to compare; `counts` are pictures a product to train and choose with. A product that has
    fewer gives all it has, and the record says how many the poorest gave."""

    seeds: int
    counts: Sequence[int]
    backbone: str | None
    models: Path
    folder: Path


def compare_ways(
    dataset: Dataset,
    question: Question,
    *,
    say: Say = lambda _: None,
    tick: Callable[[int, int], object] = lambda done, total: None,
) -> dict[str, Any]:
    """Train every way with every amount and seed, and judge each on the test part.

    Raises `ModelError` and `TrainingError` kinds.
    """
    from visionstack.training.fitting import one_thread, torch_seeded
    from visionstack.training.networks import Backbone, find_backbone, own_network

    pretrained = find_backbone(
        question.backbone, size=dataset.size, cache=question.models / CACHE, say=say
    )
    pool = _together(dataset)
    had = np.bincount(pool.product)
    counts = sorted({min(count, int(had.max())) for count in question.counts})
    total = len(counts) * question.seeds * len(WAYS)
    right: dict[tuple[int, int], Right] = {}
    done = 0
    for count in counts:
        for way, candidate in enumerate(WAYS):
            found = []
            for seed in range(question.seeds):
                say(f"{count} a product, {NAMES[way]}, seed {seed + 1} of {question.seeds}")
                backbone: Backbone = pretrained
                if candidate.way == "scratch":
                    with torch_seeded(seed):
                        backbone = own_network(shrink=shrink(dataset))
                train, validation = _draw_pictures(pool, count, seed)
                with one_thread():
                    parts = (train, validation)
                    found.append(_once(candidate, backbone, parts, pool, dataset, question, seed))
                done += 1
                tick(done, total)
            right[count, way] = np.stack(found)
    record = {
        "schema": 1,
        "kind": "measured",
        "machine": machine.describe().to_json(),
        "versions": machine.versions(),
        "products": dataset.to_json(),
        "seeds": question.seeds,
        "network": pretrained.name,
        "starting_weights": pretrained.weights.description,
        "interval": "95 %, bootstrap over seeds and test pictures",
        "rows": [
            _row(count, way, found) | {"fewest": min(count, int(had.min()))}
            for (count, way), found in right.items()
        ],
        "order": [_order(count, right) for count in counts],
        "table1": table1(),
    }
    replace_file(question.folder / FILE, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return record


def _once(  # noqa: PLR0917 - private, called once
    candidate: Candidate,
    backbone: Any,
    parts: tuple[Pictures, Pictures],
    pool: Pictures,
    dataset: Dataset,
    question: Question,
    seed: int,
) -> Right:
    """1 for each test picture (n,) that was recognised, else 0."""
    from visionstack.training.fitting import FitOptions, fit, judge

    folder = question.folder / "compare"
    scratch = folder / "run"
    shutil.rmtree(scratch, ignore_errors=True)
    options = FitOptions(
        folder=scratch, features=folder, epochs=_EPOCHS, patience=_PATIENCE, seed=seed
    )
    network, _ = fit(
        candidate, backbone, *parts, products=len(dataset.ids), options=options, known_of=pool
    )
    found = judge(candidate, network, backbone, dataset.test, folder)
    shutil.rmtree(scratch, ignore_errors=True)
    right: Right = (found.argmax(1) == dataset.test.product).astype(np.float64)
    return right


def _together(dataset: Dataset) -> Pictures:
    """Training and validation pictures: what a seed may draw from."""
    one, other = dataset.train, dataset.validation
    return Pictures(
        rows=one.rows,
        numbers=np.concatenate([one.numbers, other.numbers]),
        product=np.concatenate([one.product, other.product]),
        paths=(*one.paths, *other.paths),
    )


def _draw_pictures(pool: Pictures, count: int, seed: int) -> tuple[Pictures, Pictures]:
    random = np.random.default_rng((seed, count))
    train: list[int] = []
    validation: list[int] = []
    for product in range(int(pool.product.max()) + 1):
        chosen = random.permutation(np.flatnonzero(pool.product == product))[:count].tolist()
        held = max(1, len(chosen) // _VALIDATION)
        validation += chosen[:held]
        train += chosen[held:]
    return pool.some(train), pool.some(validation)


def interval(values: Right) -> tuple[float, float, float]:
    """Mean of (seeds, pictures) and its 95 % interval: both axes drawn anew, 4,000 times.

    Both, since another seed and another test picture would each have given another figure.
    """
    random = np.random.default_rng(0)
    seeds, pictures = values.shape
    means = np.empty(_RESAMPLES)
    for at in range(_RESAMPLES):
        # A resample of pictures as weights: one matrix product instead of a copy.
        weights = random.multinomial(pictures, np.full(pictures, 1 / pictures)) / pictures
        chosen = random.integers(0, seeds, seeds)
        means[at] = (values @ weights)[chosen].mean()
    low, high = np.quantile(means, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def _row(count: int, way: int, right: Right) -> dict[str, Any]:
    mean, low, high = interval(right)
    return {
        "pictures": count,
        "way": WAYS[way].key,
        "name": NAMES[way],
        "top1": {"mean": mean, "low": low, "high": high},
        "by_seed": right.mean(1).tolist(),
    }


def _order(count: int, right: dict[tuple[int, int], Right]) -> dict[str, Any]:
    """The ways from worst to best, and whether each step's interval excludes nothing at all."""
    ways = sorted(range(len(WAYS)), key=lambda way: float(right[count, way].mean()))
    steps = []
    for worse, better in pairwise(ways):
        mean, low, high = interval(right[count, better] - right[count, worse])
        steps.append(
            {
                "worse": WAYS[worse].key,
                "better": WAYS[better].key,
                "difference": {"mean": mean, "low": low, "high": high},
                "established": low > 0,
            }
        )
    established = all(step["established"] for step in steps)
    names = " < ".join(
        NAMES[way]
        + ("" if at == len(steps) else "" if steps[at]["established"] else " (not established)")
        for at, way in enumerate(ways)
    )
    state = "the order is established" if established else "the order is not established"
    papers = established and ways == sorted(ways)
    tail = ", and it is the paper's" if papers else ""
    return {
        "pictures": count,
        "ways": [WAYS[way].key for way in ways],
        "steps": steps,
        "established": established,
        "is_the_papers": papers,
        "sentence": f"{state}{tail}: {names}",
    }


def draw(record: dict[str, Any], folder: Path) -> Path:
    """The learning curve and its table as an HTML page."""
    rows = record["rows"]
    curves = [
        Line(name, [(r["pictures"], 100 * r["top1"]["mean"]) for r in rows if r["name"] == name])
        for name in NAMES
    ]
    sections: list[Section] = [
        Lines(
            "Test top 1 against pictures a product",
            curves,
            x_label="pictures a product to train and choose with",
            y_label="%",
            log_x=True,
        ),
        Table(
            "Test top 1",
            ["pictures a product", "way", "top 1"],
            [Row([amount(row), row["name"], top1_figure(row, record)]) for row in rows],
            intro=f"{record['seeds']} seeds; intervals: {record['interval']}.",
        ),
        Table(
            "Is the order established?",
            ["pictures a product", "order"],
            [Row([str(one["pictures"]), one["sentence"]]) for one in record["order"]],
        ),
    ]
    report = Report(
        title="Three ways of training",
        subtitle=f"{record['products']['source']}, {record['network']}",
        versions=record["versions"],
        sections=sections,
        data=record,
    )
    return write(report, folder, stem="compare", formats=["html"])["html"]


def top1_figure(row: dict[str, Any], record: dict[str, Any]) -> Any:
    """A row's figure in per cent with its interval."""
    mean, low, high = (round(100 * row["top1"][key], 1) for key in ("mean", "low", "high"))
    return measured(
        mean,
        "%",
        samples=record["seeds"] * record["products"]["test"],
        spread=(low, high),
        spread_is="95% interval",
    )


def amount(row: dict[str, Any]) -> str:
    """A row's pictures a product, with what the poorest product had if that was less."""
    count, fewest = row["pictures"], row.get("fewest", row["pictures"])
    return str(count) if fewest == count else f"{count} (down to {fewest} where there are no more)"
