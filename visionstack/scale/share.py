"""What is left of a server's promise when cameras are not spread evenly: simulated."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from runtime.measurement.statistics import percentile
from visionstack.scale.service_quality import service_quality
from visionstack.scale.simulation import Cameras, Machine, Outcome, Times, simulate

SECONDS = 20.0
_BEGIN_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a server or a fleet at a share of its rate gives its cameras."""

    share: float
    cameras: int
    p50_s: float
    p99_s: float
    answered: float
    worst_answered: float
    """Of the camera that got least."""


def at_shares(
    times: Times, machine: Machine, shares: Sequence[float], *, rate: float, fps: float, draws: int
) -> list[Loaded]:
    """One server whose cameras take their frames at any moment of a period; medians of draws."""
    return [
        hashed(
            times,
            machine,
            servers=1,
            cameras=max(1, round(share * rate / fps)),
            rate=rate,
            fps=fps,
            by_hash=False,
            draws=draws,
        )
        for share in shares
    ]


def hashed(
    times: Times,
    machine: Machine,
    *,
    servers: int,
    cameras: int,
    rate: float,
    fps: float,
    by_hash: bool,
    draws: int,
) -> Loaded:
    """A fleet whose connections go where a hash says, or else in turns; medians of draws."""
    runs = []
    for seed in range(draws):
        draw = random.Random(seed)  # noqa: S311 - a simulation's draws guard nothing
        place = [draw.randrange(servers) for _ in range(cameras)] if by_hash else None
        outcome = simulate(
            Cameras.at_random(cameras, fps=fps, seconds=SECONDS, seed=seed),
            times,
            machine,
            servers=servers,
            seed=seed,
            until=SECONDS,
            place=place,
        )
        runs.append(_loaded(outcome, share=cameras * fps / rate / servers, fps=fps))
    return _middle(runs)


def _loaded(outcome: Outcome, *, share: float, fps: float) -> Loaded:
    got = service_quality(outcome.answers, fps=fps, begin=_BEGIN_S, end=SECONDS, settle=2.0)
    due = fps * (SECONDS - _BEGIN_S)
    return Loaded(
        share=share,
        cameras=len(outcome.answers),
        p50_s=got.p50_s,
        p99_s=got.p99_s,
        answered=got.answered,
        worst_answered=min(1.0, got.least / due),
    )


def _middle(runs: Sequence[Loaded]) -> Loaded:
    def middle(name: str) -> float:
        return percentile([getattr(one, name) for one in runs], 50)

    return replace(
        runs[0],
        p50_s=middle("p50_s"),
        p99_s=middle("p99_s"),
        answered=middle("answered"),
        worst_answered=middle("worst_answered"),
    )
