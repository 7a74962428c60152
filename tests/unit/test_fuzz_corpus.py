"""What the fuzzer has found so far, and what it begins with, by the same rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks._fuzz_targets import CORPUS, TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_the_kept_corpus_has_no_finding(target: str) -> None:
    inputs = sorted((CORPUS / target).iterdir())
    assert len(inputs) >= 6
    for path in inputs:
        try:
            TARGETS[target](path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{path.relative_to(CORPUS)}: {error!r}") from error


def test_each_input_is_small_and_there_once() -> None:
    paths = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert max(path.stat().st_size for path in paths) <= 8192
    for folder in {path.parent for path in paths}:
        assert _distinct(folder)


def _distinct(folder: Path) -> bool:
    contents = [path.read_bytes() for path in folder.iterdir()]
    return len(contents) == len(set(contents))
