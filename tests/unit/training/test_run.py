"""Training learns what can be learnt, records it, and leaves a model that serves."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime.inference.classification import Classifier
from visionstack.models.efficientnet import EfficientNetLite0
from visionstack.paths import MODELS
from visionstack.training.curves import draw
from visionstack.training.fitting import fit
from visionstack.training.networks import own_network, pretrained
from visionstack.training.products import Pictures, Products
from visionstack.training.run import Outcome, Plan, table1, train

SIZE = 32
COLOURS = ((200, 60, 60), (60, 200, 60), (60, 60, 200))


def colours(count: int, seed: int) -> Pictures:
    """Noisy squares of three colours."""
    random = np.random.default_rng(seed)
    product = np.arange(count) % 3
    noise = random.normal(0, 25, (count, SIZE, SIZE, 3))
    pixels = np.clip(np.array(COLOURS)[product][:, None, None] + noise, 0, 255)
    return Pictures(pixels=pixels.astype(np.uint8), product=product.astype(np.int64))


@pytest.fixture(scope="module")
def products() -> Products:
    return Products(
        ids=("P-1", "P-2", "P-3"),
        names=("red", "green", "blue"),
        train=colours(48, 1),
        test=colours(24, 2),
        source="colours",
        size=SIZE,
    )


@pytest.fixture(scope="module")
def outcome(products: Products, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("training")
    plan = Plan(
        ways=("scratch",),
        epochs=4,
        seconds=60,
        name="colours",
        models=folder / "models",
        out=folder / "out",
    )
    return train(products, plan)


def test_what_differs_by_colour_is_learnt(outcome: Outcome) -> None:
    (way,) = outcome.record["ways"]
    assert way["top1"] > 0.9
    assert way["epochs"][-1]["loss"] < way["epochs"][0]["loss"]
    assert 1 <= len(way["epochs"]) <= 4
    assert way["stopped_by"] == "epochs"


def test_the_model_answers_with_the_users_ids(outcome: Outcome, products: Products) -> None:
    classifier = Classifier.load(outcome.artifact.folder, engine="onnxruntime")
    right = 0
    for pixels, product in zip(products.test.pixels, products.test.product, strict=True):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        best = classifier.classify(file.getvalue())[0]
        right += best.id == products.ids[product]
        assert best.label in products.names
    # The artifact is as good as the network that was trained, within a picture of rounding.
    assert abs(right / 24 - outcome.record["ways"][0]["top1"]) <= 1 / 24 + 1e-9


def test_the_record_is_on_the_disk_and_says_what_was_done(outcome: Outcome, tmp_path: Path) -> None:
    path = outcome.artifact.folder.parents[2] / "out" / "training.json"
    record = json.loads(path.read_text())
    assert record == json.loads(json.dumps(outcome.record))
    assert record["kind"] == "measured"
    assert record["artifact"]["version"] == outcome.artifact.manifest.version
    assert record["products"]["train"] == 48
    assert "Figure 3" in record["paper"]["figure"]
    drawn = draw(record, tmp_path)
    assert drawn[0].read_text().lstrip().startswith("<?xml")
    assert drawn[1].read_bytes().startswith(b"\x89PNG")


def test_table_1_counts_the_networks_weights(products: Products) -> None:
    rows = {row["model"]: row for row in table1()}
    assert len(rows) == 5
    for row in rows.values():
        assert row["computed"]["megabytes"] == pytest.approx(row["paper"]["megabytes"], rel=0.02)
        assert row["published"]["top1_error"] == pytest.approx(row["paper"]["top1_error"], abs=0.2)


def test_training_ends_when_its_time_is_over(products: Products) -> None:
    begun = time.monotonic()
    result = fit(own_network(3), products, augmented=True, epochs=10_000, seconds=0.5)
    assert result.stopped_by == "time"
    assert len(result.epochs) < 10_000
    assert time.monotonic() - begun < 60


def test_the_pretrained_network_keeps_what_it_knew(products: Products) -> None:
    import torch

    backbone = pretrained(3, size=SIZE, cache=MODELS / "cache", say=lambda _: None)
    assert backbone.last in ("fc.", "_fc.")
    full = EfficientNetLite0(size=SIZE)
    if isinstance(backbone.network, EfficientNetLite0):
        path = MODELS / "cache" / "efficientnet-lite0-57934424.pth"
        full.load_state_dict(torch.load(path, weights_only=True))
        pictures = torch.randn(2, 3, SIZE, SIZE)
        with torch.no_grad():
            expected = full.eval().features(pictures)
            found = backbone.network.eval().features(pictures)
        assert torch.equal(expected, found)


def test_augmentation_changes_pictures_within_bounds_and_by_its_seed() -> None:
    import torch

    from visionstack.training.augmentation import augment

    pictures = torch.from_numpy(colours(6, 3).pixels).permute(0, 3, 1, 2).float()
    once, again, other = (
        augment(pictures, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert once.shape == pictures.shape
    assert once.min() >= 0
    assert once.max() <= 255
    # Lighting, size and rotation leave a thing the colour that it is.
    assert (once.mean((2, 3)).argmax(1) == pictures.mean((2, 3)).argmax(1)).all()
