"""Lambda's size limits, checked where the package is built rather than where it is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

from visionstack.packaging.errors import PackagingError

MB: Final = 1_000_000
UNZIPPED_BYTES: Final = 250 * 1024 * 1024
"""https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html: 250 MB unzipped."""
LARGEST_SHOWN: Final = 8


def tree_bytes(folder: Path) -> int:
    """Bytes of all files below `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def check_unzipped(folder: Path, *, name: str, limit: int = UNZIPPED_BYTES) -> int:
    """The package's unzipped bytes; PackagingError with its largest parts when over `limit`."""
    total = tree_bytes(folder)
    if total > limit:
        parts: Counter[str] = Counter()
        for path in folder.rglob("*"):
            if path.is_file():
                parts[path.relative_to(folder).parts[0]] += path.stat().st_size
        largest = "\n".join(
            f"  {size / MB:8.1f} MB  {part}" for part, size in parts.most_common(LARGEST_SHOWN)
        )
        raise PackagingError(
            f"The Lambda package {name} is {total / MB:.1f} MB unzipped; Lambda takes "
            f"{limit / MB:.1f} MB. Its largest parts:\n{largest}",
            remedy="Use -c packaging=s3-packages (libraries and model from S3), or less of them.",
        )
    return total
