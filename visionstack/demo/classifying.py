"""The demo's serverless half: pictures with known labels."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from runtime.inference.artifact import Artifact
from runtime.measurement.statistics import percentile
from visionstack import paths
from visionstack.classify.client import Classification, ClassifierClient
from visionstack.classify.trials import DeployedEnvironments
from visionstack.cloud.deployment import Deployment
from visionstack.console import err
from visionstack.errors import VisionstackError
from visionstack.models.building import current_folder
from visionstack.models.packages import FOOLBOX, fetch_members

LABELLED_PICTURES: Final = 8
_LABELLED: Final = re.compile(r"imagenet_\d+_(\d+)\.\w+$")
"""foolbox names its pictures after their ImageNet class."""
_MEMBERS: Final = "foolbox/data/imagenet_"


def labelled_pictures() -> list[Path]:
    """ImageNet pictures with their class in the name, from a package; none when it is not there."""
    folder = paths.MODELS / "cache" / "imagenet"
    if not folder.is_dir():
        try:
            fetch_members(FOOLBOX, _MEMBERS, cache=folder)
        except VisionstackError as error:
            err.print(f"[yellow]no labelled ImageNet pictures:[/] {error}")
            return []
    found = sorted(path for path in folder.iterdir() if _LABELLED.search(path.name))
    return found[:LABELLED_PICTURES]


def classify_samples(
    deployment: Deployment, client: ClassifierClient, *, tick: Callable[[int, int], object]
) -> dict[str, Any]:
    """The record's section: one cold call, then every sample on warm environments."""
    labelled = labelled_pictures()
    pictures = [paths.SAMPLES / "dog.jpg", *labelled]
    environments = DeployedEnvironments(deployment)
    try:
        environments.retire()
        cold = client.classify(pictures[0])
        answers = [cold]
        for number, picture in enumerate(pictures, start=1):
            answers.append(client.classify(picture))
            tick(number, len(pictures))
    finally:
        environments.restore()
    names = _class_names(cold.model["name"])
    requests = [_request(answer, names) for answer in answers]
    judged = [request for request in requests if "truth" in request]
    return {
        "requests": requests,
        "cold_ms": cold.seconds * 1000,
        "warm_ms": percentile([a.seconds * 1000 for a in answers if not a.cold], 50),
        "labelled": len(judged),
        "top1_right": sum(request["top"][0]["id"] == request["truth"]["id"] for request in judged),
    }


def _class_names(model: str) -> dict[str, str]:
    return {
        label.id: label.name
        for label in Artifact.load(current_folder(paths.MODELS, model)).labels()
    }


def _request(answer: Classification, names: dict[str, str]) -> dict[str, Any]:
    document = answer.to_json()
    path = Path(answer.file)
    labelled = _LABELLED.search(path.name)
    truth = {"truth": {"id": labelled[1], "label": names[labelled[1]]}} if labelled else {}
    model = document["model"]
    return {
        **document,
        "file": path.name,
        "path": str(path),
        "model": model["name"],
        "version": model["version"],
        "trained": model["trained"],
        **truth,
    }
