"""The models that can be built by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from visionstack.errors import UsageError
from visionstack.models.draft import BuildContext, Draft


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a model is made."""

    name: str
    summary: str
    make: Callable[[BuildContext], Draft]


def _yolov3_tiny(context: BuildContext) -> Draft:
    from visionstack.models.darknet_models import make_yolov3_tiny

    return make_yolov3_tiny(context)


def _yolov3(context: BuildContext) -> Draft:
    from visionstack.models.darknet_models import make_yolov3

    return make_yolov3(context)


def _ultralytics(name: str, *, yaml: str, size: int) -> Callable[[BuildContext], Draft]:
    def make(context: BuildContext) -> Draft:
        from visionstack.models.ultralytics_models import make_official

        return make_official(context, name=name, yaml=yaml, size=size)

    return make


def _efficientnet_lite0(context: BuildContext) -> Draft:
    from visionstack.models.classifiers import efficientnet_lite0, make_classifier

    return make_classifier(context, efficientnet_lite0(context))


def _resnet(name: str) -> Callable[[BuildContext], Draft]:
    def make(context: BuildContext) -> Draft:
        from visionstack.models.classifiers import make_classifier, resnet

        return make_classifier(context, resnet(context, name=name))

    return make


_RECIPES: Final = (
    Recipe(
        name="yolov3-tiny",
        summary="detector, 80 COCO classes, darknet's official weights",
        make=_yolov3_tiny,
    ),
    Recipe(
        name="yolov3",
        summary="detector, 80 COCO classes, darknet's official weights",
        make=_yolov3,
    ),
    Recipe(
        name="yolov3-tinyu",
        summary="Ultralytics' yolov3-tiny, 80 COCO classes, its official weights",
        make=_ultralytics("yolov3-tinyu", yaml="yolov3-tiny.yaml", size=416),
    ),
    Recipe(
        name="yolov3u",
        summary="Ultralytics' yolov3, 80 COCO classes, its official weights",
        make=_ultralytics("yolov3u", yaml="yolov3.yaml", size=416),
    ),
    *(
        Recipe(
            name=name,
            summary=f"detector, 80 COCO classes, Ultralytics' official weights{suppressing}",
            make=_ultralytics(name, yaml=f"{name}.yaml", size=640),
        )
        for family, sizes, suppressing in (
            ("yolo26", "nsml", ", needs no suppression"),
            ("yolo11", "nsml", ""),
            ("yolov10", "nsml", ", needs no suppression"),
            ("rtdetr-", "lx", ", a transformer, needs no suppression"),
        )
        for name in (family + size for size in sizes)
    ),
    Recipe(
        name="efficientnet-lite0",
        summary="classifier, 1,000 ImageNet classes, trained",
        make=_efficientnet_lite0,
    ),
    *(
        Recipe(
            name=name,
            summary="classifier, 1,000 ImageNet classes, torchvision's weights",
            make=_resnet(name),
        )
        for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
    ),
)
CATALOG: Final = {recipe.name: recipe for recipe in _RECIPES}
DARKNET: Final = ("yolov3", "yolov3-tiny")
"""Those that are made of a cfg, which a user may replace."""


def find_recipe(name: str, *, called: str | None = None) -> Recipe:
    """The recipe of a name in the catalog or of a path to a `.pt` checkpoint.

    A checkpoint's model is called `called`, or as its file. Raises `UsageError` with the nearest
    names for an unknown one.
    """
    if name.endswith(".pt"):
        path = Path(name)

        def make(context: BuildContext) -> Draft:
            from visionstack.models.ultralytics_models import make_from_checkpoint

            return make_from_checkpoint(context, path)

        return Recipe(name=called or path.stem.lower(), summary=f"checkpoint {path}", make=make)
    if name not in CATALOG:
        near = difflib.get_close_matches(name, CATALOG, n=3)
        raise UsageError(
            f"There is no model {name!r}.",
            remedy=(f"Did you mean {' or '.join(near)}? " if near else "")
            + f"There are {', '.join(CATALOG)}, and any Ultralytics checkpoint by its path (.pt).",
        )
    recipe = CATALOG[name]
    return Recipe(name=called, summary=recipe.summary, make=recipe.make) if called else recipe
