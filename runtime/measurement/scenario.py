"""How pictures arrive: MLPerf's four scenarios, and a camera with a fixed frame rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from runtime.contract import ScenarioKind, parse_scenario
from runtime.measurement.errors import ScenarioError

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
        try:
            return cls(*parse_scenario(text.strip()))
        except ValueError as error:
            raise ScenarioError(str(error)) from None
