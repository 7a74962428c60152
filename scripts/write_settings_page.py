"""Writes docs/settings.md from the settings: `.venv/bin/python scripts/write_settings_page.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stacks.settings.model import DeploymentSettings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
HEAD = """# Settings

Each stands in `cdk.json` under `context.visionstack` and can be overridden for one command:
`npx cdk deploy --all -c instance_type=g6.xlarge`. Lists are written with commas. A wrong name or
value ends the command with a sentence that says what is allowed, before anything is deployed.

This page is written by `scripts/write_settings_page.py` from `stacks/settings/model.py`.

| setting | default | meaning | allowed |
| --- | --- | --- | --- |
"""


def page() -> str:
    """The page as it should be."""
    rows = []
    for name, field in DeploymentSettings.model_fields.items():
        extra: Any = field.json_schema_extra or {}
        cells = [
            f"`{name}`",
            f"`{_shown(field.default)}`",
            str(field.description),
            extra["allowed"],
        ]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return HEAD + "".join(rows)


def _shown(default: object) -> str:
    if isinstance(default, tuple):
        return ",".join(map(str, default)) or "(none)"
    return "(none)" if default is None else json.dumps(default).strip('"')


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
