"""How well cameras were served in a stretch of time, measured and simulated alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.measurement.statistics import percentile

Answers = Sequence[Sequence[tuple[float, float]]]
"""By camera: the seconds at which each answered frame was taken and its result came."""


@dataclass(frozen=True, kw_only=True)
class ServiceQuality:
    """Of all cameras together, but for `least` and `most`."""

    answers_a_second: float
    answered: float
    """Share of the frames taken early enough to be answered before the end."""
    p50_s: float
    p99_s: float
    least_p50_s: float
    most_p50_s: float
    """Median of the camera that waited least, and of the one that waited most."""
    least: int
    most: int
    """Answers of the cameras that got fewest and most."""


def service_quality(
    answers: Answers, *, fps: float, begin: float, end: float, settle: float = 0.0
) -> ServiceQuality:
    """Answers that came from `begin` until `end`; NaN where none did.

    `answered` leaves out frames taken in the last `settle` seconds, which may be under way.
    """
    came = [[(t, at) for t, at in one if begin <= at < end] for one in answers]
    waited = [at - t for one in came for t, at in one]
    medians = [percentile([at - t for t, at in one], 50) for one in came if one]
    due = fps * (end - settle - begin) * len(answers)
    early = sum(begin <= t < end - settle for one in answers for t, at in one if at < end)
    return ServiceQuality(
        answers_a_second=len(waited) / (end - begin),
        answered=min(1.0, early / due),
        p50_s=percentile(waited, 50) if waited else math.nan,
        p99_s=percentile(waited, 99) if waited else math.nan,
        least_p50_s=min(medians, default=math.nan),
        most_p50_s=max(medians, default=math.nan),
        least=min(map(len, came)),
        most=max(map(len, came)),
    )
