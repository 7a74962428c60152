"""What stands in a comparison's rows: an instance type, a Lambda setting, or this machine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, get_args

from runtime.contract import Arch, ColdStart, EngineChoice, Packaging, Stack
from stacks.catalog import Catalog
from stacks.errors import UnknownInstanceTypeError
from visionstack.compare.errors import RowUsageError

LAMBDA_FORM: Final = "MEMORY[:ARCH[:PACKAGING[:COLD_START[:ENGINE]]]]"
_ARCHES: Final[tuple[str, ...]] = get_args(Arch)
_PACKAGINGS: Final[tuple[str, ...]] = get_args(Packaging)
_COLD_STARTS: Final[tuple[str, ...]] = get_args(ColdStart)
_ENGINES: Final[tuple[EngineChoice, ...]] = ("auto", "onnxruntime", "torch")
"""Those that a function's package, or its libraries in S3, can hold."""


class Kind(StrEnum):
    """What a row measures."""

    INSTANCE = "instance"
    FUNCTION = "lambda"
    MACHINE = "machine"
    DARKNET = "darknet"


@dataclass(frozen=True)
class FunctionSetting:
    """A Lambda function as a row names it."""

    memory_mib: int
    arch: str = "x86_64"
    packaging: str = "auto"
    cold_start: str = "none"
    engine: str = "auto"
    """What runs the network; `auto` is the fastest that the package holds."""

    @property
    def name(self) -> str:
        """As in the table."""
        name = f"Lambda {self.memory_mib} MB, {self.arch}, {self.packaging}, {self.cold_start}"
        return name if self.engine == "auto" else f"{name}, {self.engine}"

    @property
    def stacks(self) -> list[str]:
        """Those it is deployed with, storage first."""
        return [Stack.STORAGE, Stack.CLASSIFIER, *[Stack.WARMER] * (self.cold_start == "warmer")]

    def context(self) -> dict[str, object]:
        """The deployment settings that make this function."""
        return {
            "lambda_memory_mib": self.memory_mib,
            "lambda_arch": self.arch,
            "packaging": self.packaging,
            "cold_start": self.cold_start,
            "classifier_engine": self.engine,
        }


def parse_function(text: str, *, arch: str = "x86_64") -> FunctionSetting:
    """From `1769:x86_64:package:warmer`; what is left out or empty has its default.

    Raises:
        RowUsageError: a part is unknown, or the memory is no size that Lambda has.
    """
    parts = text.split(":")
    try:
        memory = int(parts[0])
    except ValueError:
        raise RowUsageError(
            f"{parts[0]!r} in --lambda {text} is no memory size.",
            remedy=f"Write {LAMBDA_FORM}, such as 1769:{arch}:package:warmer.",
        ) from None
    if not 128 <= memory <= 10_240 or len(parts) > 5:
        raise RowUsageError(
            f"--lambda {text} cannot be.",
            remedy=f"Write {LAMBDA_FORM}; memory is 128 to 10,240 MB.",
        )
    values = [arch, _PACKAGINGS[0], _COLD_STARTS[0], _ENGINES[0]]
    for place, (given, allowed) in enumerate(
        zip(parts[1:], (_ARCHES, _PACKAGINGS, _COLD_STARTS, _ENGINES), strict=False)
    ):
        if not given:
            continue
        if given not in allowed:
            raise RowUsageError(
                f"{given!r} in --lambda {text} is unknown.",
                remedy=f"Allowed there: {', '.join(allowed)}.",
            )
        values[place] = given
    setting = FunctionSetting(memory, *values)
    if setting.engine == "torch" and setting.packaging != "s3-packages":
        raise RowUsageError(
            f"--lambda {text} cannot be: torch is too large for a function's package.",
            remedy="Write s3-packages, which fetches it from S3 at a cold start.",
        )
    return setting


def check_instance_type(name: str) -> None:
    """Refuse a type that does not exist, before anything is planned.

    Raises:
        RowUsageError: the catalog does not list it.
    """
    try:
        Catalog.load()[name]
    except UnknownInstanceTypeError as error:
        raise RowUsageError(str(error), remedy="Name a type of the catalog.") from error
