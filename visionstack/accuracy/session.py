"""What `visionstack accuracy` does: run every variant, score, compare, stream, and write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from rich.markup import escape

from runtime.measurement import machine
from visionstack import console
from visionstack.accuracy.inputs import Inputs, open_inputs
from visionstack.accuracy.intervals import Estimate
from visionstack.accuracy.published import PUBLISHED
from visionstack.accuracy.results import (
    AgainstLabels,
    Agreement,
    Compared,
    against_labels,
    agreement,
    differences,
    resampling,
    score_found,
)
from visionstack.accuracy.tracking import TrackingScore, score_tracks
from visionstack.accuracy.variants import Answers, Variant, answer, check_distinct
from visionstack.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Wish:
    """The command's options."""

    source: Path
    labels: Path | None
    split: str
    cut: bool
    variants: Sequence[Variant]
    reference: Variant | None
    stream: bool
    rates: Sequence[float]
    """Frames a second."""
    round_trips: Sequence[float]
    """Milliseconds added to every arrival."""
    encoding: str
    track: bool


@dataclass(frozen=True, kw_only=True)
class Streamed:
    """Streaming accuracy of one variant at one rate over one added round trip."""

    name: str
    fps: float
    added_milliseconds: float
    answered: float
    median_milliseconds: float
    """From capture to result, without what was added."""
    figures: dict[str, Estimate]


