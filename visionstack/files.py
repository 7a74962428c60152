"""Files that are replaced at once."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from visionstack.errors import VisionstackError


def replace_file(
    path: Path,
    content: str | bytes,
    *,
    mode: int = 0o644,
    remedy: str = "Choose another folder, or free some space.",
) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of one.

    Raises:
        VisionstackError: the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
            Path(temporary).chmod(mode)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise VisionstackError(
            f"{path} could not be written: {error.strerror or error}.", remedy=remedy
        ) from error
