"""Which pictures a command's PATH arguments mean, and classifying many of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionstack.classify.client import (
    CONTENT_TYPES,
    Classification,
    ClassifierClient,
    ClassifierError,
)
from visionstack.errors import UsageError
from visionstack.picture_files import FolderPictures, left_out, pictures_in


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A picture without an answer, and why."""

    file: str
    code: str
    message: str
    remedy: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As `--json` lists it."""
        return dict(vars(self))


def find_pictures(paths: Iterable[Path]) -> FolderPictures:
    """Files as named, folders searched through for picture suffixes, in order and once each;
    with them, what the folders have beside.

    Raises:
        UsageError: a path that does not exist, or a folder without a picture.
    """
    pictures: dict[Path, None] = {}
    others: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = pictures_in(path, CONTENT_TYPES, below=True)
            if not inside.pictures:
                raise UsageError(
                    f"There is no picture in {path}.",
                    remedy=left_out(inside.others, CONTENT_TYPES)
                    or f"Looked for {', '.join(CONTENT_TYPES)}.",
                )
            pictures.update(dict.fromkeys(inside.pictures))
            others.update(dict.fromkeys(inside.others))
        elif path.exists():
            pictures[path] = None
        else:
            raise UsageError(f"{path} does not exist.", remedy="Name picture files or folders.")
    return FolderPictures(tuple(pictures), tuple(others))


def classify_all(
    client: ClassifierClient,
    pictures: Sequence[Path],
    *,
    concurrency: int,
    done: Callable[[], object] = lambda: None,
) -> list[Classification | Failure]:
    """Every picture answered or listed as failed, in the order given; `done` after each."""

    def classified(picture: Path) -> Classification | Failure:
        try:
            return client.classify(picture)
        except ClassifierError as error:
            code = error.code or "failed"
            return Failure(file=str(picture), code=code, message=error.message, remedy=error.remedy)
        finally:
            done()

    with ThreadPoolExecutor(concurrency, thread_name_prefix="classify") as pool:
        return list(pool.map(classified, pictures))
