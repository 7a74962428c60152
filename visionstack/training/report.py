"""A training run as a report: curves, confusion, the worst pictures, what to collect next."""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from PIL import Image

from visionstack.report.figures import Cell, measured
from visionstack.report.sections import (
    Fact,
    Facts,
    Headline,
    Headlines,
    Line,
    Lines,
    Note,
    Picture,
    Pictures,
    Report,
    Row,
    Section,
    Table,
)
from visionstack.training import judging
from visionstack.training.dataset import Dataset
from visionstack.training.run import Outcome

_SHOWN: Final = 12
_SMALLEST_SIDE: Final = 112
_WEAKEST: Final = 5


def accuracy_figure(found: dict[str, Any]) -> Any:
    """A share with its interval in per cent, to the tenth."""
    share, low, high = (round(100 * found[key], 1) for key in ("share", "low", "high"))
    return measured(share, "%", samples=found["of"], spread=(low, high), spread_is="95% interval")


def _told(label: str, found: dict[str, Any]) -> Headline:
    figure = accuracy_figure(found)
    return Headline(label, figure, f"{figure.interval} (95%), {found['of']:,} pictures")


def report(outcome: Outcome, dataset: Dataset) -> Report:
    """The report of a run."""
    record = outcome.record
    shares = judging.softmax(outcome.test_logits, record["calibration"]["temperature"])
    sections: list[Section] = [
        _headlines(record),
        _facts(record),
        *_curves(record),
        _confusion(record, dataset),
        _collect(record, dataset),
        *_pictures(shares, dataset),
        *_skipped(dataset),
    ]
    if not record["network"]["pretrained"] and record["ways"][0]["way"] != "scratch":
        text = "The network started from random weights: pre-trained ones were not reachable."
        sections.insert(0, Note(text, level="warning"))
    return Report(
        title=f"Training of {record['name']}",
        subtitle=f"{dataset.source}: {len(dataset.ids)} products; {len(dataset.train)} pictures "
        f"to train, {len(dataset.validation)} to choose by, {len(dataset.test)} to test once.",
        machine="",
        versions=record["versions"],
        sections=sections,
        data=record,
    )


def _headlines(record: dict[str, Any]) -> Headlines:
    calibration = record["calibration"]
    return Headlines(
        [
            _told("test top 1", record["test"]["top1"]),
            _told("test top 5", record["test"]["top5"]),
            Headline(
                "calibration error",
                measured(100 * calibration["error_after"], "%"),
                f"{100 * calibration['error_before']:.1f}% before the temperature",
            ),
        ]
    )


def _facts(record: dict[str, Any]) -> Facts:
    chosen = next(way for way in record["ways"] if way["chosen"])
    unknown = record["unknown"]
    facts = [
        Fact("network", f"{record['network']['name']} ({record['network']['starting_weights']})"),
        Fact("trained", f"{chosen['name']}: {record['why']}"),
        Fact("epoch kept", f"{chosen['best_epoch']}, ended by {chosen['stopped_by']}"),
        Fact("temperature", f"{record['calibration']['temperature']:.2f}, fitted on validation"),
        Fact("largest difference of the ONNX graph's logits", f"{record['onnx_difference']:.1e}"),
        Fact("data", f"SHA-256 {record['products']['sha256'][:16]}…"),
    ]
    if unknown["below"] is not None:
        answered = unknown["test"]
        right = answered["accuracy"]["share"] if answered["accuracy"] else 0
        state = "on" if unknown["on"] else "off (--unknown turns it on)"
        told = (
            f"{state}: below a softmax of {unknown['below']:.2f}; of the test pictures "
            f"{answered['answered']:.0%} are answered, {right:.1%} of them right"
        )
        facts.append(Fact('the answer "unknown"', told))
    return Facts("What was done", facts)


def _curves(record: dict[str, Any]) -> list[Section]:
    return [
        Lines(
            title,
            [
                Line(way["name"], [(e["number"], scale * e[key]) for e in way["epochs"]])
                for way in record["ways"]
            ],
            x_label="epoch",
            y_label=label,
        )
        for title, key, scale, label in (
            ("Validation top 1", "val_top1", 100, "%"),
            ("Validation loss", "val_loss", 1, "loss"),
        )
    ]


def _confusion(record: dict[str, Any], dataset: Dataset) -> Table:
    counts = record["test"]["confusion"]
    return Table(
        "Confusion matrix of the test pictures",
        ["product", *dataset.ids],
        [
            Row([product, *(str(count) if count else "" for count in row)])
            for product, row in zip(dataset.ids, counts, strict=True)
        ],
        intro="A row is what the pictures show, a column what was answered.",
    )


def _collect(record: dict[str, Any], dataset: Dataset) -> Table:
    counts = np.array(record["test"]["confusion"])
    trained = np.bincount(dataset.train.product, minlength=len(dataset.ids))
    recall = counts.diagonal() / counts.sum(1)
    wrong = counts - np.diag(counts.diagonal())
    rows = []
    for at in np.argsort(recall, kind="stable")[:_WEAKEST].tolist():
        found = judging.Accuracy(right=int(counts[at, at]), of=int(counts[at].sum()))
        other = int(wrong[at].argmax())
        taken = f"{dataset.ids[other]} ({wrong[at, other]})" if wrong[at].any() else "nothing"
        cells: list[Cell] = [
            dataset.ids[at], accuracy_figure(found.to_json()), taken, str(int(trained[at]))
        ]  # fmt: skip
        rows.append(Row(cells))
    return Table(
        "What to collect next",
        ["product", "right", "most taken for", "training pictures"],
        rows,
        intro="The products that are recognised worst: pictures of them, and of what they are "
        "taken for, help most.",
    )


def _pictures(shares: judging.Logits, dataset: Dataset) -> list[Section]:
    sure, answer, product = shares.max(1), shares.argmax(1), dataset.test.product
    wrong = np.flatnonzero(answer != product)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:_SHOWN]
    doubtful = np.argsort(sure, kind="stable")[:_SHOWN]
    return [
        Pictures(
            title,
            [_picture(dataset, int(at), int(answer[at]), float(sure[at])) for at in chosen],
            intro,
        )
        for title, chosen, intro in (
            ("Worst pictures", worst, "Answered wrongly with the highest softmax."),
            ("Most doubtful pictures", doubtful, "The lowest softmax, right or wrong."),
        )
        if len(chosen)
    ]


def _picture(dataset: Dataset, at: int, answer: int, sure: float) -> Picture:
    image = Image.fromarray(dataset.test.pixels([at])[0])
    image.thumbnail((_SMALLEST_SIDE, _SMALLEST_SIDE))
    file = io.BytesIO()
    image.save(file, "PNG")
    shown = dataset.ids[int(dataset.test.product[at])]
    caption = f"{shown}, answered {dataset.ids[answer]} ({sure:.0%})"
    return Picture(file.getvalue(), alt=caption, caption=f"{dataset.test.paths[at]}: {caption}")


def _skipped(dataset: Dataset) -> list[Section]:
    sections: list[Section] = []
    if dataset.skipped:
        rows = [Row([one.path, one.reason]) for one in dataset.skipped]
        sections.append(Table(f"Files that were not used: {len(rows):,}", ["file", "why"], rows))
    if dataset.near:
        rows = [Row(list(pair)) for pair in dataset.near[:50]]
        sections.append(
            Table(
                f"Near-duplicates: {len(dataset.near):,} pairs",
                ["picture", "nearly the same"],
                rows,
                intro="Each pair is on one side of the split; "
                f"{dataset.left_out} pictures that are nearly one of a later part were left out.",
            )
        )
    return sections
