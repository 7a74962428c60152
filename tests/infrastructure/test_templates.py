"""Every combination of settings synthesizes, without a finding of cdk-nag or of cfn-lint."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import lint
from cfnlint.config import ManualArgs

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def lint_once() -> Callable[[str], list[str]]:
    """cfn-lint's findings on a template; combinations share some, and each takes seconds."""
    # W3005: CDK names dependencies twice. W3010: zones that the setting availability_zones names
    # are written down on purpose.
    config = ManualArgs(ignore_checks=["W3005", "W3010"], regions=["us-east-1"])
    return functools.cache(lambda text: [str(match) for match in lint(text, config=config)])


@pytest.mark.parametrize("name", ["defaults", "gpu", "arm", "comparison", "page"])
def test_cfn_lint_and_cdk_nag_find_nothing(
    name: str, synthesized: Any, lint_once: Callable[[str], list[str]]
) -> None:
    # Synthesis runs cdk-nag and raises on its findings.
    found = {path.name: lint_once(path.read_text()) for path in synthesized(name).files}
    assert found == {path.name: [] for path in synthesized(name).files}


def test_cdk_nag_stops_a_stack_that_is_not_safe(archives: Any, tmp_path: Path) -> None:
    from aws_cdk import aws_s3

    from stacks.app import build_app

    app = build_app(archives=archives, outdir=str(tmp_path))
    storage = app.node.find_child("visionstack-storage")
    aws_s3.Bucket(storage, "Unsafe")
    with pytest.raises(RuntimeError, match=r"(?s)ValidationFailed.*AwsSolutions-S1"):
        app.synth()


def test_the_settings_choose_the_stacks(synthesized: Any) -> None:
    common = {"storage", "streaming", "classifier"}
    expected = {
        "defaults": {*common, "warmer"},
        "gpu": common,
        "comparison": {*common, "comparison"},
        "page": {*common, "page"},
    }
    for name, suffixes in expected.items():
        assert synthesized(name).stacks == {f"visionstack-{suffix}" for suffix in suffixes}
    assert synthesized("arm").stacks == {f"second-{suffix}" for suffix in common}


def test_a_stack_that_is_not_wanted_is_deleted_by_a_deploy(synthesized: Any) -> None:
    assert synthesized("defaults").empty == {"visionstack-comparison", "visionstack-page"}
    assert synthesized("page").empty == {"visionstack-comparison", "visionstack-warmer"}
    assert synthesized("comparison").empty == {"visionstack-warmer", "visionstack-page"}


def test_no_stack_holds_another_back_by_importing_from_it(synthesized: Any) -> None:
    for name in ("defaults", "gpu", "arm", "comparison", "page"):
        for path in synthesized(name).files:
            text = path.read_text()
            assert "Fn::ImportValue" not in text
            assert '"Export"' not in text


def test_synthesis_is_the_same_every_time(defaults: Any, archives: Any, tmp_path: Path) -> None:
    from stacks.app import build_app

    build_app(archives=archives, outdir=str(tmp_path), checks=False).synth()
    for path in defaults.files:
        assert json.loads((tmp_path / path.name).read_text()) == json.loads(path.read_text())


def test_a_wrong_setting_ends_the_app_with_one_sentence_and_no_traceback() -> None:
    ended = subprocess.run(
        [sys.executable, "app.py"],
        cwd=CHECKOUT,
        env={**os.environ, "CDK_CONTEXT_JSON": json.dumps({"instance_type": "g6.xlrage"})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    said = [line for line in ended.stderr.splitlines() if not line.startswith("b'!!")]
    assert len(said) == 1
    assert said[0].startswith("instance_type")
    assert "'g6.xlrage'" in said[0]
    assert "g6.xlarge" in said[0]
