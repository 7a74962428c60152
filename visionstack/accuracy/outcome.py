"""What a measurement of accuracy found, and its JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from runtime.measurement import machine
from visionstack.accuracy.inputs import Inputs
from visionstack.accuracy.intervals import Estimate, or_null
from visionstack.accuracy.published import PUBLISHED
from visionstack.accuracy.results import AgainstLabels, Agreement, Compared, resampling
from visionstack.accuracy.tracking import TrackingScore
from visionstack.accuracy.variants import Answers


@dataclass(frozen=True, kw_only=True)
class Streamed:
    """Streaming accuracy of one variant, sent in one way at one rate over one added round trip."""

    name: str
    fps: float
    encoding: str
    kilobytes_per_second: float
    """Of the pictures as they were sent."""
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
                {"model": name, **asdict(figure)}
                for name, figure in published_of(self.answers).items()
            ],
            "streaming": [_streamed_json(one) for one in self.streamed],
            "tracking": [{"name": name, **asdict(score)} for name, score in self.tracked],
        }


def published_of(answers: Sequence[Answers]) -> dict[str, Any]:
    """By model, where its weights are trained and somebody printed a figure."""
    return {
        one.model: PUBLISHED[one.model] for one in answers if one.trained and one.model in PUBLISHED
    }


def _streamed_json(one: Streamed) -> dict[str, Any]:
    plain = dict(vars(one))
    figures = plain.pop("figures")
    return plain | {name: figure.to_json() for name, figure in figures.items()}


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
                "AP50": or_null(score.ap50),
                "AP50-95": or_null(score.ap50_95),
            }
            for name, score in one.score.by_class.items()
        }
        plain["by_size"] = {name: or_null(value) for name, value in one.score.by_size.items()}
    return plain
