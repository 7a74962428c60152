"""What a missing extra is asked for by: where this package was installed from."""

from __future__ import annotations

import json
from importlib import metadata
from typing import Any

import pytest
from packaging.requirements import Requirement

from visionstack import extras


@pytest.mark.parametrize(
    ("origin", "url", "specifier"),
    [
        (None, None, "==9.8.7"),
        ({"url": "file:///src/visionstack", "dir_info": {}}, "file:///src/visionstack", ""),
        (
            {"url": "https://example.test/v.git", "vcs_info": {"vcs": "git", "commit_id": "a1"}},
            "git+https://example.test/v.git",
            "",
        ),
    ],
)
def test_an_extra_comes_from_where_the_package_came_from(
    origin: dict[str, Any] | None,
    url: str | None,
    specifier: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Read back by pip's own parser (packaging), as PEP 508 and PEP 610 have it."""

    class Installed:
        version = "9.8.7"

        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return json.dumps(origin) if origin else None

    monkeypatch.setattr(metadata, "distribution", lambda _name: Installed())
    error = extras.explain(ModuleNotFoundError("no onnx", name="onnx.helper"))
    assert error is not None
    found = Requirement((error.remedy or "").split("'")[1])
    assert (found.name, found.extras, found.url) == ("visionstack", {"serve"}, url)
    assert str(found.specifier) == specifier
