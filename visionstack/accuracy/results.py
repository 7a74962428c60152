"""What was measured of several variants on one set of labels, with intervals and differences."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from visionstack.accuracy.detection import DetectionScore, Evaluation, Found
from visionstack.accuracy.errors import LabelError
from visionstack.accuracy.inputs import Inputs
from visionstack.accuracy.intervals import (
    BLOCK_SECONDS,
    FEWEST_BLOCKS,
    Difference,
    Estimate,
    blocks,
    interval_of,
    resamples,
)
from visionstack.accuracy.labels import Label
from visionstack.accuracy.matching import SHOWN, match
from visionstack.accuracy.names import coco_name
from visionstack.accuracy.variants import Answers


@dataclass(frozen=True, kw_only=True)
class AgainstLabels:
    """One variant's figures: two of them resampled together, for intervals and differences."""

    answers: Answers
    figures: Mapping[str, Estimate]
    values: Mapping[str, Sequence[float]] = field(repr=False)
    """Of every resample, in one order for all variants."""
    score: DetectionScore | None = None
    curve: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Of a variant with a reference: F1 of their boxes, or the share of equal first classes."""

    name: str
    figure: Estimate


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Two variants: the first's figure less the second's."""

    first: str
    second: str
    metric: str
    difference: Difference

    @property
    def sentence(self) -> str:
        """In words; a tie is called one."""
        found = self.difference.estimate
        what = f"{self.first} and {self.second}"
        if found.low is None or found.high is None:
            return f"{what}: {self.metric} differs by {found.value:+.3f}; {found.why_none}."
        spread = f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
        if self.difference.verdict == "tie":
            return f"{what} are a tie in {self.metric}: {spread}."
        better, worse = (
            (self.first, self.second)
            if self.difference.verdict == "more"
            else (self.second, self.first)
        )
        return f"{better} is better than {worse} in {self.metric}: {spread}."


def units_of(inputs: Inputs) -> list[list[int]]:
    """What is resampled together: a picture, or the labelled frames of a few seconds."""
    return blocks(inputs.times)


def resampling(inputs: Inputs) -> str:
    """How intervals came about, in words."""
    number = len(units_of(inputs))
    if number < FEWEST_BLOCKS:
        return "too few for intervals"
    if inputs.clip is None:
        return f"95 % bootstrap intervals over {len(inputs.pictures)} pictures"
    return f"95 % bootstrap intervals over {number} blocks of {BLOCK_SECONDS:g} s"


def against_labels(inputs: Inputs, answers: Answers) -> AgainstLabels:
    """Score one variant. Raises `LabelError` where nothing can be scored."""
    if inputs.labels is not None:
        return _detected(inputs, answers)
    if inputs.classes is not None:
        return _classified(inputs, answers)
    raise LabelError(
        f"{inputs.name} has no labels.",
        remedy="Give them by --labels, or another model to agree with by --reference.",
    )


def score_found(
    inputs: Inputs, found: Sequence[Sequence[Found]]
) -> tuple[Evaluation, dict[str, Estimate], dict[str, list[float]]]:
    """AP50 and AP50-95 of detections in the labelled pictures, with their resampled values."""
    if inputs.labels is None:
        raise LabelError(f"{inputs.name} has no labels.", remedy="Give them by --labels.")
    evaluation = Evaluation(inputs.labels, found)
    overall = evaluation.score.overall
    units = units_of(inputs)
    drawn = [evaluation.resampled(picks) for picks in resamples(units)]
    values = {"AP50": [one[0] for one in drawn], "AP50-95": [one[1] for one in drawn]}
    figures = {
        "AP50": interval_of(overall.ap50, values["AP50"], units),
        "AP50-95": interval_of(overall.ap50_95, values["AP50-95"], units),
    }
    return evaluation, figures, values


def differences(rows: Sequence[AgainstLabels], inputs: Inputs) -> list[Compared]:
    """Every pair of variants in the first figure, on the same resamples."""
    units = units_of(inputs)
    found = []
    for one, other in itertools.combinations(rows, 2):
        metric = next(iter(one.figures))
        paired = zip(one.values[metric], other.values[metric], strict=True)
        value = one.figures[metric].value - other.figures[metric].value
        interval = interval_of(value, [a - b for a, b in paired], units)
        found.append(
            Compared(
                first=one.answers.name,
                second=other.answers.name,
                metric=metric,
                difference=Difference(estimate=interval),
            )
        )
    return found


def agreement(inputs: Inputs, reference: Answers, answers: Answers) -> Agreement:
    """How far a variant says what the reference says, without any labels."""
    if reference.ranked or answers.ranked:
        same = [a[0] == b[0] for a, b in zip(reference.ranked, answers.ranked, strict=True)]
        counts = np.asarray([(2 * int(one), 2 * int(not one)) for one in same])
    else:
        counts = np.asarray(
            [
                _counts(theirs, ours)
                for theirs, ours in zip(reference.found, answers.found, strict=True)
            ]
        )

    def f1(rows: Any) -> float:
        total = rows.sum(axis=0)
        return float(total[0] / total.sum()) if total.sum() else float("nan")

    units = units_of(inputs)
    values = [f1(counts[picks]) for picks in resamples(units)]
    return Agreement(name=answers.name, figure=interval_of(f1(counts), values, units))


def shown(found: Sequence[Found], classes: Sequence[str] | None = None) -> list[Found]:
    """Those sure enough to be an answer, of the labelled classes alone where these are given."""
    known = None if classes is None else {coco_name(name) for name in classes}
    return [
        one
        for one in found
        if one.confidence >= SHOWN and (known is None or coco_name(one.label) in known)
    ]


def _counts(theirs: Sequence[Found], ours: Sequence[Found]) -> tuple[int, int]:
    """(twice what both found, what only one found)."""
    labels = [Label(name=one.label, box=one.box) for one in shown(theirs)]
    answers = shown(ours)
    pairs = len(match(labels, answers).pairs)
    return 2 * pairs, len(labels) + len(answers) - 2 * pairs


def _detected(inputs: Inputs, answers: Answers) -> AgainstLabels:
    evaluation, figures, values = score_found(inputs, answers.found)
    return AgainstLabels(
        answers=answers,
        figures=figures,
        values=values,
        score=evaluation.score,
        curve=evaluation.curve(),
    )


def _classified(inputs: Inputs, answers: Answers) -> AgainstLabels:
    assert inputs.classes is not None  # noqa: S101 - for the type checker
    truth = [coco_name(one.name) for one in inputs.classes.pictures]
    units = units_of(inputs)
    figures: dict[str, Estimate] = {}
    values: dict[str, list[float]] = {}
    for name, depth in (("top 1", 1), ("top 5", 5)):
        right = np.asarray(
            [
                any(wanted in map(coco_name, one) for one in ranked[:depth])
                for wanted, ranked in zip(truth, answers.ranked, strict=True)
            ],
            float,
        )
        values[name] = [float(right[picks].mean()) for picks in resamples(units)]
        figures[name] = interval_of(float(right.mean()), values[name], units)
    return AgainstLabels(answers=answers, figures=figures, values=values)
