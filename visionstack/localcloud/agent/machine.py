"""What this machine is, against what an instance type wants: other hardware is never pretended."""

from __future__ import annotations

import shutil

from stacks.catalog import Catalog
from stacks.errors import UnknownInstanceTypeError
from visionstack.cloud import local_defaults
from visionstack.localcloud.agent.groups import Template

SERVES = "/bin/start.sh"
"""The stream server's user data ends with it. Others measure the instance type itself."""


def reason_not_to_run(template: Template, *, catalog: Catalog) -> str | None:
    """Why this machine can't stand for such an instance; None when it can.

    A stream server may run on any machine of its architecture. An instance that is there to be
    measured may only run on its own hardware, and this is not EC2.
    """
    if SERVES not in template.user_data:
        return (
            "not run: not available on this machine (this machine is not a"
            f" {template.instance_type})"
        )
    try:
        wanted = catalog[template.instance_type]
    except UnknownInstanceTypeError:
        return None
    if wanted.arch != local_defaults.architecture():
        return (
            f"not run: not available on this machine ({wanted.arch}; this machine is"
            f" {local_defaults.architecture()})"
        )
    if wanted.compute == "gpu" and shutil.which("nvidia-smi") is None:
        return "not run: not available on this machine (a GPU)"
    return None
