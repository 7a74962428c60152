"""Folders of a checkout that the command line reads and writes; git ignores all but samples."""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
SAMPLES = CHECKOUT / "samples"
MODELS = CHECKOUT / ".models"
"""Built model artifacts, `{name}/{version}/`, and `.models/cache/` for what was downloaded."""
CLOUD = CHECKOUT / ".cloud"
"""State and logs of the embedded cloud."""
CLOUD_VENV = CHECKOUT / ".venv-cloud"
BUILD = CHECKOUT / "build"
"""Packages for Lambda and the instance, one folder a target."""
OUT = CHECKOUT / "out"
"""Reports."""
