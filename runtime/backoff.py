"""How long whoever was refused waits before trying again: the same for every caller here.

Callers that many others stand beside (of a service, of a server) draw; one that is alone with what
failed (its own child, its model) need not. Not tenacity: the loops here look at answers, deadlines
and a stop between two attempts, which leaves a line of arithmetic to a library, and the classifier
would load it in every cold start.
"""

from __future__ import annotations

import random
from collections.abc import Callable

_DOUBLINGS = 16
"""Beyond them a ceiling says nothing, and 2 ** 1024 is no float."""


def full_jitter(
    attempt: int, *, first: float, longest: float, draw: Callable[[], float] = random.random
) -> float:
    """Seconds, drawn evenly below `first` doubled `attempt` times and `longest` at most.

    All of it is drawn, so that many who were refused together do not come back together (AWS's
    "full jitter"). `draw` gives [0, 1).
    """
    return draw() * doubled(attempt, first=first, longest=longest)


def doubled(attempt: int, *, first: float, longest: float) -> float:
    """Seconds: `first` doubled `attempt` times, and `longest` at most."""
    return min(longest, first * 2.0 ** min(attempt, _DOUBLINGS))
