"""Which extra of this package brings a library that is not installed."""

from __future__ import annotations

from typing import Any, Final

from visionstack.errors import VisionstackError

EXTRAS: Final = {
    "av": "video",
    "cv2": "video",
    "numpy": "video",
    "PIL": "serve",
    "cryptography": "serve",
    "lap": "serve",
    "onnx": "serve",
    "onnxruntime": "serve",
    "openvino": "serve",
    "prometheus_client": "serve",
    "psutil": "serve",
    "pythonjsonlogger": "serve",
    "segno": "serve",
    "websockets": "serve",
    "aws_cdk": "aws",
    "boto3": "aws",
    "botocore": "aws",
    "cdk_nag": "aws",
    "constructs": "aws",
    "pydantic": "aws",
    "faster_coco_eval": "compare",
    "jinja2": "compare",
    "locust": "compare",
    "matplotlib": "compare",
    "mlperf_loadgen": "compare",
    "motrics": "compare",
    "yaml": "compare",
    "pytorch_lightning": "train",
    "timm": "train",
    "torch": "train",
    "torchvision": "train",
    "ultralytics": "train",
}
"""Top-level module to extra, as pyproject.toml has them."""

MEASURING: Final = ("faster_coco_eval", "jinja2", "matplotlib", "yaml")
"""What scores and reports measurements, imported when the measuring is over."""


class MissingExtraError(VisionstackError):
    """A library is missing that an extra of this package brings."""


def require(*modules: str) -> None:
    """Ask for libraries before the work that they are to finish. Raises MissingExtraError."""
    for module in missing(*modules):
        raise _missing(module, EXTRAS[module])


def missing(*modules: str) -> list[str]:
    """Those of the libraries that are not installed; without any named, of all."""
    from importlib.util import find_spec

    return [module for module in modules or EXTRAS if find_spec(module) is None]


def explain(error: ModuleNotFoundError) -> MissingExtraError | None:
    """The sentence for a missing library; None where no extra has it, which is a fault."""
    module = (error.name or "").partition(".")[0]
    extra = EXTRAS.get(module)
    if extra is None:
        return None
    return _missing(module, extra)


def _missing(module: str, extra: str) -> MissingExtraError:
    return MissingExtraError(
        f"This needs the library {module}, which is not installed.",
        remedy=f"Install it with: pip install '{requirement(extra)}'",
    )


def requirement(extra: str) -> str:
    """This package with an extra, as pip is asked for it: from where it was installed.

    A name alone would be looked up in a package index, where it may be another project's. What was
    installed by its name has no record of another origin (PEP 610).
    """
    import json  # these two take a third of `visionstack --help`
    from importlib import metadata

    installed = metadata.distribution("visionstack")
    origin: dict[str, Any] = json.loads(installed.read_text("direct_url.json") or "{}")
    named = f"visionstack[{extra}]"
    if not origin:
        return f"{named}=={installed.version}"
    address = origin["url"]
    if version_control := origin.get("vcs_info"):
        # Without "@" and the commit: errors show nothing of an address before an "@".
        address = f"{version_control['vcs']}+{address}"
    return f"{named} @ {address}"
