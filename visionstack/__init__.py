"""What runs at the user's desk: the `visionstack` command and its parts."""

from typing import TYPE_CHECKING

import runtime  # noqa: F401  (before any engine is imported: it keeps them from reporting usage)

if TYPE_CHECKING:
    __version__: str


def __getattr__(name: str) -> str:
    """`__version__`, read when it is asked for: its import is a third of `visionstack --help`."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("visionstack")
    except PackageNotFoundError:  # a checkout that was not installed
        return "0+unknown"
