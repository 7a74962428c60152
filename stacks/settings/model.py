"""Everything a deployment lets its user choose, checked before anything is synthesized.

The defaults stand in `cdk.json` under `context.visionstack`; `cdk … -c name=value` overrides one of
them. Values from the command line are strings: lists are written with commas, booleans as `true` or
`false`, and an empty value means "none".
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from runtime import contract
from stacks.catalog import Arch, Catalog, InstanceType
from stacks.errors import SettingsError
from stacks.packages import PackageTarget
from stacks.settings.context import belongs_to_cdk, read_context
from stacks.settings.rules import contradictions, hour_span, is_scenario, startable
from stacks.settings.sentences import sentences

__all__ = ["DeploymentSettings", "PackageTarget", "SettingsError"]

LOG_RETENTION_DAYS: Final = (1, 3, 5, 7, 14, 30, 60, 90, 120, 180, 365, 400, 545, 731, 1827, 3653)
"""The retention times that CloudWatch Logs knows."""


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _none_if_empty(value: Any) -> Any:
    return None if value == "" else value


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Scopes = Annotated[tuple[Literal["picture", "network"], ...], BeforeValidator(_split)]
OptionalInt = Annotated[int | None, BeforeValidator(_none_if_empty)]
OptionalText = Annotated[str | None, BeforeValidator(_none_if_empty)]
LambdaPython = Literal["3.12", "3.13", "3.14"]
WheelsPython = Literal["3.11", "3.12", "3.13", "3.14"]


def _setting(default: Any, meaning: str, *, allowed: str, **constraints: Any) -> Any:
    return Field(
        default, description=meaning, json_schema_extra={"allowed": allowed}, **constraints
    )


class DeploymentSettings(BaseModel):
    """The choices behind one deployment. Immutable; every value has been checked."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    # --- both lanes ---
    prefix: str = _setting(
        contract.PROJECT,
        "first part of every stack's name",
        allowed="3 to 20 small letters, digits and hyphens, beginning with a letter",
        pattern=r"^[a-z][a-z0-9-]{1,18}[a-z0-9]$",
    )
    retain_data: bool = _setting(
        False,
        "keep the buckets and what is in them on a later cdk destroy",
        allowed="true or false",
    )
    log_retention_days: int = _setting(
        30, "days that logs are kept", allowed=", ".join(map(str, LOG_RETENTION_DAYS))
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = _setting(
        "INFO", "what the runtime logs", allowed="DEBUG, INFO, WARNING, ERROR"
    )
    alarm_email: OptionalText = _setting(
        None,
        "address that alarms are sent to",
        allowed="an e-mail address, or nothing",
        pattern=r"^[^@\s,]+@[^@\s,]+\.[^@\s,]+$",
    )
    picture_expiry_days: int = _setting(
        1, "days after which an uploaded picture is deleted", allowed="1 to 365", ge=1, le=365
    )

    # --- streaming lane ---
    instance_type: str = _setting(
        "c7i.xlarge", "EC2 instance type of the streaming lane", allowed="a type of the catalog"
    )
    extra_instance_types: Names = _setting(
        (),
        "further types to start when the first is short, of the same architecture and kind",
        allowed="types of the catalog, with commas",
    )
    spot: bool = _setting(False, "start spot instances", allowed="true or false")
    instances_min: int = _setting(
        1, "fewest instances behind the load balancer", allowed="0 to 100", ge=0, le=100
    )
    instances_desired: OptionalInt = _setting(
        None,
        "instances to start with; nothing leaves the present number alone",
        allowed="instances_min to instances_max, or nothing",
        ge=0,
        le=100,
    )
    instances_max: int = _setting(
        2, "most instances behind the load balancer", allowed="1 to 100", ge=1, le=100
    )
    scale_on: Literal["EngineBusyShare", "FramesWaiting"] = _setting(
        "EngineBusyShare",
        "the published metric that the group scales on",
        allowed="EngineBusyShare, FramesWaiting",
    )
    scale_target: float = _setting(
        0.7,
        "the value of that metric which scaling keeps to",
        allowed="more than 0: a share up to 1, or frames waiting for each instance",
        gt=0,
        le=100_000,
    )
    drain_seconds: int = _setting(
        120,
        "how long an instance may finish its streams before it ends",
        allowed="30 to 3600",
        ge=30,
        le=3600,
    )
    instance_python: Literal["3.11", "3.12", "3.13", "3.14"] = _setting(
        "3.12", "Python version on the instance", allowed="3.11, 3.12, 3.13, 3.14"
    )
    ami_id: OptionalText = _setting(
        None,
        "machine image; nothing takes the newest one that AWS publishes for the instance type",
        allowed="ami- and 8 or 17 hexadecimal digits, or nothing",
        pattern=r"^ami-[0-9a-f]{8}([0-9a-f]{9})?$",
    )
    root_volume_gib: OptionalInt = _setting(
        None,
        "size of the instance's disk; nothing gives 30 GiB to CPU and 100 GiB to GPU instances",
        allowed="8 to 16384, or nothing",
        ge=8,
        le=16384,
    )
    zones: int = _setting(
        2, "availability zones that instances may start in", allowed="2 to 6", ge=2, le=6
    )
    availability_zones: Names = _setting(
        (), "these very zones instead", allowed="at least two names such as us-east-1a, with commas"
    )
    allowed_cidrs: Names = _setting(
        (),
        "networks that may reach the stream server; none may by default",
        allowed="IPv4 networks such as 203.0.113.7/32, with commas",
    )
    allow_any_cidr: bool = _setting(
        False, "whether allowed_cidrs may hold the whole internet", allowed="true or false"
    )
    flow_logs: bool = _setting(
        False, "log the flows of the networks to the logs bucket", allowed="true or false"
    )
    certificate_arn: OptionalText = _setting(
        None,
        "certificate of the load balancer; without it each instance makes its own",
        allowed="the ARN of an ACM certificate, or nothing",
        pattern=r"^arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate/[0-9a-zA-Z-]+$",
    )
    stream_port: int = _setting(
        contract.STREAM_PORT, "port of the stream", allowed="1024 to 65535", ge=1024, le=65535
    )
    stream_http_port: int = _setting(
        contract.STREAM_HTTP_PORT,
        "port of health, metrics, WebSocket and page",
        allowed="1024 to 65535",
        ge=1024,
        le=65535,
    )
    stream_model: Names = _setting(
        ("yolov3-tiny",),
        "models that the stream server offers, the default first",
        allowed="names of published models, with commas",
        min_length=1,
    )
    engine: Literal["auto", "onnxruntime", "openvino", "torch"] = _setting(
        "auto", "engine of the stream server", allowed="auto, onnxruntime, openvino, torch"
    )

    # --- serverless lane ---
    classifier_model: str = _setting(
        "efficientnet-lite0", "model that the classifier serves", allowed="a published model's name"
    )
    classifier_engine: Literal["auto", "onnxruntime", "openvino", "torch"] = _setting(
        "auto", "engine of the classifier", allowed="auto, onnxruntime, openvino, torch"
    )
    packaging: Literal["package", "s3-packages", "model-in-package"] = _setting(
        "package",
        "where the classifier's libraries and model come from",
        allowed="package, s3-packages, model-in-package",
    )
    cold_start: Literal["none", "warmer", "provisioned", "snapstart"] = _setting(
        "warmer",
        "what is done about cold starts",
        allowed="none, warmer, provisioned, snapstart",
    )
    lambda_arch: Arch = _setting("x86_64", "architecture of the functions", allowed="x86_64, arm64")
    lambda_python: LambdaPython = _setting(
        "3.13",
        "Python version of the functions",
        allowed="3.12, 3.13, 3.14 (3.11 runs on Amazon Linux 2, too old for the libraries)",
    )
    lambda_wheels_python: Annotated[WheelsPython | None, BeforeValidator(_none_if_empty)] = (
        _setting(
            None,
            "Python version that the packages are built for, where the embedded cloud runs them;"
            " nothing means lambda_python",
            allowed="3.11, 3.12, 3.13, 3.14, or nothing",
        )
    )
    lambda_memory_mib: int = _setting(
        3008, "memory of the classifier", allowed="128 to 10240", ge=128, le=10240
    )
    lambda_timeout_seconds: int = _setting(
        30, "longest run of the classifier", allowed="3 to 900", ge=3, le=900
    )
    lambda_storage_mib: OptionalInt = _setting(
        None,
        "size of the classifier's /tmp; nothing gives 512 MiB, and 3072 to packaging=s3-packages",
        allowed="512 to 10240, or nothing",
        ge=512,
        le=10240,
    )
    reserved_concurrency: OptionalInt = _setting(
        None,
        "most environments of the classifier at once; nothing leaves it to the account",
        allowed="1 to 10000, or nothing",
        ge=1,
        le=10_000,
    )
    auth: Literal["key", "iam"] = _setting(
        "key", "how the API knows its callers", allowed="key, iam"
    )
    throttle_rate: int = _setting(
        100, "requests a second that the API lets through", allowed="1 to 10000", ge=1, le=10_000
    )
    throttle_burst: int = _setting(
        200, "requests at once that the API lets through", allowed="1 to 5000", ge=1, le=5_000
    )
    quota_per_day: int = _setting(
        1_000_000,
        "requests a day that one API key is good for",
        allowed="1 to 1000000000",
        ge=1,
        le=1_000_000_000,
    )
    upload_expires_seconds: int = _setting(
        300, "how long a presigned upload is good for", allowed="30 to 3600", ge=30, le=3600
    )
    xray: bool = _setting(False, "trace requests with X-Ray", allowed="true or false")
    waf: bool = _setting(False, "put a web ACL before the API", allowed="true or false")
    folder_concurrency: int = _setting(
        5, "environments that a folder's run may use at once", allowed="1 to 1000", ge=1, le=1000
    )

    # --- cold-start answers ---
    warm_interval: int = _setting(
        5, "minutes between wake-ups (cold_start=warmer)", allowed="1 to 60", ge=1, le=60
    )
    warm_target: int = _setting(
        5,
        "environments to keep warm (cold_start=warmer) or provisioned (cold_start=provisioned)",
        allowed=f"1 to {contract.MAX_WARM_ENVIRONMENTS}",
        ge=1,
        le=contract.MAX_WARM_ENVIRONMENTS,
    )
    warm_spare: int = _setting(
        1,
        "environments more that stay free for real calls during a wake-up (cold_start=warmer)",
        allowed="0 to 50",
        ge=0,
        le=50,
    )
    warm_hours: Names = _setting(
        (),
        "other numbers by hour of day (UTC), from and until",
        allowed="entries such as 9-18=8, with commas",
    )
    warm_sleep_ms: int = _setting(
        400,
        "how long a wake-up holds its environment at first",
        allowed=f"50 to {contract.MAX_WAKEUP_SLEEP_MS}",
        ge=50,
        le=contract.MAX_WAKEUP_SLEEP_MS,
    )

    # --- comparison ---
    instance_types: Names = _setting(
        (),
        "instance types to compare; none deploys no comparison",
        allowed="types of the catalog, with commas",
    )
    comparison_minutes: int = _setting(
        60, "after which a compared instance ends at the latest", allowed="5 to 480", ge=5, le=480
    )
    comparison_scenarios: Names = _setting(
        ("single-stream", "offline"),
        "what a compared instance measures",
        allowed="single-stream, multi-stream, server[:QPS], offline, camera:FPS, with commas",
        min_length=1,
    )
    comparison_scopes: Scopes = _setting(
        ("picture", "network"),
        "what it times: from picture to answer, the network alone, or both",
        allowed="picture, network, with commas",
        min_length=1,
    )
    comparison_seconds: float = _setting(
        10,
        "at least, for each scenario of a compared instance",
        allowed="0.1 to 600",
        ge=0.1,
        le=600,
    )

    @field_validator("log_retention_days")
    @classmethod
    def _retention_is_known(cls, value: int) -> int:
        if value not in LOG_RETENTION_DAYS:
            raise ValueError("CloudWatch Logs does not know this time")
        return value

    @field_validator("instance_type")
    @classmethod
    def _type_can_be_started(cls, value: str) -> str:
        startable(value)
        return value

    @field_validator("extra_instance_types", "instance_types")
    @classmethod
    def _types_can_be_started(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            startable(value)
        if len(set(values)) != len(values):
            raise ValueError("a type is named twice")
        return values

    @field_validator("allowed_cidrs")
    @classmethod
    def _cidrs_are_networks(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            ipaddress.IPv4Network(value)
        return values

    @field_validator("availability_zones")
    @classmethod
    def _zones_are_two(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if len(values) == 1:
            raise ValueError("one zone is not enough")
        return values

    @field_validator("stream_model", "classifier_model")
    @classmethod
    def _models_are_names(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for name in (value,) if isinstance(value, str) else value:
            if not name or not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
                raise ValueError(f"{name!r} is no model's name")
        return value

    @field_validator("warm_hours")
    @classmethod
    def _hours_are_spans(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            hour_span(value)
        return values

    @field_validator("comparison_scenarios")
    @classmethod
    def _scenarios_are_known(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if not is_scenario(value):
                raise ValueError(f"{value!r} is no scenario")
        return values

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
    def wheels_python(self) -> str:
        """Python version that the functions' packages are built for."""
        return self.lambda_wheels_python or self.lambda_python

    @property
    def storage_mib(self) -> int:
        """Size of the classifier's /tmp, where `s3-packages` unpacks torch and what it needs."""
        return self.lambda_storage_mib or (3072 if self.packaging == "s3-packages" else 512)

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

    def warm_targets(self) -> dict[str, Any]:
        """The value of `contract.Env.WARM_TARGETS`, before it becomes JSON."""
        hours = dict(map(hour_span, self.warm_hours))
        return {"default": self.warm_target, "hours": hours, "spare": self.warm_spare}


class _ContradictionError(Exception):
    """Two settings that do not go together; no ValueError, so that pydantic lets it through."""

    def __init__(self, sentences: list[str]) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = sentences
