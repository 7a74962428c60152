"""Models are built once, whole, and say what their weights are."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.inference.artifact import Artifact, Weights
from runtime.inference.engines import create_engine
from tests.unit.models.conftest import TINY_CFG, tiny_values, write_weights
from visionstack.errors import UsageError
from visionstack.models import building, classifiers, darknet_models, ultralytics_models
from visionstack.models.building import build, built_names, current_folder, ready
from visionstack.models.catalog import CATALOG, Recipe, find_recipe
from visionstack.models.draft import BuildContext, BuildOptions, Draft
from visionstack.models.errors import DownloadError, ModelError, WeightsError
from visionstack.paths import MODELS

SMALL = BuildOptions(size=96)


class Counting:
    """A recipe that counts how often it is followed."""

    def __init__(self, name: str = "yolov3-tiny") -> None:
        self.made = 0
        self._recipe = find_recipe(name)

    def recipe(self) -> Recipe:
        return Recipe(name=self._recipe.name, summary=self._recipe.summary, make=self._make)

    def _make(self, context: BuildContext) -> Draft:
        self.made += 1
        # The weights come from the checkout's cache, so that tests fetch them once.
        shared = BuildContext(options=context.options, cache=MODELS / "cache", say=context.say)
        return self._recipe.make(shared)


def test_a_second_build_does_nothing(tmp_path: Path) -> None:
    counting = Counting()
    first = build(counting.recipe(), root=tmp_path, options=SMALL)
    second = build(counting.recipe(), root=tmp_path, options=SMALL)
    assert (first.made, second.made, counting.made) == (True, False, 1)
    assert first.artifact == second.artifact
    assert current_folder(tmp_path, "yolov3-tiny") == first.artifact.folder
    assert built_names(tmp_path) == ["yolov3-tiny"]


def test_other_options_make_another_version_and_the_old_one_stays(tmp_path: Path) -> None:
    counting = Counting()
    small = build(counting.recipe(), root=tmp_path, options=SMALL).artifact
    large = build(counting.recipe(), root=tmp_path, options=BuildOptions(size=128)).artifact
    assert small.folder != large.folder
    assert current_folder(tmp_path, "yolov3-tiny") == large.folder
    assert Artifact.load(small.folder).manifest.input.width == 96
    assert Artifact.load(large.folder).manifest.input.width == 128


def test_a_model_built_from_another_cfg_is_built_again_as_another_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one with the mask 0,1,2, which earlier versions of this project had."""
    package = tmp_path / "models"
    shutil.copytree(Path(building.__file__).parent, package)
    old = package / "darknet_cfg" / "yolov3-tiny.cfg"
    old.write_text(old.read_text().replace("mask = 1,2,3", "mask = 0,1,2"))
    counting = Counting()
    with monkeypatch.context() as earlier:
        earlier.setattr(building, "__file__", str(package / "building.py"))
        earlier.setattr(darknet_models, "CFG", package / "darknet_cfg")
        before = build(counting.recipe(), root=tmp_path, options=SMALL).artifact
    now = build(counting.recipe(), root=tmp_path, options=SMALL)
    assert now.made
    assert before.manifest.anchors[1] == ((10, 14), (23, 27), (37, 58))
    assert now.artifact.manifest.anchors[1] == ((23, 27), (37, 58), (81, 82))
    assert now.artifact.folder != before.folder
    assert current_folder(tmp_path, "yolov3-tiny") == now.artifact.folder


def small_cfg(folder: Path, text: str = TINY_CFG) -> Path:
    path = folder / "mine.cfg"
    path.write_text(text)
    return path


def test_weights_of_the_users_own_come_with_their_cfg_and_labels(tmp_path: Path) -> None:
    (tmp_path / "mine.names").write_text("nut\nbolt\n")
    options = BuildOptions(
        cfg=small_cfg(tmp_path),
        weights=write_weights(tmp_path / "mine.weights", tiny_values()),
        labels=tmp_path / "mine.names",
    )
    recipe = find_recipe("yolov3-tiny", called="parts")
    artifact = build(recipe, root=tmp_path, options=options).artifact
    assert artifact.manifest.input.width == 64
    assert artifact.manifest.anchors == (((10, 14), (23, 27), (37, 58)),)
    assert [label.name for label in artifact.labels()] == ["nut", "bolt"]
    assert artifact.manifest.source == "given as mine.cfg"
    assert not build(recipe, root=tmp_path, options=options).made
    other = TINY_CFG.replace("mask = 3,4,5", "mask = 0,1,2")
    small_cfg(tmp_path, other)
    again = build(recipe, root=tmp_path, options=options)
    assert again.made
    assert again.artifact.manifest.anchors == (((1, 2), (3, 4), (5, 6)),)


