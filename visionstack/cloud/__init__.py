"""Clouds, what is deployed on them, and how requests to them are signed."""

from typing import Literal

Cloud = Literal["auto", "local", "aws"]
"""What `--cloud` takes. It stands here since commands name it before they load anything else."""
