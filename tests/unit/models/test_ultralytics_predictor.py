"""Pictures in, boxes out: the same as Ultralytics' own predictor gives for the same weights.

Random weights will do, as long as scores differ from box to box: where many are 1.0 the order of
suppression is that of rounding.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.inference.detector import Detector
from runtime.inference.pictures import decode_bgr
from visionstack.models.building import build
from visionstack.models.catalog import find_recipe
from visionstack.models.classifiers import torchvision_models
from visionstack.models.draft import BuildOptions
from visionstack.models.ultralytics_models import import_tasks
from visionstack.paths import MODELS, SAMPLES

SIZE = 320
CONFIDENCE, IOU = 0.25, 0.5
SMALL_RTDETR: dict[str, Any] = {
    "nc": 3,
    "scales": {"l": [1.0, 1.0, 1024]},
    "backbone": [
        [-1, 1, "HGStem", [8, 16]],
        [-1, 1, "HGBlock", [16, 32, 3]],
        [-1, 1, "DWConv", [32, 3, 2, 1, False]],
        [-1, 1, "HGBlock", [16, 64, 3]],
        [-1, 1, "DWConv", [64, 3, 2, 1, False]],
        [-1, 1, "HGBlock", [32, 128, 5, True, False]],
    ],
    "head": [
        [-1, 1, "Conv", [64, 1, 1, None, 1, 1, False]],
        [-1, 1, "AIFI", [128, 8]],
        [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
        [3, 1, "Conv", [64, 1, 1, None, 1, 1, False]],
        [[-2, -1], 1, "Concat", [1]],
        [-1, 1, "RepC3", [64]],
        [-1, 1, "Conv", [64, 3, 2]],
        [[-1, 7], 1, "Concat", [1]],
        [-1, 1, "RepC3", [64]],
        [[11, 14], 1, "RTDETRDecoder", ["nc", 64, 60, 4, 8, 2]],
    ],
}
"""rtdetr-l's layers, fewer and narrower: its own take a minute to trace."""
Rows = NDArray[np.float32]


@pytest.fixture(scope="module")
def pictures() -> list[NDArray[np.uint8]]:
    return [decode_bgr((SAMPLES / name).read_bytes()) for name in ("dog.jpg", "person.jpg")]


@pytest.fixture(
    scope="module",
    params=["yolov8n.yaml", "yolo11n.yaml", "yolov10n.yaml", "yolo26n.yaml", SMALL_RTDETR],
    ids=lambda param: param if isinstance(param, str) else "rtdetr",
)
def checkpoint(
    request: pytest.FixtureRequest,
    pictures: list[NDArray[np.uint8]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A network of three classes, random, whose batch statistics are those of the pictures."""
    import cv2
    import torch

    torchvision_models()  # the predictor's warm-up imports it
    tasks = import_tasks(MODELS / "cache")
    torch.manual_seed(11)
    transformer = request.param is SMALL_RTDETR
    kind = tasks.RTDETRDetectionModel if transformer else tasks.DetectionModel
    network = kind(request.param, nc=3, verbose=False)
    network.names = {0: "bolt", 1: "nut", 2: "washer"}
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None
    square = np.stack([cv2.resize(picture, (SIZE, SIZE)) for picture in pictures])
    planes = torch.from_numpy(square[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255
    network.train()
    with torch.no_grad():
        network(planes)
    network.eval()
    head = network.model[-1]
    if transformer:
        torch.nn.init.normal_(head.dec_score_head[-1].weight, 0, 0.5)
    for name in ("cv3", "one2one_cv3"):
        for layers in getattr(head, name, None) or ():
            torch.nn.init.normal_(layers[-1].weight, 0, 0.05)
            torch.nn.init.normal_(layers[-1].bias, -2, 0.5)
    path = tmp_path_factory.mktemp("checkpoints") / "bolts.pt"
    torch.save({"model": network, "train_args": {}}, path)
    return path


def predicted(
    checkpoint: Path, picture: NDArray[np.uint8], *, suppressing: bool, transformer: bool
) -> Rows:
    """Ultralytics' rows x1, y1, x2, y2, score, class.

    `rect=False` letterboxes to a full square, as a network with one input size needs it;
    `nms=False` is how its predictor is told to take the head that needs no suppression. RT-DETR's
    leaves boxes that reach out of the picture as they are; ours end at its edge.
    """
    from ultralytics import RTDETR, YOLO

    options: dict[str, Any] = {} if suppressing else {"nms": False}
    (found,) = (RTDETR if transformer else YOLO)(str(checkpoint)).predict(
        picture,
        imgsz=SIZE,
        rect=False,
        conf=CONFIDENCE,
        iou=IOU,
        max_det=300,
        agnostic_nms=False,
        device="cpu",
        save=False,
        verbose=False,
        **options,
    )
    rows = np.asarray(found.boxes.data.numpy(), np.float32)
    height, width = picture.shape[:2]
    rows[:, [0, 2]] = rows[:, [0, 2]].clip(0, width)
    rows[:, [1, 3]] = rows[:, [1, 3]].clip(0, height)
    return rows


def without_a_like(rows: Rows, others: Rows) -> Rows:
    """Rows that have none among the others within half a pixel and 0.005 of their score."""
    apart = np.abs(rows[:, None] - others[None])
    like = (apart[..., :4].max(-1) < 0.5) & (apart[..., 4] < 5e-3) & (apart[..., 5] < 0.5)
    return rows[~like.any(axis=1)]


def test_boxes_are_those_of_ultralytics_own_predictor(
    checkpoint: Path, pictures: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    recipe = find_recipe(str(checkpoint), called="bolts")
    artifact = build(recipe, root=tmp_path, options=BuildOptions(size=SIZE)).artifact
    detector = Detector.load(artifact, engine="onnxruntime")
    for picture in pictures:
        prepared = detector.prepare(picture)
        (raw,) = detector.infer([prepared])
        boxes = detector.boxes(raw, prepared, confidence=CONFIDENCE, iou=IOU)
        ours = np.hstack([boxes.xyxy, boxes.confidence[:, None], boxes.class_id[:, None]])
        suppressing = artifact.manifest.family != "end-to-end"
        transformer = artifact.manifest.preprocessing.kind == "stretch"
        theirs = predicted(checkpoint, picture, suppressing=suppressing, transformer=transformer)
        assert len(theirs) >= 5
        assert len(ours) == len(theirs)
        for rows, others in ((theirs, ours), (ours, theirs)):
            alone = without_a_like(rows, others)
            assert not len(alone), f"unmatched: {alone[:5]}"