@dataclass(kw_only=True)
class Outcome:
    """All that was measured, in the order of the variants."""

    inputs: Inputs
    answers: list[Answers] = field(default_factory=list)
    scored: list[AgainstLabels] = field(default_factory=list)
    compared: list[Compared] = field(default_factory=list)
    reference: str | None = None
    agreements: list[Agreement] = field(default_factory=list)
    streamed: list[Streamed] = field(default_factory=list)
    tracked: list[tuple[str, TrackingScore]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Figures against labels, agreement and published ones under names of their own."""
        return {
            "schema": 1,
            "source": self.inputs.name,
            "pictures": len(self.inputs.pictures),
            "intervals": resampling(self.inputs),
            "machine": machine.describe().line,
            "versions": machine.versions(),
            "models": [
                {
                    "name": one.name,
                    "model": one.model,
                    "version": one.version,
                    "engine": one.engine,
                    "precision": one.precision,
                    "weights_trained": one.trained,
                    "mean_milliseconds": one.mean_milliseconds,
                }
                for one in self.answers
            ],
            "against_labels": [_scored_json(one) for one in self.scored],
            "differences": [
                {
                    "first": one.first,
                    "second": one.second,
                    "metric": one.metric,
                    "verdict": one.difference.verdict,
                    **one.difference.estimate.to_json(),
                }
                for one in self.compared
            ],
            "agreement": {
                "reference": self.reference,
                "rows": [{"name": one.name, "f1": one.figure.to_json()} for one in self.agreements],
            },
            "published": [
                {"model": name, "metric": p.metric, "value": p.value, "data": p.data}
                | {"source": p.source}
                for name, p in published_of(self.answers).items()
            ],
            "streaming": [
                {
                    "name": one.name,
                    "fps": one.fps,
                    "added_milliseconds": one.added_milliseconds,
                    "answered": one.answered,
                    "median_milliseconds": one.median_milliseconds,
                    **{name: figure.to_json() for name, figure in one.figures.items()},
                }
                for one in self.streamed
            ],
            "tracking": [
                {"name": name}
                | {key: getattr(score, key) for key in TrackingScore.__dataclass_fields__}
                for name, score in self.tracked
            ],
        }


def published_of(answers: Sequence[Answers]) -> dict[str, Any]:
    """By model, where its weights are trained and somebody printed a figure."""
    return {
        one.model: PUBLISHED[one.model] for one in answers if one.trained and one.model in PUBLISHED
    }


def measure(wish: Wish) -> Outcome:
    """Raises `UsageError`, `LabelError` and `VisionstackError`."""
    inputs = open_inputs(wish.source, labels=wish.labels, split=wish.split, cut=wish.cut)
    labelled = inputs.labels is not None or inputs.classes is not None
    if not labelled and wish.reference is None:
        raise UsageError(
            f"{wish.source} has no labels.",
            remedy="Give --labels FILE, or --reference MODEL to see how far models agree.",
        )
    if (wish.stream or wish.track) and inputs.labels is None:
        raise UsageError("--stream and --track need a clip and its --labels.")
    outcome = Outcome(inputs=inputs)
    for variant in wish.variants:
        outcome.answers.append(_answered(variant, inputs))
    check_distinct(outcome.answers)
    if labelled:
        outcome.scored = [against_labels(inputs, one) for one in outcome.answers]
        outcome.compared = differences(outcome.scored, inputs)
    if wish.reference is not None:
        reference = _reference(wish.reference, outcome)
        outcome.reference = reference.name
        outcome.agreements = [
            agreement(inputs, reference, one)
            for one in outcome.answers
            if one.name != reference.name
        ]
        if not outcome.agreements:
            raise UsageError(
                f"The reference {reference.name} is the only model.",
                remedy="Name another by --model or --engine.",
            )
    if wish.stream or wish.track:
        for variant, answers in zip(wish.variants, outcome.answers, strict=True):
            _served(wish, variant, answers.name, outcome)
    return outcome


def _answered(variant: Variant, inputs: Inputs) -> Answers:
    with console.progress() as progress:
        task = progress.add_task(
            escape(f"{variant.model} {variant.engine}"), total=len(inputs.pictures)
        )
        return answer(variant, inputs, tell=lambda done: progress.update(task, completed=done))


def _reference(variant: Variant, outcome: Outcome) -> Answers:
    """That of an answered variant where it is one of them, else run for it."""
    for one in outcome.answers:
        if (one.model, one.engine) == (variant.model, variant.engine):
            return one
    answers = _answered(variant, outcome.inputs)
    for one in outcome.answers:
        if one.name == answers.name:
            return one
        if bool(one.ranked) != bool(answers.ranked):
            raise UsageError(f"{one.name} and the reference {answers.name} do different things.")
    return answers


def _served(wish: Wish, variant: Variant, name: str, outcome: Outcome) -> None:
    from runtime.measurement.statistics import percentile
    from visionstack.accuracy.served import clip_of, follow, play, server_of

    inputs = outcome.inputs
    clip = clip_of(inputs)
    with server_of(variant) as endpoint:
        for fps in (wish.rates or [clip.rate]) if wish.stream else []:
            with console.err.status(f"{name}: streaming {clip.path.name} at {fps:g} frames/s"):
                played = play(endpoint, clip, fps=fps, encoding=cast("Any", wish.encoding))
            for added in wish.round_trips or [0.0]:
                _, figures, _ = score_found(inputs, played.seen(inputs, delay=added / 1000))
                outcome.streamed.append(
                    Streamed(
                        name=name,
                        fps=fps,
                        added_milliseconds=added,
                        answered=played.answered,
                        median_milliseconds=percentile(played.latencies, 50),
                        figures=figures,
                    )
                )
        if wish.track:
            assert inputs.labels is not None  # noqa: S101 - `measure` saw to it
            with console.err.status(f"{name}: following {clip.path.name}"):
                tracks = follow(endpoint, inputs)
            outcome.tracked.append((name, score_tracks(inputs.labels, tracks)))


def _scored_json(one: AgainstLabels) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "name": one.answers.name,
        **{name: figure.to_json() for name, figure in one.figures.items()},
    }
    if one.score is not None:
        plain["objects"] = one.score.overall.objects
        plain["recall50"] = one.score.overall.recall50
        plain["by_class"] = {
            name: {
                "objects": score.objects,
                "AP50": _number(score.ap50),
                "AP50-95": _number(score.ap50_95),
            }
            for name, score in one.score.by_class.items()
        }
        plain["by_size"] = {name: _number(value) for name, value in one.score.by_size.items()}
    return plain


def _number(value: float) -> float | None:
    return None if value != value else value  # noqa: PLR0124 - NaN


def run(wish: Wish, *, out: Path, as_json: bool) -> None:
    """Measure, write report.json, .html, .md and .csv into `out`, and show the tables."""
    from visionstack.accuracy.drawing import report
    from visionstack.report.terminal import show
    from visionstack.report.write import write

    outcome = measure(wish)
    document = report(outcome)
    written = write(document, out)
    if as_json:
        console.print_json(outcome.to_json())
    else:
        show(document, console.out)
    console.err.print(f"report: {written['html']}")
