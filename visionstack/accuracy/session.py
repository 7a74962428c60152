"""What `visionstack accuracy` does: run every variant, score, compare, stream, and write."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape

from runtime.contract import StreamEncoding
from runtime.measurement.statistics import percentile
from visionstack import console, paths
from visionstack.accuracy.inputs import Inputs, open_inputs
from visionstack.accuracy.outcome import Outcome, Streamed
from visionstack.accuracy.report import report
from visionstack.accuracy.results import (
    against_labels,
    agreement,
    differences,
    score_found,
)
from visionstack.accuracy.tracking import check_followed, score_tracks
from visionstack.accuracy.variants import Answers, Variant, answer, check_distinct
from visionstack.errors import UsageError
from visionstack.models.building import current_folder
from visionstack.report.terminal import show
from visionstack.report.write import write


@dataclass(frozen=True, kw_only=True)
class AccuracyOptions:
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
    encodings: Sequence[StreamEncoding]
    track: bool


def measure(options: AccuracyOptions) -> Outcome:
    """Raises `UsageError`, `LabelError` and `VisionstackError`."""
    inputs = open_inputs(
        options.source, labels=options.labels, split=options.split, cut=options.cut
    )
    labelled = inputs.labels is not None or inputs.classes is not None
    if not labelled and options.reference is None:
        raise UsageError(
            f"{options.source} has no labels.",
            remedy="Give --labels FILE, or --reference MODEL to see how far models agree.",
        )
    if (options.stream or options.track) and inputs.labels is None:
        raise UsageError("--stream and --track need a clip and its --labels.")
    if options.track and inputs.labels is not None:
        check_followed(inputs.labels)
    reference = [] if options.reference is None else [options.reference]
    for variant in [*options.variants, *reference]:
        current_folder(paths.MODELS, variant.model)  # before the first of them has run for long
    outcome = Outcome(inputs=inputs)
    for variant in options.variants:
        outcome.answers.append(_answered(variant, inputs))
    check_distinct(outcome.answers)
    if labelled:
        outcome.scored = [against_labels(inputs, one) for one in outcome.answers]
        outcome.compared = differences(outcome.scored, inputs)
    if options.reference is not None:
        compared_with = _reference(options.reference, outcome)
        outcome.reference = compared_with.name
        outcome.agreements = [
            agreement(inputs, compared_with, one)
            for one in outcome.answers
            if one.name != compared_with.name
        ]
        if not outcome.agreements:
            raise UsageError(
                f"The reference {compared_with.name} is the only model.",
                remedy="Name another by --model or --engine.",
            )
    if options.stream or options.track:
        for variant, answers in zip(options.variants, outcome.answers, strict=True):
            _served(options, variant, answers.name, outcome)
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


def _served(options: AccuracyOptions, variant: Variant, name: str, outcome: Outcome) -> None:
    from visionstack.accuracy.served import clip_of, follow, play, server_of

    inputs = outcome.inputs
    clip = clip_of(inputs)
    with server_of(variant) as endpoint:
        rates = (options.rates or [clip.rate]) if options.stream else []
        for fps, encoding in itertools.product(rates, options.encodings):
            with console.err.status(
                f"{name}: streaming {clip.path.name} at {fps:g} frames/s as {encoding}"
            ):
                played = play(endpoint, clip, fps=fps, encoding=encoding)
            for added in options.round_trips or [0.0]:
                _, figures, _ = score_found(inputs, played.seen(inputs, delay=added / 1000))
                outcome.streamed.append(
                    Streamed(
                        name=name,
                        fps=fps,
                        encoding=encoding,
                        kilobytes_per_second=played.bytes_sent * fps / clip.frames / 1000,
                        added_milliseconds=added,
                        answered=played.answered,
                        median_milliseconds=percentile(played.latencies, 50),
                        figures=figures,
                    )
                )
        if options.track:
            assert inputs.labels is not None  # noqa: S101 - `measure` saw to it
            with console.err.status(f"{name}: following {clip.path.name}"):
                tracks = follow(endpoint, inputs)
            outcome.tracked.append((name, score_tracks(inputs.labels, tracks)))


def run(options: AccuracyOptions, *, out: Path, as_json: bool) -> None:
    """Measure, write report.json, .html, .md and .csv into `out`, and show the tables."""
    outcome = measure(options)
    document = report(outcome)
    written = write(document, out)
    if as_json:
        console.print_json(outcome.to_json())
    else:
        show(document, console.out)
    console.err.print(f"report: {written['html']}")
