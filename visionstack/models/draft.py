"""What a recipe is given and what it makes; `building` turns that into an artifact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runtime.contract import Precision
from runtime.inference.artifact import Family, Preprocessing, Task, Weights
from visionstack.models.downloads import Say
from visionstack.models.errors import DownloadError, StillRandomError

if TYPE_CHECKING:
    import onnx

LABELS: Final = Path(__file__).parent / "labels"
RECORD: Final = "training.json"
"""In an artifact that was trained here: on what, and how good it is."""
RANDOM: Final = Weights(
    trained=False,
    description="random: right for timing only, its answers mean nothing (the real weights could "
    "not be had when it was built; give them by --weights)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What the user may say about a build; `None` is the recipe's own choice."""

    weights: Path | None = None
    """A weights file to take instead of fetching one."""
    weights_url: str | None = None
    """Where to fetch the weights instead of the official address."""
    cfg: Path | None = None
    """A darknet cfg to take instead of the catalog's, for weights of the user's own."""
    labels: Path | None = None
    """The classes' names, one a line, where they are not COCO's (darknet's `.names`)."""
    size: int | None = None
    """Side of the square input in pixels."""
    precision: Precision = "fp32"
    random: bool = False
    """Take random weights where the real ones cannot be had, instead of failing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildContext:
    """A recipe's surroundings."""

    options: BuildOptions
    cache: Path
    say: Say
    random_is_built: bool = False
    """Whether this very model is there already, with random weights."""

    def real_weights(self, fetch: Callable[[], Path]) -> Path | None:
        """The file that `fetch` gives; None where it cannot be had and random weights will do.

        Raises `DownloadError` where they won't, or where the address is the user's own.
        """
        try:
            return fetch()
        except DownloadError as error:
            if self.options.weights_url:
                raise
            if not self.options.random:
                raise DownloadError(
                    f"The weights could not be had: {error.message}",
                    remedy="Connect and try again, give the file by --weights, or take random "
                    "ones, right for timing only: visionstack models build … --random",
                ) from error
            if self.random_is_built:
                raise StillRandomError(error.message) from error
            self.say(f"random weights, since {error.message}")
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A network on its way to become an artifact."""

    model: onnx.ModelProto
    task: Task
    family: Family
    size: int
    preprocessing: Preprocessing
    labels: list[str]
    weights: Weights
    source: str
    licence: str
    anchors: tuple[tuple[tuple[float, float], ...], ...] = field(default=())
    extra: dict[str, str] = field(default_factory=dict)
    """Further text files of the artifact, such as how it was trained."""


def read_labels(name: str) -> list[str]:
    """The lines of a list in `labels/`."""
    return (LABELS / f"{name}.txt").read_text("utf-8").splitlines()
