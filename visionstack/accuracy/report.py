"""The report of `visionstack accuracy`: tables by kind of figure, curves, the worst pictures."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from runtime.measurement import machine
from visionstack.accuracy.detection import Found
from visionstack.accuracy.inputs import Inputs
from visionstack.accuracy.intervals import CONFIDENCE, Estimate
from visionstack.accuracy.labels import Label
from visionstack.accuracy.matching import NOTHING, OTHER, SHOWN, confusion, match
from visionstack.accuracy.outcome import Outcome, published_of
from visionstack.accuracy.results import AgainstLabels, resampling, shown
from visionstack.report.figures import Absent, Cell, Figure, measured, paper
from visionstack.report.sections import (
    Box,
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

_WORST: Final = 4
_MOST_CLASSES: Final = 20


def report(outcome: Outcome) -> Report:
    """Every section that there is something to say in."""
    inputs = outcome.inputs
    sections: list[Section] = [*_notes(outcome)]
    if outcome.scored:
        sections += [_against_labels(outcome), *_by_class(outcome)]
    if outcome.streamed:
        sections.append(_streamed(outcome))
    if outcome.tracked:
        sections.append(_tracked(outcome))
    if outcome.agreements:
        sections.append(_agreement(outcome))
    sections += _published(outcome)
    curves = [Line(one.answers.name, one.curve) for one in outcome.scored if one.curve]
    if curves:
        sections.append(
            Lines(
                "Precision and recall",
                curves,
                x_label="recall",
                y_label="precision",
                y_range=(0.0, 1.02),
                intro="At an intersection over union of 0.5, the mean over the labelled classes.",
            )
        )
    if outcome.scored and inputs.labels is not None:
        best = max(outcome.scored, key=lambda one: one.figures["AP50"].value)
        sections += [_confusion(inputs, best), *_worst(inputs, best)]
    return Report(
        title=f"Accuracy on {inputs.name}",
        subtitle=f"{len(inputs.pictures)} pictures; {resampling(inputs)}.",
        machine=machine.describe().line,
        versions=machine.versions(),
        sections=sections,
        data=outcome.to_json(),
    )


def _notes(outcome: Outcome) -> list[Note]:
    notes = [Note(one.sentence) for one in outcome.compared]
    random = [one.name for one in outcome.answers if not one.trained]
    if random:
        notes.append(Note(f"The weights are random: {', '.join(random)}.", "warning"))
    reasons = {
        figure.why_none
        for one in outcome.scored
        for figure in one.figures.values()
        if figure.why_none
    }
    return notes + [Note(f"No intervals: {reason}.", "warning") for reason in sorted(reasons)]


def _against_labels(outcome: Outcome) -> Table:
    names = list(outcome.scored[0].figures)
    sizes = [size for size in ("small", "medium", "large") if outcome.scored[0].score is not None]
    rows = []
    for one in outcome.scored:
        cells: list[Cell] = [one.answers.name, *(_figure(one.figures[name]) for name in names)]
        if one.score is not None:
            cells += [_share(one.score.by_size[size]) for size in sizes]
        cells.append(measured(one.answers.mean_milliseconds, "ms"))
        rows.append(Row([*cells, one.answers.version]))
    return Table(
        "Against labels",
        ["model", *names, *(f"AP50-95 {size}" for size in sizes), "time a picture", "artifact"],
        rows,
        note="Time: mean, one picture at once, from decoded picture to answer, of the same artifact"
        + (". Small: below 32x32 pixels, large: from 96x96." if sizes else "."),
        narrow=(*range(1 + len(names)), len(names) + len(sizes) + 1),
    )


def _by_class(outcome: Outcome) -> list[Table]:
    scores = [(one.answers.name, one.score) for one in outcome.scored if one.score is not None]
    if not scores or len(scores[0][1].by_class) < 2:
        return []
    names = [name for name, score in scores[0][1].by_class.items() if score.objects]
    rows = [
        Row(
            [
                name,
                f"{scores[0][1].by_class[name].objects}",
                *(_share(score.by_class[name].ap50) for _, score in scores),
            ]
        )
        for name in names
    ]
    return [Table("AP50 by class", ["class", "objects", *(name for name, _ in scores)], rows)]


def _streamed(outcome: Outcome) -> Table:
    return Table(
        "Streaming accuracy",
        [
            "model",
            "frames/s",
            "sent as",
            "sent",
            "added round trip",
            "answered",
            "capture to result",
            "AP50",
            "AP50-95",
        ],
        [
            Row(
                [
                    one.name,
                    f"{one.fps:g}",
                    one.encoding,
                    measured(one.kilobytes_per_second, "kB/s"),
                    f"{one.added_milliseconds:g} ms",
                    measured(100 * one.answered, "%"),
                    measured(one.median_milliseconds, "ms"),
                    _figure(one.figures["AP50"]),
                    _figure(one.figures["AP50-95"]),
                ]
            )
            for one in outcome.streamed
        ],
        intro="The newest result that has arrived, scored against the labels of the moment it is "
        "looked at (Li, Wang, Ramanan, ECCV 2020). The clip is played at that rate, live.",
        note="Capture to result: the median of the frames answered. An added round trip delays "
        "every arrival by as much.",
    )


def _tracked(outcome: Outcome) -> Table:
    return Table(
        "Tracking",
        ["model", "HOTA", "IDF1", "MOTA", "objects", "ids", "switches"],
        [
            Row(
                [
                    name,
                    *(measured(value) for value in (score.hota, score.idf1, score.mota)),
                    *(f"{number}" for number in (score.objects, score.tracks, score.switches)),
                ]
            )
            for name, score in outcome.tracked
        ],
        note=f"Boxes from a confidence of {SHOWN:g} on, every frame answered.",
    )


def _agreement(outcome: Outcome) -> Table:
    ranked = any(one.ranked for one in outcome.answers)
    return Table(
        f"Agreement with {outcome.reference}",
        ["model", "same first class" if ranked else "F1 of the boxes"],
        [Row([one.name, _figure(one.figure)]) for one in outcome.agreements],
        note="No labels: what both get wrong alike counts as agreement."
        + ("" if ranked else f" Boxes from {SHOWN:g} on, of one class, overlapping by a half."),
    )


def _published(outcome: Outcome) -> list[Table]:
    found = published_of(outcome.answers)
    if not found:
        return []
    rows = [
        Row([name, p.metric, paper(p.value, source=p.source), p.data, p.source])
        for name, p in found.items()
    ]
    return [Table("Published by others", ["model", "figure", "value", "on", "source"], rows)]


def _confusion(inputs: Inputs, best: AgainstLabels) -> Table:
    assert inputs.labels is not None  # noqa: S101 - for the type checker
    pairs = [
        (picture.labels, shown(found), match(picture.labels, shown(found)))
        for picture, found in zip(inputs.labels.pictures, best.answers.found, strict=True)
    ]
    counts = confusion(inputs.labels.classes, pairs)
    present = [
        name
        for name in inputs.labels.classes
        if any(name in pair and number for pair, number in counts.items())
    ][:_MOST_CLASSES]
    columns = [*present, *([OTHER] if any(OTHER in pair for pair in counts) else []), NOTHING]
    rows = [
        Row([truth, *(f"{counts[truth, name] or '·'}" for name in columns)])
        for truth in (*present, NOTHING)
    ]
    return Table(
        f"Confusion of {best.answers.name}",
        ["labelled \\ found", *columns],
        rows,
        intro=f"Detections from a confidence of {SHOWN:g} on. The last column is missed, the last "
        "row was found where nothing is labelled.",
    )


def _worst(inputs: Inputs, best: AgainstLabels) -> list[Pictures]:
    """Truth and found, side by side, of the pictures with the most errors."""
    assert inputs.labels is not None  # noqa: S101 - for the type checker
    answers = [shown(found, inputs.labels.classes) for found in best.answers.found]
    matchings = [
        match(picture.labels, found)
        for picture, found in zip(inputs.labels.pictures, answers, strict=True)
    ]
    order = sorted(range(len(answers)), key=lambda place: -matchings[place].errors)[:_WORST]
    wanted = {place for place in order if matchings[place].errors}
    drawn: dict[int, list[Picture]] = {}
    for place, picture in enumerate(inputs.read()):
        if place not in wanted:
            continue
        labels, found, matching = (
            inputs.labels.pictures[place].labels,
            answers[place],
            matchings[place],
        )
        name, jpeg = inputs.pictures[place], _jpeg(picture.pixels)
        missed = {*matching.missed, *(truth for truth, _ in matching.confused)}
        right = {answer for _, answer in matching.pairs}
        drawn[place] = [
            Picture(
                jpeg,
                alt=f"{name} with its labels",
                caption=f"{name}: labelled; {len(missed)} missed",
                boxes=[
                    _truth_box(label, missed=number in missed)
                    for number, label in enumerate(labels)
                ],
            ),
            Picture(
                jpeg,
                alt=f"{name} with what {best.answers.name} found",
                caption=f"{name}: found; {len(matching.wrong) + len(matching.confused)} wrong",
                boxes=[_found_box(one, right=n in right) for n, one in enumerate(found)],
            ),
        ]
    if not drawn:
        return []
    return [
        Pictures(
            f"Worst pictures of {best.answers.name}",
            [picture for place in order if place in drawn for picture in drawn[place]],
            intro=f"Left what is labelled, right what was found from a confidence of {SHOWN:g} on.",
            pairs=True,
        )
    ]


def _truth_box(label: Label, *, missed: bool) -> Box:
    called = f"missed {label.name}" if missed else label.name
    return Box(f"({label.name})" if label.ignore else called, None, *label.box)


def _found_box(found: Found, *, right: bool) -> Box:
    return Box(found.label if right else f"wrong {found.label}", found.confidence, *found.box)


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    import cv2

    good, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert good  # noqa: S101 - 8 bits and three channels always can be
    return bytes(data)


def _figure(found: Estimate) -> Figure | Absent:
    if math.isnan(found.value):
        return Absent("no such object")
    return measured(found.value, spread=found.spread, spread_is=f"{CONFIDENCE:.0%} interval")


def _share(value: float) -> Figure | Absent:
    return Absent("no such object") if math.isnan(value) else measured(value)
