"""The paper's three ways on a user's products: trained, recorded as they go, the best one kept.

`training.json` is written after every epoch; docs/papers.md takes the paper's Table 1 and Figure 3
from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from runtime.inference.artifact import Artifact, Weights
from visionstack.models.downloads import Say
from visionstack.training.products import Products

if TYPE_CHECKING:
    from visionstack.training.fitting import Epoch
    from visionstack.training.networks import Backbone

Way = Literal["scratch", "pretrained", "augmented"]
WAYS: Final[tuple[Way, ...]] = ("scratch", "pretrained", "augmented")
_NAMES: Final[dict[Way, str]] = {
    "scratch": "own CNN from scratch",
    "pretrained": "pre-trained network",
    "augmented": "pre-trained network with augmentation (size, rotation, lighting)",
}
_PAPER: Final = Path(__file__).parents[1] / "paper_reference.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to train, for how long at most (seconds for each way), and where to write."""

    ways: Sequence[Way]
    epochs: int
    seconds: float
    name: str
    models: Path
    out: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """The record as it was written, and the artifact of the best way."""

    record: dict[str, Any]
    artifact: Artifact


def train(
    products: Products,
    plan: Plan,
    *,
    say: Say = lambda _: None,
    told: Callable[[str, Epoch], None] = lambda *_: None,
) -> Outcome:
    """Train in each way of the plan. Raises `ModelError` kinds when no weights can be had."""
    from visionstack.training.fitting import fit

    record = _record(products)
    done: list[tuple[Backbone, dict[str, Any]]] = []
    for way in plan.ways:
        say(f"{_NAMES[way]}: preparing")
        backbone = _backbone(way, products, plan, say)
        row = _row(way, backbone)
        record["ways"].append(row)

        def note(epoch: Epoch, row: dict[str, Any] = row) -> None:
            row["epochs"].append(asdict(epoch))
            _write(record, plan.out)
            told(row["name"], epoch)

        say(f"{_NAMES[way]}: training")
        result = fit(
            backbone,
            products,
            augmented=way == "augmented",
            epochs=plan.epochs,
            seconds=plan.seconds,
            told=note,
        )
        row |= {
            "top1": result.best.top1,
            "top5": result.best.top5,
            "best_epoch": result.best.number,
            "seconds": result.epochs[-1].seconds,
            "stopped_by": result.stopped_by,
        }
        _write(record, plan.out)
        done.append((backbone, row))
    backbone, row = max(done, key=lambda pair: float(pair[1]["top1"]))
    artifact = _artifact(products, plan, backbone, row, say)
    record["artifact"] = {
        "name": artifact.manifest.name,
        "version": artifact.manifest.version,
        "way": row["way"],
        "bytes": sum(entry.bytes for entry in artifact.manifest.files.values()),
    }
    _write(record, plan.out)
    return Outcome(record, artifact)


def _record(products: Products) -> dict[str, Any]:
    from runtime.measurement import machine

    return {
        "schema": 1,
        "kind": "measured",
        "machine": machine.describe().to_json(),
        "versions": machine.versions(),
        "products": {
            "source": products.source,
            "count": len(products.ids),
            "train": len(products.train),
            "test": len(products.test),
            "size": products.size,
            "ids": list(products.ids),
        },
        "paper": {
            "figure": "Figure 3",
            "conditions": "30 products, about 100 pictures of each from the web, ResNet50; the "
            "figure prints no numbers",
        },
        "table1": table1(),
        "ways": [],
    }


def table1() -> list[dict[str, Any]]:
    """The paper's Table 1 beside what can be said without ImageNet's test pictures.

    `computed`: the weights' megabytes (MiB, float32) counted from the network; `published`: the
    errors that torchvision publishes with the weights it offers.
    """
    import torch

    from visionstack.models.classifiers import torchvision_models

    models = torchvision_models()
    rows = []
    for entry in json.loads(_PAPER.read_text("utf-8"))["serverless_2020"]["resnet_imagenet"]:
        name = entry["model"]
        weights = models.get_model_weights(name)["IMAGENET1K_V1"]
        with torch.device("meta"):
            network = models.get_model(name, weights=None)
        numbers = sum(values.numel() for values in network.state_dict().values())
        metrics = weights.meta["_metrics"]["ImageNet-1K"]
        rows.append(
            {
                "model": name,
                "paper": {key: value for key, value in entry.items() if key != "model"},
                "computed": {"megabytes": round(4 * numbers / 2**20, 1)},
                "published": {
                    "by": "torchvision, IMAGENET1K_V1",
                    "top1_error": round(100 - metrics["acc@1"], 2),
                    "top5_error": round(100 - metrics["acc@5"], 2),
                },
            }
        )
    return rows


def _backbone(way: Way, products: Products, plan: Plan, say: Say) -> Backbone:
    import torch

    from visionstack.models.building import CACHE
    from visionstack.training.networks import own_network, pretrained

    with torch.random.fork_rng():
        torch.manual_seed(0)
        if way == "scratch":
            return own_network(len(products.ids))
        cache = plan.models / CACHE
        return pretrained(len(products.ids), size=products.size, cache=cache, say=say)


def _row(way: Way, backbone: Backbone) -> dict[str, Any]:
    from visionstack.training.networks import parameters

    return {
        "way": way,
        "name": _NAMES[way],
        "network": backbone.described,
        "starting_weights": backbone.weights,
        "parameters": parameters(backbone.network),
        "epochs": [],
    }


def _artifact(
    products: Products, plan: Plan, backbone: Backbone, row: dict[str, Any], say: Say
) -> Artifact:
    from visionstack.models.building import write_artifact
    from visionstack.models.classifiers import ClassifierNetwork, classifier_draft
    from visionstack.models.draft import BuildContext, BuildOptions
    from visionstack.training.networks import preprocessing

    classifier = ClassifierNetwork(
        network=backbone.network,
        size=products.size,
        preprocessing=preprocessing(products.size),
        mean=backbone.mean,
        deviation=backbone.deviation,
        weights=Weights(
            trained=True,
            description=f"{row['name']}, {len(products.train)} pictures of {len(products.ids)} "
            f"products ({products.source}), test top 1 {row['top1']:.1%}",
        ),
        source=backbone.described,
        licence=backbone.licence,
    )
    context = BuildContext(options=BuildOptions(), cache=plan.models, say=say)
    draft = classifier_draft(context, classifier, labels=products.labels)
    return write_artifact(plan.name, draft, root=plan.models, say=say)


def _write(record: dict[str, Any], folder: Path) -> None:
    from visionstack.report.write import replace_file

    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "training.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
