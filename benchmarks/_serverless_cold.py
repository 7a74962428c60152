"""Cold starts of the function's packages, each in a process of its own, S3 being the embedded
cloud's: from the interpreter's start to the first answer, the emulator's unpacking not in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from runtime.contract import PICTURES_PREFIX, Env, Output, Stack
from stacks.settings.model import PackageTarget
from visionstack import paths
from visionstack.cloud import local_defaults
from visionstack.cloud.deployment import Deployment
from visionstack.packaging.build import ensure
from visionstack.packaging.libraries import archive_of
from visionstack.packaging.recipes import recipe

CHILD = Path(__file__).with_name("_serverless_child.py")
INTERPRETER = paths.CLOUD_VENV / "bin" / "python"
PICTURE = paths.SAMPLES / "dog.jpg"
PICTURE_PATH = "benchmark/dog.jpg"
MEMORY_MIB = 1769
"""One processor."""


class ColdStarts:
    """Starts execution environments of one deployment's function, by packaging and model."""

    def __init__(self, deployment: Deployment, *, workplace: Path) -> None:
        self._workplace = workplace
        outputs = deployment.outputs(Stack.STORAGE)
        self._artifacts = outputs[Output.ARTIFACTS_BUCKET]
        self._pictures = outputs[Output.PICTURES_BUCKET]
        self._endpoint = str(deployment.endpoint_url)
        self._s3 = deployment.client("s3")
        self._s3.upload_file(str(PICTURE), self._pictures, f"{PICTURES_PREFIX}{PICTURE_PATH}")

    def build(self, packaging: str, model: str) -> Path:
        """The package of one way, its libraries in S3 where that is the way.

        What is measured is a copy (of links): a build beside this one may replace the original.
        """
        folder = built_package(packaging, model)
        libraries = archive_of(folder)
        if libraries is not None:
            key, archive = libraries
            self._s3.upload_file(str(archive), self._artifacts, key)
        return Path(
            shutil.copytree(folder, self._workplace / f"{packaging}-{model}", copy_function=os.link)
        )

    def start(self, package: Path, *, model: str, warm_calls: int) -> dict[str, Any]:
        """One environment's life. Raises `RuntimeError` with its last words."""
        variables = {
            "AWS_ENDPOINT_URL": self._endpoint,
            Env.ARTIFACTS_BUCKET: self._artifacts,
            Env.PICTURES_BUCKET: self._pictures,
            Env.MODEL: model,
        }
        return live([str(INTERPRETER), "-s"], package, variables, warm_calls=warm_calls)


def built_package(packaging: str, model: str) -> Path:
    """The function's package for this machine's Python, up to date."""
    arch: Literal["arm64", "x86_64"] = (
        "arm64" if local_defaults.architecture() == "arm64" else "x86_64"
    )
    target = PackageTarget("classifier", local_defaults.python_version(), arch, packaging)
    return ensure(recipe(target, classifier_model=model)).folder


def live(
    interpreter: Sequence[str], package: Path, variables: Mapping[str, str], *, warm_calls: int
) -> dict[str, Any]:
    """The life of one execution environment, in a process of its own.

    Args:
        interpreter: the command that has nothing but the package on its path.
        package: the function's.
        variables: its environment, with `AWS_ENDPOINT_URL`.
        warm_calls: to make after the first, and again after a wake-up, which is left out with 0.

    Raises:
        RuntimeError: it did not answer; with its last words.
    """
    with tempfile.TemporaryDirectory(prefix="visionstack-cold-") as scratch:
        environment = {
            "PATH": os.defpath,
            "LAMBDA_TASK_ROOT": str(package),
            "TMPDIR": scratch,
            # /var/task is read-only.
            "PYTHONDONTWRITEBYTECODE": "1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEMORY_MIB),
            "BENCHMARK_PICTURE": PICTURE_PATH,
            "BENCHMARK_PICTURE_FILE": str(PICTURE),
            **variables,
        }
        command = [*interpreter, str(CHILD), str(time.monotonic()), str(warm_calls)]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
    for line in done.stdout.splitlines():
        if line.startswith("RESULT"):
            result: dict[str, Any] = json.loads(line.removeprefix("RESULT"))
            return result
    raise RuntimeError(f"{package.name}: {done.stderr[-800:]}")
