"""Classes that label files and models call by different names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_COCO_NAMES: Final = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pedestrian": "person",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}
"""PASCAL VOC's names, which darknet's coco.names has, and MOTChallenge's, to COCO's."""


def coco_name(name: str) -> str:
    """COCO's name of the class; any other name as it is, without regard to case or `_`."""
    plain = name.strip().lower().replace("_", " ")
    return _COCO_NAMES.get(plain, plain)


def unknown_names(names: Iterable[str], model: Iterable[str]) -> list[str]:
    """Those of `names` that are none of the model's classes."""
    known = {coco_name(name) for name in model}
    return [name for name in names if coco_name(name) not in known]
