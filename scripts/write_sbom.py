"""Writes what visionstack is made of: `make sbom`, or `python3 scripts/write_sbom.py`.

CycloneDX documents go to `build/sbom/`, one for each lock file, by cyclonedx-py and `npm sbom`;
docs/third-party-licences.md is written from the metadata of what is installed in `.venv`, by
pip-licenses, and from package-lock.json. The Python tools get an environment of their own.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

CHECKOUT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = CHECKOUT / "docs" / "third-party-licences.md"
SBOM: Final = CHECKOUT / "build" / "sbom"
_TOOLS: Final = CHECKOUT / "build" / "venv-sbom"
_TOOLS_LOCK: Final = CHECKOUT / "scripts" / "sbom.lock"
PYTHON_LOCKS: Final = {
    "python": "requirements.lock",
    "cuda": "requirements-cuda.lock",
    "embedded-cloud": "visionstack/localcloud/requirements.lock",
}
NPM_LOCK: Final = "package-lock.json"
ELSEWHERE: Final = "not installed where this page was written"
_SPDX: Final = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
_HEAD: Final = """# Third-party licences

What visionstack installs, by lock file, with the licence that each package declares. Written by
`make sbom` from the metadata of the installed packages (pip-licenses) and from `package-lock.json`,
and not checked by a lawyer. None of these packages is in this repository. The same lists as
CycloneDX documents with the hashes of all files: `build/sbom/`, after `make sbom`.
"""


def locked(lock: str) -> dict[str, str]:
    """Version by name of a Python lock file, names as PyPI compares them."""
    text = (CHECKOUT / lock).read_text(encoding="utf-8")
    found = re.findall(r"^([A-Za-z0-9][\w.-]*)(?:\[[^]]*\])?==([^\s;\\]+)", text, re.MULTILINE)
    return {_plain(name): version for name, version in found}


def npm_locked() -> list[tuple[str, str, str]]:
    """Name, version and licence of everything in package-lock.json."""
    packages = json.loads((CHECKOUT / NPM_LOCK).read_text(encoding="utf-8"))["packages"]
    return sorted(
        (path.rpartition("node_modules/")[2], one["version"], one.get("license", "none declared"))
        for path, one in packages.items()
        if path
    )


def page(licences: dict[str, str]) -> str:
    """`licences` by plain name of what is installed."""
    parts = [_HEAD]
    for lock in PYTHON_LOCKS.values():
        rows = [
            (name, version, licences.get(name, ELSEWHERE))
            for name, version in sorted(locked(lock).items())
        ]
        parts += _section(lock, rows)
    return "".join([*parts, *_section(NPM_LOCK, npm_locked())])


def _section(lock: str, rows: list[tuple[str, str, str]]) -> list[str]:
    lines = [f"| {name} | {version} | {licence} |\n" for name, version, licence in rows]
    return [f"\n## {lock}\n\n| package | version | licence |\n| --- | --- | --- |\n", *lines]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _installed_licences(python: Path) -> dict[str, str]:
    tool = str(_TOOLS / "bin" / "pip-licenses")
    done = _run(
        tool, "--python", str(python), "--format", "json", "--from", "mixed", "--with-system"
    )
    found: list[dict[str, Any]] = json.loads(done)
    return {_plain(one["Name"]): _short(one["License"]) for one in found}


def _short(licence: str) -> str:
    names = [_SPDX.get(name.strip(), name.strip()) for name in licence.split(";")]
    return "; ".join(names).replace("|", "/")


def _run(*command: str) -> str:
    done = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def _install_tools() -> None:
    done = _TOOLS / "installed.lock"
    wanted = _TOOLS_LOCK.read_text(encoding="utf-8")
    if done.exists() and done.read_text(encoding="utf-8") == wanted:
        return
    _run(sys.executable, "-m", "venv", "--clear", str(_TOOLS))
    pip = (str(_TOOLS / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check")
    _run(*pip, "--no-deps", "--require-hashes", "-r", str(_TOOLS_LOCK))
    done.write_text(wanted, encoding="utf-8")


def main() -> None:
    _install_tools()
    SBOM.mkdir(parents=True, exist_ok=True)
    for name, lock in PYTHON_LOCKS.items():
        tool = (str(_TOOLS / "bin" / "cyclonedx-py"), "requirements", lock)
        form = ("--output-reproducible", "--output-format", "JSON")
        out = ("--pyproject", "pyproject.toml", "--output-file", str(SBOM / f"{name}.cdx.json"))
        _run(*tool, *form, *out)
    npm = _run("npm", "sbom", "--package-lock-only", "--sbom-format=cyclonedx")
    (SBOM / "npm.cdx.json").write_text(npm, encoding="utf-8")
    licences = _installed_licences(CHECKOUT / ".venv" / "bin" / "python")
    cloud = CHECKOUT / ".venv-cloud" / "bin" / "python"
    if cloud.exists():
        licences = _installed_licences(cloud) | licences
    PAGE.write_text(page(licences), encoding="utf-8")
    for file in sorted(SBOM.glob("*.cdx.json")):
        components = json.loads(file.read_text(encoding="utf-8"))["components"]
        print(f"{file.relative_to(CHECKOUT)}: {len(components)} components")


if __name__ == "__main__":
    main()