@pytest.mark.parametrize(
    ("text", "names", "message"),
    [
        (TINY_CFG, None, r"mine\.cfg has 2 classes and there are 80 labels in COCO"),
        (TINY_CFG, "nut\n", r"mine\.cfg has 2 classes and there is 1 label in mine\.names"),
        (TINY_CFG, "nut\nnut\n", r"mine\.names, line 2: .nut. is named twice"),
        (TINY_CFG.replace("width=64", "width=96"), "a\nb\n", r"96x64"),
        (TINY_CFG.replace("classes=2", "classes=3"), "a\nb\nc\n", r"filters=21.*24"),
        (TINY_CFG.replace("mask = 3,4,5", "mask = 3,4,6"), "a\nb\n", r"mask=3,4,6.*6 anchors"),
        (TINY_CFG.replace("num=6", "num=6\nscale_x_y=1.05"), "a\nb\n", r"scale_x_y=1\.05"),
        ("[net]\nwidth", "a\nb\n", r"Line 2"),
    ],
)
def test_a_cfg_or_labels_that_do_not_fit_are_refused(
    tmp_path: Path, text: str, names: str | None, message: str
) -> None:
    if names is not None:
        (tmp_path / "mine.names").write_text(names)
    options = BuildOptions(
        cfg=small_cfg(tmp_path, text),
        weights=write_weights(tmp_path / "mine.weights", tiny_values()),
        labels=None if names is None else tmp_path / "mine.names",
    )
    with pytest.raises(ModelError, match=message):
        build(find_recipe("yolov3-tiny"), root=tmp_path / "models", options=options)


