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
        return _not_here(f"this machine is not a {template.instance_type}")
    try:
        wanted = catalog[template.instance_type]
    except UnknownInstanceTypeError:
        return None
    if wanted.arch != local_defaults.architecture():
        return _not_here(f"{wanted.arch}; this machine is {local_defaults.architecture()}")
    if wanted.compute == "gpu" and shutil.which("nvidia-smi") is None:
        return _not_here("a GPU")
    return None


def _not_here(why: str) -> str:
    return f"not run: not available on this machine ({why})"
