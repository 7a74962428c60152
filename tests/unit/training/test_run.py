"""Training learns what can be learnt, resumes after a kill, and leaves a model that serves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from runtime.inference.artifact import Artifact
from runtime.inference.classification import Classifier
from tests.unit.training.conftest import fill
from visionstack.models.efficientnet import EfficientNetLite0
from visionstack.paths import IMPORT_ROOT, MODELS
from visionstack.training import run as run_module
from visionstack.training.dataset import Dataset, Pictures, read_dataset
from visionstack.training.errors import TrainingError
from visionstack.training.fitting import FitOptions, features, fit, judge, logits
from visionstack.training.networks import Backbone, Exported, find_backbone, own_network
from visionstack.training.plans import LITTLE, Candidate, candidates
from visionstack.training.products import list_products
from visionstack.training.report import report
from visionstack.training.run import Outcome, Plan, train
from visionstack.training.table import table1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("training")
    return fill(base / "products", {"P-1": 24, "P-2": 24, "P-3": 24})


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return read_dataset(list_products(folder), folder.parent / "squares", size=32)


def plan_in(base: Path, **given: Any) -> Plan:
    values = {"way": "scratch", "augment": False, "epochs": 12, "name": "mine", **given}
    return Plan(models=base / "models", folder=base / "out", **values)


@pytest.fixture(scope="module")
def looks() -> list[str]:
    return []


@pytest.fixture(scope="module")
def outcome(dataset: Dataset, folder: Path, looks: list[str]) -> Outcome:
    with pytest.MonkeyPatch.context() as patch:
        read = Pictures.pixels

        def counted(self: Pictures, chosen: Any) -> Any:
            if self is dataset.test:
                looks.extend(self.paths[at] for at in chosen)
            return read(self, chosen)

        patch.setattr(Pictures, "pixels", counted)
        return train(dataset, plan_in(folder.parent))


def test_what_differs_is_learnt(outcome: Outcome) -> None:
    (way,) = outcome.record["ways"]
    assert outcome.record["test"]["top1"]["share"] > 0.9
    assert way["epochs"][-1]["loss"] < way["epochs"][0]["loss"]
    best = min(way["epochs"], key=lambda epoch: epoch["val_loss"])
    assert way["best_epoch"] == best["number"]


def test_the_test_part_is_looked_at_once(
    outcome: Outcome, dataset: Dataset, looks: list[str]
) -> None:
    assert outcome.record["test"]["top1"]["of"] == len(dataset.test)
    assert sorted(looks) == sorted(dataset.test.paths)


def test_the_model_answers_with_the_users_ids(
    outcome: Outcome, dataset: Dataset, folder: Path
) -> None:
    classifier = Classifier.load(outcome.artifact.folder, engine="onnxruntime")
    right = 0
    for path, product in zip(dataset.test.paths, dataset.test.product, strict=True):
        best = classifier.classify((folder / path).read_bytes())[0]
        right += best.id == dataset.ids[product]
    assert right == outcome.record["test"]["top1"]["right"]
    assert outcome.record["onnx_difference"] < run_module.ALLOWED_DIFFERENCE


def test_the_artifact_says_how_it_was_trained(outcome: Outcome, dataset: Dataset) -> None:
    artifact = Artifact.load(outcome.artifact.folder)
    record = json.loads((artifact.folder / "training.json").read_text())
    assert record["products"]["sha256"] == dataset.hash
    assert record["products"]["train"] == len(dataset.train)
    assert record["test"] == outcome.record["test"]
    assert record["calibration"]["temperature"] > 0
    assert not record["unknown"]["on"]
    assert len(artifact.labels()) == 3


def test_the_report_has_curves_confusion_and_what_to_collect(
    outcome: Outcome, dataset: Dataset
) -> None:
    from visionstack.report.html import render

    page = render(report(outcome, dataset))
    for wanted in ("Validation loss", "Confusion matrix", "What to collect next", "doubtful"):
        assert wanted in page


def test_a_graph_that_differs_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    class Off(Exported):
        """Its trace, for ONNX, is another network than the one that is asked."""

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            traced = torch.jit.is_tracing()
            return super().forward(pictures) + (0.01 if traced else 0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("visionstack.training.networks.Exported", Off)
        with pytest.raises(TrainingError, match="answers otherwise than the trained network"):
            train(dataset, plan_in(tmp_path, epochs=1))
    assert not (tmp_path / "models" / "mine").exists()


def test_unknown_is_answered_below_the_threshold_and_only_there(
    dataset: Dataset, folder: Path, tmp_path: Path
) -> None:
    outcome = train(dataset, plan_in(tmp_path, unknown=True, epochs=2))
    below = outcome.record["unknown"]["below"]
    temperature = outcome.record["calibration"]["temperature"]
    classifier = Classifier.load(outcome.artifact.folder, engine="onnxruntime")
    shares = run_module.judging.softmax(outcome.test_logits, temperature).max(1)
    for path, share in zip(dataset.test.paths, shares, strict=True):
        if abs(share - below) > 1e-4:
            best = classifier.classify((folder / path).read_bytes())[0]
            assert (best.id == "unknown") == (share < below)


def test_the_unknown_logit_is_the_rule_of_the_largest_softmax() -> None:
    values = torch.randn(500, 4, generator=torch.Generator().manual_seed(0)) * 2
    found = Exported(lambda x: x, temperature=1.5, unknown_below=0.6)(values)
    sure = torch.softmax(values / 1.5, 1).max(1).values
    assert torch.equal(found.argmax(1) == 4, sure < 0.6)


def test_a_run_that_is_killed_goes_on_and_ends_as_if_it_had_not_been(
    folder: Path, tmp_path: Path
) -> None:
    program = [sys.executable, "-m", "tests.unit.training.five_epochs", str(folder)]
    with subprocess.Popen(
        [*program, str(tmp_path / "killed")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=IMPORT_ROOT,
    ) as killed:
        assert killed.stdout is not None
        while killed.stdout.readline().strip() != "3":
            assert killed.poll() is None
        killed.send_signal(signal.SIGKILL)
    told = subprocess.run(
        [*program, str(tmp_path / "whole"), str(tmp_path / "killed")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=IMPORT_ROOT,
        check=True,
    ).stdout.split()
    assert told[:5] == ["1", "2", "3", "4", "5"]
    assert told[5] in {"3", "4"}  # the third epoch was told before it was saved
    record, other = (
        json.loads((tmp_path / name / "out" / "training.json").read_text())
        for name in ("whole", "killed")
    )
    assert other["test"] == record["test"]
    losses = [[e["val_loss"] for e in one["ways"][0]["epochs"]] for one in (record, other)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_a_disk_that_fills_while_a_checkpoint_is_saved_is_a_sentence(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("visionstack.training.fitting.torch.save", full)
    with pytest.raises(TrainingError, match="could not be written: No space left on device") as e:
        train(dataset, plan_in(tmp_path))
    assert "goes on from the last epoch" in (e.value.remedy or "")
    assert not list(tmp_path.rglob("*.ckpt*"))


def test_too_little_memory_is_a_sentence(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(*_: Any, **__: Any) -> None:
        torch.empty(2**60)

    monkeypatch.setattr("visionstack.training.fitting.functional.cross_entropy", greedy)
    with pytest.raises(TrainingError, match="not enough memory for 32 pictures at a time"):
        train(dataset, plan_in(tmp_path))


def test_early_stopping_ends_a_run_that_no_longer_gains(dataset: Dataset, tmp_path: Path) -> None:
    options = FitOptions(folder=tmp_path, features=tmp_path, epochs=60, patience=2)
    held = dataset.validation
    mislabelled = replace(held, product=(held.product + 1) % 3)  # learning can only do harm
    _, found = fit(
        Candidate("head"), own_network(), dataset.train, mislabelled, products=3, options=options
    )
    assert found.stopped_by == "early stopping"
    assert len(found.epochs) == found.best.number + 2


def test_a_frozen_network_is_run_once_and_stays_as_it_was(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = own_network()
    before = {name: value.clone() for name, value in backbone.body.state_dict().items()}
    passes: list[int] = []
    forward = Backbone.features

    def counted(self: Backbone, pictures: torch.Tensor) -> torch.Tensor:
        passes.append(len(pictures))
        return forward(self, pictures)

    monkeypatch.setattr(Backbone, "features", counted)
    candidate = Candidate("head")
    for seed in (0, 1):
        options = FitOptions(
            folder=tmp_path / str(seed), features=tmp_path, epochs=3, patience=3, seed=seed
        )
        network, _ = fit(
            candidate, backbone, dataset.train, dataset.validation, products=3, options=options
        )
    assert sum(passes) == len(dataset.train) + len(dataset.validation)
    for name, value in network.body.state_dict().items():
        assert torch.equal(value, before[name])
    quick = judge(candidate, network, backbone, dataset.test, tmp_path)
    assert np.allclose(quick, logits(network, backbone, dataset.test), atol=0.05)


def test_augmented_features_are_of_other_pictures(dataset: Dataset, tmp_path: Path) -> None:
    rows, copies = features(own_network(), dataset.train, tmp_path, copies=2)
    count = len(dataset.train)
    assert (copies, len(rows)) == (3, 3 * count)
    one, other = rows.read([0])[0], rows.read([count])[0]
    assert not np.allclose(one, other)


@pytest.mark.parametrize(
    ("per_product", "pretrained", "way", "why"),
    [
        (LITTLE, True, "head", "last layer only, since 200 training pictures a product are little"),
        (LITTLE + 1, True, "all", "all layers, since 201 training pictures a product are much"),
        (10, False, "all", "no pre-trained weights"),
    ],
)
def test_the_way_follows_the_data_and_says_why(
    per_product: float, pretrained: bool, way: str, why: str
) -> None:
    found, told = candidates("auto", augment=None, per_product=per_product, pretrained=pretrained)
    assert [(one.way, one.augmented) for one in found] == [(way, False), (way, True)]
    assert why in told


def test_the_pretrained_network_keeps_what_it_knew() -> None:
    backbone = find_backbone("efficientnet-lite0", size=32, cache=MODELS / "cache", say=print)
    full: Any = EfficientNetLite0(32)
    path = MODELS / "cache" / "efficientnet-lite0-57934424.pth"
    full.load_state_dict(torch.load(path, weights_only=True))
    pictures = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        features = backbone.body.eval()(pictures)
        assert features.shape == (2, backbone.width)
        assert torch.equal(full.eval()(pictures), full._fc(features))


def test_what_timm_offers_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    make = timm.create_model

    def unreachable(name: str, *, pretrained: bool, num_classes: int) -> Any:
        if pretrained:
            raise OSError("no hub here")
        return make(name, pretrained=False, num_classes=num_classes)

    monkeypatch.setattr(timm, "create_model", unreachable)
    found = find_backbone("mobilenetv3_small_050", size=64, cache=MODELS / "cache", say=print)
    assert found.body(torch.zeros(1, 3, 64, 64)).shape == (1, found.width)
    assert not found.weights.trained
    assert "random" in found.weights.description
    from visionstack.errors import UsageError

    with pytest.raises(UsageError, match="There is no backbone 'resnet51'"):
        find_backbone("resnet51", size=64, cache=MODELS / "cache", say=print)


def test_augmentation_changes_pictures_within_bounds_and_by_its_seed(dataset: Dataset) -> None:
    from visionstack.training.augmentation import augment

    pictures = torch.from_numpy(dataset.train.pixels(range(6))).permute(0, 3, 1, 2).float()
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


def test_table_1_counts_the_networks_weights() -> None:
    rows = {row["model"]: row for row in table1()}
    assert len(rows) == 5
    for row in rows.values():
        assert row["computed"]["megabytes"] == pytest.approx(row["paper"]["megabytes"], rel=0.02)
        assert row["published"]["top1_error"] == pytest.approx(row["paper"]["top1_error"], abs=0.2)
