"""What runs at the user's desk: the `visionstack` command and its parts."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("visionstack")
except PackageNotFoundError:  # a checkout that was not installed
    __version__ = "0+unknown"
