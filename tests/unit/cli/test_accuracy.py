"""`visionstack accuracy` as a user runs it, once, with the real model and server."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner

from visionstack.accuracy import session
from visionstack.accuracy.errors import LabelError
from visionstack.accuracy.inputs import read_clip
from visionstack.cli.main import app
from visionstack.errors import UsageError, VisionstackError
from visionstack.models.building import build
from visionstack.models.catalog import find_recipe
from visionstack.paths import MODELS, SAMPLES

FRAMES = 28
"""Of which the ground truth has the last, and one more."""


def beginning(folder: Path) -> tuple[Path, Path]:
    """The first frames of the sample clip, and their labels."""
    document = json.loads((SAMPLES / "ground_truth_pedestrians.json").read_text())
    images = [one for one in document["images"] if one["frame_index"] < FRAMES]
    known = {one["id"] for one in images}
    for one in images:
        one["file_name"] = "clip.avi"
    document["images"] = images
    document["annotations"] = [one for one in document["annotations"] if one["image_id"] in known]
    labels = folder / "labels.json"
    labels.write_text(json.dumps(document))
    clip = folder / "clip.avi"
    film = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (768, 576))
    for _, image in zip(range(FRAMES), read_clip(SAMPLES / "pedestrians.avi"), strict=False):
        film.write(image)
    film.release()
    return clip, labels


def test_a_clip_offline_and_streamed(tmp_path: Path) -> None:
    build(find_recipe("yolov3-tiny"), root=MODELS)
    clip, labels = beginning(tmp_path)
    out = tmp_path / "out"
    result = CliRunner().invoke(
        app,
        [
            *("accuracy", str(clip), "--labels", str(labels), "--stream", "--json"),
            *("--engine", "onnxruntime", "--fps", "5", "--round-trip", "0"),
            *("--round-trip", "10000", "--encoding", "jpeg", "--encoding", "h264"),
            *("--out", str(out)),
        ],
        catch_exceptions=False,
    )
    assert result.exit_code == 0
    figures = json.loads(result.stdout)
    (model,) = figures["models"]
    assert model["version"] == (MODELS / "yolov3-tiny" / "current").read_text().strip()
    assert model["mean_milliseconds"] > 0
    (offline,) = figures["against_labels"]
    assert offline["AP50"]["value"] > 0.4
    assert "too few" in offline["AP50"]["no_interval"]
    jpeg, late, video, _ = figures["streaming"]
    assert [one["encoding"] for one in figures["streaming"]] == ["jpeg", "jpeg", "h264", "h264"]
    assert jpeg["answered"] > 0
    assert video["answered"] > 0
    assert late["AP50"]["value"] == 0  # ten seconds later the clip is over: nothing was known
    assert 0 < video["kilobytes_per_second"] < jpeg["kilobytes_per_second"]
    assert {path.suffix for path in out.iterdir()} == {".json", ".html", ".md", ".csv"}


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (["gone.json"], UsageError, "There is no gone.json"),
        ([str(SAMPLES / "dog.jpg")], UsageError, "has no labels"),
        ([str(SAMPLES / "dog.jpg"), "--fps", "10"], UsageError, "need --stream"),
        ([str(SAMPLES / "dog.jpg"), "--encoding", "h264"], UsageError, "need --stream"),
        (
            [str(SAMPLES / "dog.jpg"), "--stream", "--encoding", "gif"],
            UsageError,
            "jpeg, png, webp, bgr, h264, not gif",
        ),
        (
            [str(SAMPLES / "ground_truth_pictures.json"), "--model", "efficientnet-lite0"],
            LabelError,
            "is a classifier",
        ),
        (
            [str(SAMPLES / "dog.jpg"), "--reference", "yolov3-tiny", "--stream"],
            UsageError,
            "need a clip and its --labels",
        ),
    ],
)
def test_what_cannot_be_measured_is_said(
    arguments: list[str], kind: type[Exception], message: str, tmp_path: Path
) -> None:
    build(find_recipe("efficientnet-lite0"), root=MODELS)
    with pytest.raises(kind, match=message):
        CliRunner().invoke(
            app, ["accuracy", *arguments, "--out", str(tmp_path)], catch_exceptions=False
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ground_truth_pictures.json", "--reference", "no-such-model"], "not built here"),
        (["ground_truth_pictures.json", "--model", "no-such-model"], "not built here"),
        (["pedestrians.avi", "--labels", "ground_truth_pedestrians.json", "--track"], "one object"),
    ],
)
def test_what_only_the_last_step_needs_is_missed_before_the_first(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(find_recipe("yolov3-tiny"), root=MODELS)
    monkeypatch.setattr(session, "_answered", lambda *_: pytest.fail("a model was run"))
    paths = [str(SAMPLES / one) if "." in one else one for one in arguments]
    with pytest.raises(VisionstackError, match=message):
        CliRunner().invoke(
            app,
            ["accuracy", *paths, "--model", "yolov3-tiny", "--out", str(tmp_path)],
            catch_exceptions=False,
        )
