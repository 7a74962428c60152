"""Everything a deployment lets its user choose, checked before anything is synthesized.

`cdk … -c name=value` overrides one setting of `cdk.json` under `context.visionstack`. Values from
the command line are strings: lists are written with commas, booleans as `true` or `false`, and an
empty value means "none".
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, model_validator

from runtime import contract
from stacks.catalog import Catalog, InstanceType
from stacks.errors import SettingsError
from stacks.packages import PackageTarget
from stacks.settings.context import belongs_to_cdk, read_context
from stacks.settings.fields import SettingFields
from stacks.settings.rules import contradictions
from stacks.settings.sentences import sentences

__all__ = ["DeploymentSettings", "PackageTarget", "SettingsError"]


class DeploymentSettings(SettingFields):
    """The choices behind one deployment. Immutable; every value has been checked."""

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Self:
        wrong = contradictions(self)
        if wrong:
            raise _ContradictionError(wrong)
        return self

    @classmethod
    def from_context(cls, context: Mapping[str, Any]) -> Self:
        """Settings from CDK's context: the object `visionstack`, overridden by single keys.

        Raises:
            SettingsError: with one sentence for each key that is wrong.
        """
        defaults = context.get(contract.PROJECT, {})
        if not isinstance(defaults, Mapping):
            raise SettingsError([f"context.{contract.PROJECT} in cdk.json must be an object."])
        single = {
            key: value
            for key, value in context.items()
            if key != contract.PROJECT and not belongs_to_cdk(key)
        }
        try:
            return cls.model_validate({**defaults, **single})
        except _ContradictionError as error:
            raise SettingsError(error.sentences) from None
        except ValidationError as error:
            raise SettingsError(sentences(error, cls.model_fields)) from None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], *, cdk_json: Path) -> Self:
        """Settings for a program that `cdk` started, or that was started without it.

        See `stacks.settings.context.read_context` for where it looks.

        Raises:
            SettingsError: as `from_context`, and when a source is no JSON.
        """
        return cls.from_context(read_context(environ, cdk_json=cdk_json))

    @property
    def trusted_stream(self) -> str | None:
        """Host and port of the stream's WebSocket where browsers know its certificate."""
        return f"{self.stream_host}:{self.stream_http_port}" if self.certificate_arn else None

    @property
    def wheels_python(self) -> str:
        """Python version that the functions' packages are built for."""
        return self.lambda_wheels_python or self.lambda_python

    def classifier_package(self) -> PackageTarget:
        """The classifier's package."""
        return PackageTarget("classifier", self.wheels_python, self.lambda_arch, self.packaging)

    def warmer_package(self) -> PackageTarget:
        """The warmer's package."""
        return PackageTarget("warmer", self.wheels_python, self.lambda_arch)

    def instance_package(self, instance_type: InstanceType) -> PackageTarget:
        """The package that an instance of this type installs."""
        return PackageTarget(
            "instance", self.instance_python, instance_type.arch, instance_type.compute
        )

    def package_targets(self, catalog: Catalog) -> tuple[PackageTarget, ...]:
        """Every package that this deployment needs, each once."""
        targets = [
            self.instance_package(catalog[name])
            for name in (self.instance_type, *self.instance_types)
        ]
        targets.append(self.classifier_package())
        if self.cold_start == "warmer":
            targets.append(self.warmer_package())
        return tuple(dict.fromkeys(targets))


class _ContradictionError(Exception):
    """Two settings that do not go together; no ValueError, so that pydantic lets it through."""

    def __init__(self, sentences: list[str]) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = sentences
