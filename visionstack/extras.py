"""Which extra of this package brings a library that is not installed."""

from __future__ import annotations

from typing import Final

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
    "constructs": "aws",
    "pydantic": "aws",
    "faster_coco_eval": "compare",
    "jinja2": "compare",
    "locust": "compare",
    "matplotlib": "compare",
    "mlcommons_loadgen": "compare",
    "torch": "train",
    "torchvision": "train",
    "ultralytics": "train",
}
"""Top-level module to extra, as pyproject.toml has them."""


class MissingExtraError(VisionstackError):
    """A library is missing that an extra of this package brings."""


def explain(error: ModuleNotFoundError) -> MissingExtraError | None:
    """The sentence for a missing library; None where no extra has it, which is a fault."""
    module = (error.name or "").partition(".")[0]
    extra = EXTRAS.get(module)
    if extra is None:
        return None
    return MissingExtraError(
        f"This needs the library {module}, which is not installed.",
        remedy=f"Install it with: pip install 'visionstack[{extra}]'",
    )
