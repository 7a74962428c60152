"""The paper's table 1, its ResNets, beside what can be said without ImageNet's pictures."""

from __future__ import annotations

from typing import Any

from visionstack.paper_reference import reference


def table1() -> list[dict[str, Any]]:
    """The paper's Table 1 beside what can be said without ImageNet's test pictures.

    `computed`: the weights' megabytes (MiB, float32) counted from the network; `published`: the
    errors that torchvision publishes with the weights it offers.
    """
    import torch

    from visionstack.models.classifiers import torchvision_models

    models = torchvision_models()
    rows = []
    for entry in reference()["serverless_2020"]["resnet_imagenet"]:
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
