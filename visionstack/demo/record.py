"""What the demo found, written to `report.json` after every measurement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runtime.measurement import machine
from visionstack.files import replace_file
from visionstack.paper_reference import reference


class Record:
    """The growing document of one demo run.

    Each of its sections is set once, by the step that measured it; a run that ends early leaves
    the sections it reached.
    """

    def __init__(self, path: Path) -> None:
        here = machine.describe()
        self.path = path
        self.sections: dict[str, Any] = {
            "machine": {"line": here.line, **here.to_json()},
            "versions": machine.versions(),
            "paper": reference(),
        }

    def add(self, name: str, section: Any) -> None:
        """Set a section and write the file, so that nothing measured is lost later."""
        self.sections[name] = section
        text = json.dumps(self.sections, ensure_ascii=False, indent=2) + "\n"
        replace_file(self.path, text)
