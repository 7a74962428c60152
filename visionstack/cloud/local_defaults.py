"""Settings in which the embedded cloud differs from AWS; ordinary context values, nothing more."""

from __future__ import annotations

import platform
import sys
from typing import Final

from runtime.contract import Arch

AMI: Final = "ami-0c2023a1b2c3d4e5f"
"""An image that MiniStack knows. It lacks AWS's public SSM parameters, so it has to be named."""


def python_version() -> str:
    """The interpreter's own `major.minor`: functions and instances run on it there."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def architecture() -> Arch:
    """This machine's, as AWS calls it: `x86_64` or `arm64`."""
    return "arm64" if platform.machine() in {"aarch64", "arm64"} else "x86_64"


def context() -> dict[str, str]:
    """Context values for a deployment to the embedded cloud on this machine."""
    values = {
        "ami_id": AMI,
        "lambda_wheels_python": python_version(),
        "instance_python": python_version(),
        "lambda_arch": architecture(),
        # No access log is ever on its way there.
        "log_settle_seconds": "0",
    }
    if architecture() == "arm64":
        values["instance_type"] = "c7g.xlarge"
    return values
