"""EC2 instance types: processors, memory, architecture and accelerator.

The data is `ec2_instance_types.csv`, made from Karpenter's generated instance types
(https://github.com/aws/karpenter-provider-aws, Apache-2.0). Prices are `visionstack.cost.prices`'.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

from runtime.contract import Arch
from stacks.errors import UnknownInstanceTypeError

Compute = Literal["cpu", "gpu"]

_DATA: Final = Path(__file__).with_name("ec2_instance_types.csv")
_RETIRED_FAMILIES: Final = frozenset({"p2", "p3"})
"""AWS starts none of these any more; the papers' tables are of them."""
_SMALLEST_MIB: Final = 2048
"""Below this an engine, OpenCV and one network do not fit into memory together."""
_DEEP_LEARNING_AMI: Final = "oss-nvidia-driver-gpu-pytorch-2.11-ubuntu-24.04"
"""AWS ended the patches of 2.9 on 2026-10-15. There are release notes of this one for both
architectures: 2026-08-17 (x86_64) and 2026-10-09 (arm64, G5g)."""
_DEEP_LEARNING_AMI_FAMILIES: Final = frozenset(
    {"g4dn", "g5", "g5g", "g6", "gr6", "g6e", "p4d", "p4de", "p5", "p5e", "p5en", "p6-b200"}
)
"""Families that AWS names in the release notes of that image."""


@dataclass(frozen=True, slots=True)
class InstanceType:
    """One EC2 instance type.

    `gpu_memory_mib` is that of one GPU. A `gpu_count` of 0 beside a `gpu` means a share of one.
    `accelerator` is a chip that is no GPU (Inferentia, Trainium).
    """

    name: str
    vcpus: int
    memory_mib: int
    arch: Arch
    gpu: str | None
    gpu_manufacturer: str | None
    gpu_count: int
    gpu_memory_mib: int
    accelerator: str | None

    @property
    def family(self) -> str:
        """The part before the dot: `g6` of `g6.xlarge`."""
        return self.name.partition(".")[0]

    @property
    def compute(self) -> Compute:
        """Which of the instance packages fits: `gpu` where there is an NVIDIA one."""
        return "gpu" if self.gpu_manufacturer == "nvidia" else "cpu"

    @property
    def root_volume_gib(self) -> int:
        """Size of its disk where no setting names another.

        The Deep Learning AMI's own snapshot is 75 GiB and more; Amazon Linux and a network fit
        in 30.
        """
        return 100 if self.compute == "gpu" else 30

    @property
    def retired(self) -> bool:
        """Whether AWS no longer starts this type."""
        return self.family in _RETIRED_FAMILIES

    @property
    def image_parameter(self) -> str | None:
        """SSM parameter in which AWS publishes the newest image for this type.

        Amazon Linux 2023 for CPU, the Deep Learning AMI with PyTorch for NVIDIA GPUs; None where
        that image does not support the GPU, so that an image has to be named.
        """
        if self.compute == "cpu":
            return f"/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{self.arch}"
        if self.family not in _DEEP_LEARNING_AMI_FAMILIES:
            return None
        return f"/aws/service/deeplearning/ami/{self.arch}/{_DEEP_LEARNING_AMI}/latest/ami-id"

    @property
    def unused_accelerator(self) -> str | None:
        """An accelerator one would pay for and no engine of this project can use."""
        if self.accelerator is not None:
            return self.accelerator
        return self.gpu if self.gpu_manufacturer not in (None, "nvidia") else None

    @property
    def idle_gpus(self) -> int:
        """GPUs that one would pay for and that do nothing: a server uses the first."""
        return max(0, self.gpu_count - 1)

    @property
    def obstacle(self) -> str | None:
        """Why nothing of this project can be started on the type; None where it can."""
        if self.retired:
            return f"AWS has retired {self.name}"
        if self.unused_accelerator:
            return f"no engine here can use the {self.unused_accelerator} of {self.name}"
        if self.memory_mib < _SMALLEST_MIB:
            return f"{self.name} has less than {_SMALLEST_MIB} MiB of memory"
        return None


class Catalog(Mapping[str, InstanceType]):
    """Instance types by name, in the order of the data file."""

    def __init__(self, types: Mapping[str, InstanceType]) -> None:
        self._types = dict(types)

    @classmethod
    @cache
    def load(cls) -> Catalog:
        """The catalog that comes with the project (read once a process)."""
        with _DATA.open(newline="", encoding="utf-8") as file:
            return cls({row["instance_type"]: _instance_type(row) for row in csv.DictReader(file)})

    def __getitem__(self, name: str) -> InstanceType:
        try:
            return self._types[name]
        except KeyError:
            near = difflib.get_close_matches(name, self._types, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"{_DATA.name} lists them."
            raise UnknownInstanceTypeError(
                f"{name!r} is not in the catalog of {len(self._types)} instance types; {hint}"
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._types

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)


def _instance_type(row: Mapping[str, str]) -> InstanceType:
    return InstanceType(
        name=row["instance_type"],
        vcpus=int(row["vcpus"]),
        memory_mib=int(row["memory_mib"]),
        arch="arm64" if row["arch"] == "arm64" else "x86_64",
        gpu=row["gpu"] or None,
        gpu_manufacturer=row["gpu_manufacturer"] or None,
        gpu_count=int(row["gpu_count"] or 0),
        gpu_memory_mib=int(row["gpu_memory_mib"] or 0),
        accelerator=row["accelerator"] or None,
    )
