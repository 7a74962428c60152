"""EfficientNet-Lite0, as its ImageNet weights are laid out in `efficientnet-lite0-57934424.pth`.

The network: Tan and Le 2019 (arXiv:1905.11946) in the Lite variant of TensorFlow's TPU models:
ReLU6, no squeeze and excitation, stem and head not scaled. Inputs are (pixel - 127) / 128.
Module names are those of the weights file. Importing this imports torch.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import nn
from torch.nn import functional

_EPSILON: Final = 1e-3
_MOMENTUM: Final = 0.01
_STAGES: Final = (
    # repeats, kernel, stride, expansion, channels in, channels out
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


class _SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME: the odd pixel at the bottom and right."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, size: int, groups: int = 1
    ) -> None:
        whole = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        super().__init__(
            inputs, outputs, kernel, stride=stride, padding=whole // 2, groups=groups, bias=False
        )
        self.odd = whole % 2

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's own name
        if self.odd:
            # Shifting the symmetric padding by one: a row and a column more at the far side.
            input = functional.pad(input, (0, 1, 0, 1))  # noqa: A001
        return super().forward(input)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPSILON, momentum=_MOMENTUM)


class _Block(nn.Module):
    """Inverted residual: expand, depthwise, project, and add the input where shapes agree."""

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int, stride: int, expansion: int, size: int
    ) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expands = expansion != 1
        self.adds = stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = _SameConv(inputs, inner, 1, size=size)
            self._bn0 = _norm(inner)
        self._depthwise_conv = _SameConv(
            inner, inner, kernel, stride=stride, size=size, groups=inner
        )
        self._bn1 = _norm(inner)
        self._project_conv = _SameConv(inner, outputs, 1, size=size)
        self._bn2 = _norm(outputs)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        inner = features
        if self.expands:
            inner = functional.relu6(self._bn0(self._expand_conv(inner)))
        inner = functional.relu6(self._bn1(self._depthwise_conv(inner)))
        inner = self._bn2(self._project_conv(inner))
        result: torch.Tensor = inner + features if self.adds else inner
        return result


class EfficientNetLite0(nn.Module):
    """Logits (batch, 1000) of normalised pictures (batch, 3, size, size), red first."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._conv_stem = _SameConv(3, 32, 3, stride=2, size=size)
        self._bn0 = _norm(32)
        size = -(-size // 2)
        blocks: list[nn.Module] = []
        for repeats, kernel, stride, expansion, inputs, outputs in _STAGES:
            for repeat in range(repeats):
                step = stride if repeat == 0 else 1
                blocks.append(
                    _Block(
                        inputs if repeat == 0 else outputs,
                        outputs,
                        kernel=kernel,
                        stride=step,
                        expansion=expansion,
                        size=size,
                    )
                )
                size = -(-size // step)
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = _SameConv(320, 1280, 1, size=size)
        self._bn1 = _norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        maps = functional.relu6(self._bn0(self._conv_stem(pictures)))
        for block in self._blocks:
            maps = block(maps)
        features = functional.relu6(self._bn1(self._conv_head(maps))).mean((2, 3))
        logits: torch.Tensor = self._fc(features)
        return logits
