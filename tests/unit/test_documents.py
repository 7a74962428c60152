"""What the documents say of the tree."""

from __future__ import annotations

import json
import re
import runpy
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

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


def test_the_page_of_many_cameras_is_what_was_measured_and_the_limits_give() -> None:
    script = runpy.run_path(str(CHECKOUT / "scripts" / "write_scale_page.py"))
    written = (CHECKOUT / "docs" / "scale.md").read_text(encoding="utf-8")
    assert written == script["page"](), "run scripts/write_scale_page.py"


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
    steps = tour.partition("In the server")[2].partition("On its way")[0]
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


def test_the_page_and_its_document_name_the_onnxruntime_web_that_is_pinned() -> None:
    package = json.loads((CHECKOUT / "package.json").read_text(encoding="utf-8"))
    wanted = f"onnxruntime-web@{package['devDependencies']['onnxruntime-web']} "
    for name in ("docs/page.md", "runtime/streaming/transports/page/device.js"):
        text = (CHECKOUT / name).read_text(encoding="utf-8").replace("`", " ").replace(")", " ")
        assert wanted in text, name


def test_the_licence_is_the_one_the_project_declares() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["license"] == "AGPL-3.0-only"
    assert "GNU AFFERO GENERAL PUBLIC LICENSE" in (CHECKOUT / "LICENSE").read_text("utf-8")


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("requirements.lock", ["requirements.txt"]),
        ("visionstack/localcloud/requirements.lock", ["visionstack/localcloud/requirements.txt"]),
        ("scripts/sbom.lock", ["scripts/sbom.txt"]),
    ],
)
def test_a_lock_has_what_is_required_with_hashes_and_no_index(lock: str, wanted: list[str]) -> None:
    text = (CHECKOUT / lock).read_text(encoding="utf-8")
    script = runpy.run_path(str(CHECKOUT / "scripts" / "lock_requirements.py"))
    found = script["entries"](text)
    assert "://" not in text
    assert not re.search("^--", text, re.MULTILINE)
    assert [name for name, entry in found.items() if "--hash=sha256:" not in entry] == []
    locked = {_plain(name): entry.split()[0].partition("==")[2] for name, entry in found.items()}
    remedy = "run scripts/lock_requirements.py"
    for name in wanted:
        pins = _pins(name)
        assert {n: v for n, v in pins.items() if locked.get(n) != v} == {}, remedy
    if lock == "requirements.lock":
        pins = _pins("constraints.txt")
        assert {n: v for n, v in locked.items() if pins.get(n, v) != v} == {}, remedy


def test_the_page_of_licences_has_every_locked_package_in_its_version() -> None:
    script = runpy.run_path(str(CHECKOUT / "scripts" / "write_sbom.py"))
    written = (CHECKOUT / "docs" / "third-party-licences.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\S+) \| \S+ \| (.+) \|$", written, re.MULTILINE)
    licences = {name: licence for name, licence in rows if licence != script["ELSEWHERE"]}
    assert written == script["page"](licences), "run `make sbom`"
    assert len(licences) > 150
    installed = {name for name in script["locked"]("requirements.lock") if _installed(name)}
    assert sorted(installed - licences.keys()) == []


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def test_what_is_installed_here_is_what_is_locked() -> None:
    script = runpy.run_path(str(CHECKOUT / "scripts" / "lock_requirements.py"))
    text = (CHECKOUT / "requirements.lock").read_text(encoding="utf-8")
    for name, entry in script["entries"](text).items():
        pin = Requirement(entry.split("\\")[0].strip())
        if pin.marker is None or pin.marker.evaluate():
            assert pin.specifier.contains(version(name), prereleases=True), name


def test_every_installation_of_the_makefile_checks_hashes() -> None:
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    lines = [line for line in makefile.splitlines() if "pip install" in line]
    assert lines
    assert [x for x in lines if "--require-hashes" not in x and not x.endswith("-e .")] == []


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _pins(name: str) -> dict[str, str]:
    text = (CHECKOUT / name).read_text(encoding="utf-8")
    found = re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==(\S+)", text, re.MULTILINE)
    return {_plain(package): pinned for package, pinned in found}
