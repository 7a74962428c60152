"""What is looked at stays between client and server: the engines tell nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.inference.conftest import MakeArtifact
from visionstack.paths import IMPORT_ROOT

USE = """
import sys
__import__(sys.argv[2])
from pathlib import Path
from runtime.inference.artifact import Artifact
from runtime.inference.engines import create_engine
for name in ("openvino", "onnxruntime"):
    create_engine(name, Artifact.load(Path(sys.argv[1])))
print(sorted({one.partition(".")[0] for one in sys.modules} & {"openvino", "onnxruntime"}))
"""


@pytest.mark.parametrize("first", ["runtime", "visionstack.models.onnx_graph"])
def test_the_engines_report_to_nobody(
    make_artifact: MakeArtifact, tmp_path: Path, first: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    # Both leave an identifier of the user in the home folder before they send anything. In CI,
    # which they know by variables, they do not.
    done = subprocess.run(
        [sys.executable, "-c", USE, str(make_artifact().folder), first],
        env={"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(IMPORT_ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['onnxruntime', 'openvino']"
    assert [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()] == []
