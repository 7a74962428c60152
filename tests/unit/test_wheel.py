"""A wheel works outside any checkout: all data is inside, and what is missing is named."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from itertools import chain
from pathlib import Path

import pytest

from tests.unit.streaming.conftest import TOKEN, make_server
from visionstack import extras

CHECKOUT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built and unpacked as an installer would."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
            *("--no-build-isolation", "--wheel-dir", str(folder), str(CHECKOUT)),
        ],
        check=True,
    )
    [wheel] = folder.glob("*.whl")
    site = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def run(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python ARGUMENTS` with the wheel before the checkout, in another folder."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(installed),
            "XDG_DATA_HOME": str(folder / "data"),
            "COLUMNS": "200",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_file_that_git_knows_of_the_three_packages_is_in_the_wheel(installed: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "visionstack", "runtime", "stacks", "samples"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    missing = [
        name
        for name in listed
        if not name.endswith(".gitignore")
        and not (installed / name).exists()
        and not (installed / "visionstack" / "shipped" / name).exists()
    ]
    assert missing == []


def test_outside_a_project_models_go_to_the_users_data_folder(
    installed: Path, tmp_path: Path
) -> None:
    told = run(
        installed,
        tmp_path,
        "-c",
        "from visionstack import paths; print(paths.PROJECT, paths.MODELS, paths.SAMPLES.is_dir())",
    )
    assert told.stdout.split() == ["None", str(tmp_path / "data/visionstack/models"), "True"]


def test_init_writes_a_project_that_is_then_found(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "-m", "visionstack.cli", "init", "mine")
    assert done.returncode == 0, done.stderr
    mine = tmp_path / "mine"
    names = {one.name for one in mine.iterdir()}
    assert names >= {"cdk.json", "app.py", "package.json", "requirements.txt", "stacks", "runtime"}
    assert "visionstack" in json.loads((mine / "cdk.json").read_text())["context"]

    told = run(
        installed,
        mine / "stacks",
        "-c",
        "from visionstack import paths; print(paths.PROJECT, paths.RUNTIME)",
    )
    assert told.stdout.split() == [str(mine), str(mine / "runtime")]

    spaced = run(installed, tmp_path, "-m", "visionstack.cli", "init", "my vision")
    assert "cd 'my vision';" in spaced.stderr
    again = run(installed, tmp_path, "-m", "visionstack.cli", "init", "mine")
    assert again.returncode == 2
    assert "not an empty folder" in again.stderr


def test_a_command_that_needs_a_project_says_how_to_get_one(
    installed: Path, tmp_path: Path
) -> None:
    done = run(installed, tmp_path, "-m", "visionstack.cli", "build")
    assert done.returncode == 1
    assert "visionstack init" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_library_that_is_not_installed_is_named_with_its_extra(
    installed: Path, tmp_path: Path
) -> None:
    # A module of that name which cannot be found, as where the extra was left out.
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'cv2':\n"
        "            raise ModuleNotFoundError(\"No module named 'cv2'\", name='cv2')\n"
        "sys.meta_path.insert(0, Missing())\n"
        "sys.argv = ['visionstack', 'stream', '0', '--connect', '127.0.0.1:9', '--token', 'x']\n"
        "from visionstack.cli.main import main\n"
        "main()\n"
    )
    done = run(installed, tmp_path, "-c", code)
    assert done.returncode == 1
    assert "pip install 'visionstack[video]==" in done.stderr
    assert "Traceback" not in done.stderr


async def test_the_core_streams_a_picture_without_numpy(installed: Path, tmp_path: Path) -> None:
    server = make_server(tmp_path / "models")
    await server.start()
    code = (
        "import sys\n"
        "for name in ('numpy', 'cv2', 'av', 'PIL', 'boto3', 'psutil'):\n"
        "    sys.modules[name] = None\n"
        f"sys.argv = ['visionstack', 'stream', {str(CHECKOUT / 'samples' / 'dog.jpg')!r},\n"
        f"    '--connect', '127.0.0.1:{server.port}', '--token', {TOKEN!r}, '--json']\n"
        "from visionstack.cli.main import main\n"
        "main()\n"
    )
    try:
        done = await asyncio.to_thread(run, installed, tmp_path, "-c", code)
    finally:
        await server.stop()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0])["detections"]


def test_pyproject_declares_what_requirements_pin() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared: dict[str, str] = {}
    for line in [*project["dependencies"], *chain(*project["optional-dependencies"].values())]:
        match = re.match(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?(?:>=([^,;\s]+))?", line)
        assert match is not None
        declared[match[1].lower()] = match[2]
    for own in ("visionstack", "pip"):  # pip is not pinned: it installs the pins
        declared.pop(own)
    pins = dict(
        re.findall(
            r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==(\S+)",
            (CHECKOUT / "requirements.txt").read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    )
    assert declared == {name.lower(): pins[name] for name in pins if name.lower() in declared}


def test_every_extra_that_a_missing_library_is_sent_to_exists() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(extras.EXTRAS.values()) <= set(project["optional-dependencies"])
