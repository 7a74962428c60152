"""Clouds, what is deployed on them, and how requests to them are signed."""

from typing import Literal

KnownCloud = Literal["local", "aws"]
Cloud = Literal["auto", KnownCloud]
"""What `--cloud` takes. It stands here since commands name it before they load anything else."""