@pytest.mark.parametrize("option", ["cfg", "labels"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, option: str) -> None:
    with pytest.raises(ModelError, match=r"gone\.txt cannot be read: No such file"):
        build(
            find_recipe("yolov3-tiny"),
            root=tmp_path,
            options=BuildOptions(**{option: tmp_path / "gone.txt"}),
        )


def test_a_damaged_model_is_built_again(tmp_path: Path) -> None:
    counting = Counting()
    artifact = build(counting.recipe(), root=tmp_path, options=SMALL).artifact
    artifact.model_path.write_bytes(b"damaged")
    again = build(counting.recipe(), root=tmp_path, options=SMALL)
    assert again.made
    assert Artifact.load(again.artifact.folder)
    assert again.artifact.folder == artifact.folder


def test_building_again_by_force_gives_the_same_version(tmp_path: Path) -> None:
    counting = Counting()
    first = build(counting.recipe(), root=tmp_path, options=SMALL)
    again = build(counting.recipe(), root=tmp_path, options=SMALL, force=True)
    assert again.made
    assert again.artifact.folder == first.artifact.folder


def test_a_build_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    artifact = build(Counting().recipe(), root=tmp_path, options=SMALL).artifact
    wrong = tmp_path / "wrong.weights"
    wrong.write_bytes(bytes(1000))
    with pytest.raises(WeightsError, match="too few"):
        build(Counting().recipe(), root=tmp_path, options=BuildOptions(weights=wrong))
    assert current_folder(tmp_path, "yolov3-tiny") == artifact.folder
    left = {path.name for path in (tmp_path / "yolov3-tiny").iterdir()}
    assert left == {"current", "recipe.json", artifact.folder.name}


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be fetched, neither from an address nor out of a package."""

    def refuse(*_: Any, **__: Any) -> Path:
        raise DownloadError("It could not be fetched.")

    for module in (darknet_models, classifiers, ultralytics_models):
        monkeypatch.setattr(module, "fetch", refuse)
    for module in (darknet_models, classifiers):
        monkeypatch.setattr(module, "fetch_packaged", refuse)


@pytest.mark.usefixtures("unreachable")
@pytest.mark.parametrize("name", CATALOG)
def test_a_build_whose_weights_cannot_be_had_fails(tmp_path: Path, name: str) -> None:
    with pytest.raises(DownloadError, match="weights could not be had") as caught:
        build(find_recipe(name), root=tmp_path, options=SMALL)
    assert "--random" in str(caught.value.remedy)
    assert built_names(tmp_path) == []


@pytest.mark.usefixtures("unreachable")
@pytest.mark.parametrize("name", ["yolov3-tiny", "yolov3-tinyu", "efficientnet-lite0"])
def test_random_weights_are_taken_on_request_and_said_to_be_so(tmp_path: Path, name: str) -> None:
    options = BuildOptions(size=96, random=True)
    said: list[str] = []
    recipe = find_recipe(name)
    built = build(recipe, root=tmp_path, options=options, say=said.append)
    weights = built.artifact.manifest.weights
    assert not weights.trained
    assert weights.description.startswith("random")
    assert any(text.startswith("random weights, since") for text in said)
    assert build(recipe, root=tmp_path, options=options) == dataclasses.replace(built, made=False)


def test_a_model_with_random_weights_is_built_again_once_the_real_ones_can_be_had(
    tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.names").write_text("nut\nbolt\n")
    own = {"cfg": small_cfg(tmp_path), "labels": tmp_path / "mine.names"}
    yolov3 = find_recipe("yolov3")

    def make(context: BuildContext) -> Draft:
        options = dataclasses.replace(context.options, **own)
        return yolov3.make(dataclasses.replace(context, options=options))

    recipe = Recipe(name="yolov3", summary="a small one", make=make)
    with monkeypatch.context() as offline:
        offline.setattr(darknet_models, "YOLOV3_URL", "http://127.0.0.1:9/yolov3.weights")
        with pytest.raises(DownloadError, match="could not be had"):
            ready(recipe, root=tmp_path)
        built = build(recipe, root=tmp_path, options=BuildOptions(random=True)).artifact
        assert not built.manifest.weights.trained
        assert ready(recipe, root=tmp_path) == built
        with pytest.raises(DownloadError, match="could not be had"):
            build(recipe, root=tmp_path)
        assert current_folder(tmp_path, "yolov3") == built.folder
    server.content = write_weights(tmp_path / "official.weights", tiny_values()).read_bytes()
    monkeypatch.setattr(darknet_models, "YOLOV3_URL", server.url)
    monkeypatch.setattr(darknet_models, "YOLOV3_SHA256", hashlib.sha256(server.content).hexdigest())
    real = ready(recipe, root=tmp_path)
    assert real.manifest.weights == Weights(trained=True, description="darknet, official")
    assert current_folder(tmp_path, "yolov3") == real.folder
    assert not build(recipe, root=tmp_path, options=BuildOptions(random=True)).made


def test_an_address_that_the_user_gave_must_work(tmp_path: Path) -> None:
    options = BuildOptions(weights_url="http://127.0.0.1:9/mine.weights")
    for name in ("yolov3", "resnet18"):
        with pytest.raises(DownloadError, match="could not be fetched"):
            build(find_recipe(name), root=tmp_path, options=options)
        assert not (tmp_path / name / "current").exists()


def test_a_truncated_download_of_the_official_weights_is_refused(
    tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.content = bytes(100_000)
    options = BuildOptions(weights_url=server.url)
    with pytest.raises(DownloadError, match="instead of 248,007,048"):
        build(find_recipe("yolov3"), root=tmp_path, options=options)


def test_a_resnet_takes_the_weights_it_is_given(tmp_path: Path) -> None:
    import torch

    from visionstack.models.classifiers import resnet

    context = BuildContext(options=BuildOptions(random=True), cache=tmp_path, say=lambda _: None)
    network = resnet(context, name="resnet18").network
    with torch.no_grad():
        network.fc.bias[7] += 100  # type: ignore[union-attr, index, operator]
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    options = BuildOptions(weights=tmp_path / "mine.pth")
    artifact = build(find_recipe("resnet18"), root=tmp_path, options=options).artifact
    assert artifact.manifest.weights.trained
    assert artifact.manifest.weights.description == "given as mine.pth"
    assert artifact.manifest.flop == pytest.approx(3.63e9, rel=0.01)
    pictures = np.zeros((2, 224, 224, 3), np.uint8)
    (logits,) = create_engine("onnxruntime", artifact).run(pictures)
    assert logits.argmax(axis=1).tolist() == [7, 7]


def test_weights_that_do_not_fit_a_resnet_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.pth").write_bytes(b"nothing of the kind")
    options = BuildOptions(weights=tmp_path / "bad.pth")
    with pytest.raises(WeightsError, match="does not hold weights"):
        build(find_recipe("resnet18"), root=tmp_path, options=options)


@pytest.mark.parametrize("wrong", ["yolov3-tyni", "resnet51", "eficientnet-lite0"])
def test_an_unknown_model_is_answered_with_the_nearest(wrong: str) -> None:
    with pytest.raises(UsageError, match="There is no model") as caught:
        find_recipe(wrong)
    assert "Did you mean" in (caught.value.remedy or "")


def test_every_name_in_the_catalog_is_a_usable_name() -> None:
    assert all(find_recipe(name).name == name for name in CATALOG)


def test_a_name_that_s3_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="lower-case"):
        build(find_recipe("yolov3", called="My Model"), root=tmp_path)


def test_a_model_that_was_not_built_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not built here") as caught:
        current_folder(tmp_path, "yolov3")
    assert "models build yolov3" in (caught.value.remedy or "")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "visionstack.cli", "models", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def test_the_command_line_ends_with_a_sentence_and_the_right_code() -> None:
    unknown = command("build", "yolov3-tyni")
    assert unknown.returncode == 2
    assert "Did you mean yolov3-tiny" in unknown.stderr
    assert "Traceback" not in unknown.stderr
    size = command("build", "yolov3-tiny", "--size", "100")
    assert size.returncode == 2
    assert "multiple of 32" in size.stderr
    classifier = command("build", "resnet18", "--cfg", "mine.cfg")
    assert classifier.returncode == 2
    assert "--cfg and --labels are for yolov3 and yolov3-tiny" in classifier.stderr
    missing = command("verify", "resnet151")
    assert missing.returncode == 1
    assert "not built here" in missing.stderr
