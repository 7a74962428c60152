"""How pictures arrive: MLPerf's four scenarios, and a camera with a fixed frame rate."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from runtime.contract import ScenarioKind
from runtime.measurement.errors import ScenarioError


class Scope(StrEnum):
    """What is timed."""

    NETWORK = "network"
    """The engine alone: a prepared tensor in, raw outputs out."""
    PICTURE = "picture"
    """A picture file's bytes in, detections or the top 5 out."""
    STREAM = "stream"
    """A frame sent, its result received, over the network and the streaming server."""

    @property
    def meaning(self) -> str:
        """In a table's heading."""
        return {
            Scope.NETWORK: "network only",
            Scope.PICTURE: "picture to answer",
            Scope.STREAM: "end to end over the stream",
        }[self]


MULTI_STREAM_SAMPLES: Final = 8
"""Pictures a query in MLPerf's MultiStream scenario."""


@dataclass(frozen=True)
class Scenario:
    """One way for pictures to arrive; `rate` is frames or queries a second."""

    kind: ScenarioKind
    rate: float | None = None

    @property
    def name(self) -> str:
        """As it is written on the command line."""
        return self.kind.value if self.rate is None else f"{self.kind.value}:{self.rate:g}"

    @classmethod
    def parse(cls, text: str) -> Scenario:
        """From `single-stream`, `multi-stream`, `offline`, `server[:QPS]` or `camera:FPS`.

        Raises:
            ScenarioError: there is no such scenario, or its number cannot be.
        """
        name, colon, number = text.strip().partition(":")
        try:
            kind = ScenarioKind(name)
        except ValueError:
            known = "single-stream, multi-stream, server[:QPS], offline, camera:FPS"
            raise ScenarioError(f"There is no scenario {text!r}; there are {known}.") from None
        if kind is ScenarioKind.CAMERA and not colon:
            raise ScenarioError("A camera needs its frame rate: camera:30.")
        if not colon:
            return cls(kind)
        if kind not in {ScenarioKind.CAMERA, ScenarioKind.SERVER}:
            raise ScenarioError(f"{kind.value} takes no number, but {text!r} gives one.")
        try:
            rate = float(number)
        except ValueError:
            raise ScenarioError(f"{number!r} in {text!r} is no number.") from None
        if not 0 < rate <= 10_000:
            raise ScenarioError(f"The rate in {text!r} must be above 0 and at most 10,000.")
        return cls(kind, rate)
