"""The module that Lambda imports, in an interpreter of its own: it acts when it is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runtime.contract import Env

RUNTIME_HOOKS = """
hooks = []
def register_after_restore(function, *args, **kwargs):
    hooks.append(lambda: function(*args, **kwargs))
"""
"""As AWS's Python runtimes from 3.12 on have it (the package snapshot-restore-py)."""
PROGRAM = """
import json
from runtime.classifier import handler
try:
    import snapshot_restore_py
    hooks = snapshot_restore_py.hooks
except ImportError:
    hooks = []
event = {"method": "images", "content_type": "image/png"}
seen = []
def call():
    environment = handler._FUNCTION._environment
    seen.append([environment.id, handler.handle(event, None)["upload"]["fields"]])
call()
for hook in hooks:
    hook()
call()
print("SEEN" + json.dumps([len(hooks), *seen]))
"""


def imported(tmp_path: Path, **environment: str) -> list[Any]:
    """Hooks registered, then environment id and upload form before and after they ran."""
    output = run(PROGRAM, tmp_path, **environment)
    (line,) = [line for line in output.splitlines() if line.startswith("SEEN")]
    found: list[Any] = json.loads(line.removeprefix("SEEN"))
    return found


def run(program: str, tmp_path: Path, **environment: str) -> str:
    """What a program prints in an environment like the function's."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "a secret",
            Env.ARTIFACTS_BUCKET: "artifacts",
            Env.PICTURES_BUCKET: "pictures",
            Env.MODEL: "toy",
            # Nothing listens there.
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
            "LAMBDA_TASK_ROOT": str(tmp_path),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_numpy_starts_no_threads_beside_the_engine_s(tmp_path: Path) -> None:
    program = (
        "import os\nfrom runtime.classifier import handler\nimport numpy\n"
        "print(len(os.listdir('/proc/self/task')))"
    )
    if (os.cpu_count() or 1) == 1:
        pytest.skip("OpenBLAS starts threads only where there are processors for them")
    assert run(program, tmp_path).strip() == "1"


def test_a_snapshot_that_comes_to_life_becomes_another_environment(tmp_path: Path) -> None:
    (tmp_path / "snapshot_restore_py.py").write_text(RUNTIME_HOOKS)
    hooks, (before, _), (after, _) = imported(tmp_path, **{Env.COLD_START: "snapstart"})
    assert hooks == 1
    assert before != after


@pytest.mark.parametrize("cold_start", ["none", "warmer", "provisioned"])
def test_without_the_runtimes_hooks_an_environment_stays_what_it_is(
    tmp_path: Path, cold_start: str
) -> None:
    hooks, (before, _), (after, _) = imported(tmp_path, **{Env.COLD_START: cold_start})
    assert (hooks, before) == (0, after)


def test_a_function_without_its_model_starts_and_still_hands_out_uploads(tmp_path: Path) -> None:
    _, (_, form), _ = imported(tmp_path)
    assert form["key"].startswith("pictures/")
