"""Ultralytics' networks: a checkpoint of the user's, or one of its own by name."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from runtime.inference.artifact import Family, Preprocessing, Weights
from visionstack.models.downloads import RemoteFile, fetch
from visionstack.models.draft import RANDOM, BuildContext, Draft, read_labels
from visionstack.models.errors import ModelError, WeightsError

ASSETS: Final = "https://github.com/ultralytics/assets/releases/download/v8.4.0"
"""The release that ultralytics 8.4's `attempt_download_asset` takes its own weights from."""
LICENCE: Final = "AGPL-3.0 (Ultralytics)"
DEFAULT_SIZE: Final = 416
GREY: Final = 114
_STRIDE: Final = 32


def make_official(context: BuildContext, *, name: str, yaml: str, size: int) -> Draft:
    """`name` with the weights that Ultralytics publishes, or with a checkpoint given instead.

    `size` is the input's side in pixels where the user names none.
    """
    options = dataclasses.replace(context.options, size=context.options.size or size)
    context = dataclasses.replace(context, options=options)
    if context.options.weights:
        return make_from_checkpoint(context, context.options.weights)
    url = context.options.weights_url or f"{ASSETS}/{name}.pt"
    remote = RemoteFile(url=url, name=url.rpartition("/")[2])
    path = context.real_weights(lambda: fetch(remote, cache=context.cache, say=context.say))
    if path:
        draft = make_from_checkpoint(context, path)
        weights = Weights(trained=True, description=f"Ultralytics, official, {remote.name}")
        return dataclasses.replace(draft, weights=weights, source=f"ultralytics {name}")
    tasks = import_tasks(context.cache)
    import torch

    context.say(f"building {yaml}")
    kind = tasks.RTDETRDetectionModel if yaml.startswith("rtdetr") else tasks.DetectionModel
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = kind(yaml, verbose=False)
    return _draft(context, network, read_labels("coco"), RANDOM, source=f"ultralytics {yaml}")


def make_from_checkpoint(context: BuildContext, path: Path) -> Draft:
    """A detection checkpoint (`.pt`). It is a pickle: open only those you trust."""
    if not path.is_file():
        raise WeightsError(f"There is no checkpoint at {path}.")
    tasks = import_tasks(context.cache)
    context.say(f"reading {path.name}")
    network = _load(tasks, path)
    if network.task != "detect":
        raise WeightsError(f"{path} is a checkpoint for {network.task}, not for detection.")
    names = network.names
    labels = [str(names[number]) for number in range(len(names))]
    weights = Weights(trained=True, description=f"given as {path.name}")
    return _draft(context, network, labels, weights, source="ultralytics checkpoint")


def _load(tasks: Any, path: Path) -> Any:
    """The network that this very file holds.

    Ultralytics takes the name `yolov3.pt` (or `-tiny`, `-spp`) for a wish for its own `yolov3u.pt`
    and fetches that, and it leaves apostrophes out of paths: it is given a name without either.
    """
    with TemporaryDirectory() as folder:
        plain = Path(folder) / "checkpoint.pt"
        plain.symlink_to(path.resolve())
        try:
            network, _ = tasks.load_checkpoint(str(plain))
        except Exception as error:  # a pickle can raise anything
            told = (str(error).splitlines() or [repr(error)])[0].replace(str(plain), path.name)
            raise WeightsError(
                f"{path} is no Ultralytics checkpoint: {told}",
                remedy="Give a .pt file that Ultralytics saved.",
            ) from error
    return network


def _draft(
    context: BuildContext, network: Any, labels: list[str], weights: Weights, *, source: str
) -> Draft:
    from visionstack.models.torch_export import export_detector

    size = context.options.size or DEFAULT_SIZE
    if size % _STRIDE:
        raise ModelError(f"The input's size must be a multiple of {_STRIDE}, not {size}.")
    head = network.model[-1]
    # YOLOv10, YOLO26 and later: the head that they were trained to need no suppression with.
    if getattr(head, "one2one_cv2", None) is not None:
        network.end2end = True
    network = network.float().eval().fuse(verbose=False)
    transformer = type(head).__name__ == "RTDETRDecoder"
    suppresses = transformer or getattr(head, "end2end", False)
    family: Family = "end-to-end" if suppresses else "ultralytics"
    head.export, head.format, head.dynamic = True, "onnx", False
    stem = network.model[0]
    first = stem.stem1.conv if hasattr(stem, "stem1") else stem.conv
    # Pictures have blue first and go to 255; the network was trained on red first, up to 1.
    first.weight.data = first.weight.data.flip(1) / 255
    context.say("exporting to ONNX")
    return Draft(
        model=export_detector(network, size=size, boxes="centred" if transformer else "as given"),
        task="detect",
        family=family,
        size=size,
        # RTDETRPredictor has scale_fill: trained on pictures that fill the input.
        preprocessing=Preprocessing(kind="stretch" if transformer else "letterbox", fill=GREY),
        labels=labels,
        weights=weights,
        source=source,
        licence=LICENCE,
    )


def import_tasks(cache: Path) -> Any:
    """`ultralytics.nn.tasks`, kept from what it does besides when it is imported.

    It would write settings to the home folder, look for packages to install, and replace Pillow's
    `Image.open` for the whole process.
    """
    from PIL import Image

    os.environ.setdefault("YOLO_CONFIG_DIR", str(cache))
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ.setdefault("YOLO_VERBOSE", "false")
    os.environ.setdefault("YOLO_OFFLINE", "true")
    pillows_own = Image.open
    try:
        from ultralytics.nn import tasks
    finally:
        Image.open = pillows_own
    return tasks
