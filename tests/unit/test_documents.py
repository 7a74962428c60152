"""What the documents say of the tree."""

from __future__ import annotations

import json
import re
import runpy
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent.parent
PAGES = [
    *sorted(CHECKOUT.glob("*.md")),
    *sorted((CHECKOUT / "docs").rglob("*.md")),
]
_PATH = re.compile(r"`((?:runtime|stacks|visionstack|tests|scripts|docs)/(?![A-Z])[\w./-]*[\w/])`")
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


def test_the_settings_page_says_what_the_settings_are() -> None:
    script = runpy.run_path(str(CHECKOUT / "scripts" / "write_settings_page.py"))
    written = (CHECKOUT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert written == script["page"](), "run scripts/write_settings_page.py"


def test_the_costs_page_and_readmes_figures_are_what_the_price_book_gives() -> None:
    script = runpy.run_path(str(CHECKOUT / "scripts" / "write_costs_page.py"))
    written = (CHECKOUT / "docs" / "costs.md").read_text(encoding="utf-8")
    assert written == script["page"](), "run scripts/write_costs_page.py"
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert readme == script["readme"](), "run scripts/write_costs_page.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_local_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_in_the_tree_is_there(page: Path) -> None:
    for path in _PATH.findall(page.read_text(encoding="utf-8")):
        assert (CHECKOUT / path).exists(), f"{page.name} names {path}"


def test_the_tour_follows_a_frame_through_at_most_twelve_files_of_the_server() -> None:
    tour = (CHECKOUT / "docs" / "architecture.md").read_text(encoding="utf-8")
    steps = tour.partition("In the server")[2].partition("All threads")[0]
    files = {path for path in _PATH.findall(steps) if path.endswith(".py")}
    assert 8 <= len(files) <= 12, sorted(files)


def test_the_readme_names_the_commands_that_the_makefile_has() -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"\bmake ([a-z]+)\b", readme))
    assert {"demo", "test"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"no target {target}"


def test_direct_requirements_are_pinned_as_the_constraints_pin_them() -> None:
    def pins(name: str) -> dict[str, str]:
        found = {}
        for line in (CHECKOUT / name).read_text(encoding="utf-8").splitlines():
            match = re.match(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==(\S+)", line)
            if match:
                found[re.sub(r"[-_.]+", "-", match[1]).lower()] = match[2]
        return found

    constraints = pins("constraints.txt")
    assert {n: v for n, v in pins("requirements.txt").items() if constraints.get(n) != v} == {}


def test_the_cdk_command_line_is_pinned_exactly() -> None:
    package = json.loads((CHECKOUT / "package.json").read_text(encoding="utf-8"))
    assert re.fullmatch(r"\d+\.\d+\.\d+", package["devDependencies"]["aws-cdk"])


def test_the_licence_is_the_one_the_project_declares() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["license"] == "AGPL-3.0-only"
    assert "GNU AFFERO GENERAL PUBLIC LICENSE" in (CHECKOUT / "LICENSE").read_text("utf-8")
