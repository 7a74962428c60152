"""The settings one by one: name, type, default, meaning, and what each must be by itself."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from runtime import contract
from runtime.contract import Arch, ColdStart, EngineChoice, Packaging, Scope
from stacks.settings.values import hour_span, startable

LOG_RETENTION_DAYS: Final = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557),
    *(2922, 3288, 3653),
)
"""The retention times that CloudWatch Logs knows (PutRetentionPolicy)."""


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _none_if_empty(value: Any) -> Any:
    return None if value == "" else value


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Scopes = Annotated[tuple[Literal[Scope.PICTURE, Scope.NETWORK], ...], BeforeValidator(_split)]
OptionalInt = Annotated[int | None, BeforeValidator(_none_if_empty)]
OptionalText = Annotated[str | None, BeforeValidator(_none_if_empty)]
LambdaPython = Literal["3.12", "3.13", "3.14"]
WheelsPython = Literal["3.11", "3.12", "3.13", "3.14"]


def _setting(default: Any, meaning: str, *, allowed: str | None = None, **constraints: Any) -> Any:
    # What is allowed follows from type and bounds (sentences.allowed) unless it is said here.
    extra: dict[str, Any] = {} if allowed is None else {"allowed": allowed}
    return Field(default, description=meaning, json_schema_extra=extra, **constraints)


class SettingFields(BaseModel):
    """Every setting by itself. Immutable; each value has been checked, not how they go together."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    # --- both lanes ---
    prefix: str = _setting(
        contract.PROJECT,
        "first part of every stack's name; after a change, stacks of the former name stay, and "
        "cost, until they are destroyed by it (-c prefix=FORMER)",
        allowed="3 to 20 small letters, digits and hyphens, beginning with a letter",
        pattern=r"^[a-z][a-z0-9-]{1,18}[a-z0-9]$",
    )
    retain_data: bool = _setting(
        False, "keep the buckets and what is in them on a later cdk destroy"
    )
    log_retention_days: int = _setting(
        30, "days that logs are kept", allowed=", ".join(map(str, LOG_RETENTION_DAYS))
    )
    log_settle_seconds: int = _setting(
        15,
        "seconds for which nothing more may arrive in the emptied logs bucket before cdk destroy"
        " deletes it; the policy that refuses puts takes a while to hold everywhere",
        ge=0,
        le=300,
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = _setting(
        "INFO", "what the runtime logs"
    )
    alarm_email: OptionalText = _setting(
        None,
        "address that alarms are sent to",
        allowed="an e-mail address, or nothing",
        pattern=r"^[^@\s,]+@[^@\s,]+\.[^@\s,]+$",
    )
    picture_expiry_days: int = _setting(
        1, "days after which an uploaded picture is deleted", ge=1, le=365
    )
    keep_for_training_days: int = _setting(
        0,
        "days for which every classified picture is kept with its prediction, for `visionstack data"
        " pull`; 0 keeps none",
        ge=0,
        le=365,
    )

    # --- streaming lane ---
    instance_type: str = _setting(
        contract.DEFAULT_INSTANCE_TYPE,
        "EC2 instance type of the streaming lane",
        allowed="a type of the catalog",
    )
    extra_instance_types: Names = _setting(
        (),
        "further types to start when the first is short, of the same architecture and kind",
        allowed="types of the catalog, with commas",
    )
    spot: bool = _setting(False, "start spot instances")
    instances_min: int = _setting(1, "fewest instances behind the load balancer", ge=0, le=100)
    instances_desired: OptionalInt = _setting(
        None,
        "instances to start with; nothing leaves the present number alone",
        allowed="instances_min to instances_max, or nothing",
        ge=0,
        le=100,
    )
    instances_max: int = _setting(2, "most instances behind the load balancer", ge=1, le=100)
    scale_on: Literal["EngineBusyShare", "FramesWaiting"] = _setting(
        "EngineBusyShare", "the published metric that the group scales on"
    )
    scale_target: float = _setting(
        0.7,
        "the value of that metric which scaling keeps to",
        allowed="more than 0: a share up to 1, or frames waiting for each instance",
        gt=0,
        le=100_000,
    )
    drain_seconds: int = _setting(
        120, "how long an instance may finish its streams before it ends", ge=30, le=3600
    )
    instance_python: WheelsPython = _setting("3.12", "Python version on the instance")
    ami_id: OptionalText = _setting(
        None,
        "machine image; nothing takes the newest one that AWS publishes for the instance type,"
        " once: later deployments keep it",
        allowed="ami- and 8 or 17 hexadecimal digits, or nothing",
        pattern=r"^ami-[0-9a-f]{8}([0-9a-f]{9})?$",
    )
    ami_update: OptionalText = _setting(
        None,
        "a text, such as today's date, that takes the newest image again when it is a new one",
        allowed="up to 40 letters, digits, hyphens and dots, or nothing",
        pattern=r"^[A-Za-z0-9.-]{1,40}$",
    )
    root_volume_gib: OptionalInt = _setting(
        None,
        "size of the instance's disk; nothing gives 30 GiB to CPU and 100 GiB to GPU instances",
        ge=8,
        le=16384,
    )
    zones: int = _setting(2, "availability zones that instances may start in", ge=2, le=6)
    availability_zones: Names = _setting(
        (), "these very zones instead", allowed="at least two names such as us-east-1a, with commas"
    )
    allowed_cidrs: Names = _setting(
        (),
        "networks that may reach the stream server; none may by default",
        allowed="IPv4 networks such as 203.0.113.7/32, with commas",
    )
    allow_any_cidr: bool = _setting(False, "whether allowed_cidrs may hold the whole internet")
    flow_logs: bool = _setting(False, "log the flows of the networks to the logs bucket")
    certificate_arn: OptionalText = _setting(
        None,
        "certificate of the load balancer; without it each instance makes its own",
        allowed="the ARN of an ACM certificate, or nothing",
        pattern=r"^arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate/[0-9a-zA-Z-]+$",
    )
    stream_host: OptionalText = _setting(
        None,
        "name that the certificate is for, which you make an alias (CNAME) of the load balancer's;"
        " clients connect to it",
        allowed="a host name such as stream.example.com, or nothing",
        pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$",
    )
    stream_port: int = _setting(contract.STREAM_PORT, "port of the stream", ge=1024, le=65535)
    stream_http_port: int = _setting(
        contract.STREAM_HTTP_PORT, "port of health, metrics, WebSocket and page", ge=1024, le=65535
    )
    stream_model: Names = _setting(
        (contract.DEFAULT_DETECTOR,),
        "models that the stream server offers, the default first",
        allowed="names of published models, with commas",
        min_length=1,
    )
    engine: EngineChoice = _setting("auto", "engine of the stream server")

    # --- serverless lane ---
    classifier_model: str = _setting(
        contract.DEFAULT_CLASSIFIER,
        "model that the classifier serves",
        allowed="a published model's name",
    )
    classifier_engine: EngineChoice = _setting("auto", "engine of the classifier")
    packaging: Packaging = _setting(
        "auto",
        "where the classifier's libraries and model come from; auto puts the model into the package"
        " when it is built and both fit Lambda's 250 MB",
    )
    wait_for_current_model: bool = _setting(
        False,
        "every call asks for the published version of the model and waits for it, instead of being"
        " answered by the packaged or an older one while that is fetched",
    )
    cold_start: ColdStart = _setting("warmer", "what is done about cold starts")
    lambda_arch: Arch = _setting("x86_64", "architecture of the functions")
    lambda_python: LambdaPython = _setting(
        "3.13",
        "Python version of the functions",
        allowed=f"{', '.join(get_args(LambdaPython))} (3.11 runs on Amazon Linux 2, too old for the"
        " libraries)",
    )
    lambda_wheels_python: Annotated[WheelsPython | None, BeforeValidator(_none_if_empty)] = (
        _setting(
            None,
            "Python version that the packages are built for, where the embedded cloud runs them;"
            " nothing means lambda_python",
        )
    )
    lambda_memory_mib: int = _setting(3008, "memory of the classifier", ge=128, le=10240)
    lambda_timeout_seconds: OptionalInt = _setting(
        None,
        "longest run of the classifier; nothing gives 30, and 120 to packaging=s3-packages, whose"
        " first call waits for its libraries",
        ge=3,
        le=900,
    )
    lambda_storage_mib: OptionalInt = _setting(
        None,
        "size of the classifier's /tmp; nothing gives 512 MiB, and 3072 to packaging=s3-packages",
        ge=512,
        le=10240,
    )
    reserved_concurrency: OptionalInt = _setting(
        None,
        "most environments of the classifier at once; nothing leaves it to the account",
        ge=1,
        le=10_000,
    )
    auth: Literal["key", "iam"] = _setting("key", "how the API knows its callers")
    cors_origin: OptionalText = _setting(
        None,
        "web page that may call the API and upload pictures (CORS); nothing lets none",
        allowed="an origin such as https://127.0.0.1:8443, * for every page, or nothing",
        pattern=r"^(\*|https?://[A-Za-z0-9.\-]+(:\d{1,5})?)$",
    )
    cloudfront_page: bool = _setting(
        False,
        "serve the page from a bucket by CloudFront too; API, uploads and the stream then admit its"
        " origin",
    )
    throttle_rate: int = _setting(
        100, "requests a second that the API lets through", ge=1, le=10_000
    )
    throttle_burst: int = _setting(
        200, "requests at once that the API lets through", ge=1, le=5_000
    )
    quota_per_day: int = _setting(
        1_000_000, "requests a day that one API key is good for", ge=1, le=1_000_000_000
    )
    upload_expires_seconds: int = _setting(
        contract.UPLOAD_EXPIRES_SECONDS,
        "how long a presigned upload is good for",
        ge=30,
        le=contract.MAX_UPLOAD_EXPIRES_SECONDS,
    )
    xray: bool = _setting(False, "trace requests with X-Ray")
    waf: bool = _setting(False, "put a web ACL before the API")
    folder_concurrency: int = _setting(
        5, "environments that a folder's run may use at once", ge=1, le=1000
    )

    # --- cold-start answers ---
    warm_interval: int = _setting(5, "minutes between wake-ups (cold_start=warmer)", ge=1, le=60)
    warm_target: int = _setting(
        contract.WARM_TARGET,
        "environments to keep warm (cold_start=warmer) or provisioned (cold_start=provisioned)",
        ge=1,
        le=contract.MAX_WARM_ENVIRONMENTS,
    )
    warm_spare: int = _setting(
        contract.WARM_SPARE,
        "environments more that stay free for real calls during a wake-up (cold_start=warmer)",
        ge=0,
        le=50,
    )
    warm_hours: Names = _setting(
        (),
        "other numbers by hour of day (UTC), from and until",
        allowed="entries such as 9-18=8, with commas",
    )
    warm_sleep_ms: int = _setting(
        contract.WARM_SLEEP_MS,
        "how long a wake-up holds its environment at first",
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
        60, "after which a compared instance ends at the latest", ge=5, le=480
    )
    comparison_scenarios: Names = _setting(
        ("single-stream", "offline"),
        "what a compared instance measures",
        allowed=f"{contract.SCENARIO_FORMS}, with commas",
        min_length=1,
    )
    comparison_scopes: Scopes = _setting(
        (Scope.PICTURE, Scope.NETWORK),
        "what it times: from picture to answer, the network alone, or both",
        min_length=1,
    )
    comparison_seconds: float = _setting(
        10, "at least, for each scenario of a compared instance", ge=0.1, le=600
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
        if len(set(values)) != len(values):
            raise ValueError("a zone is named twice")
        for value in values:
            # A Network Load Balancer takes no subnet in a Local Zone (us-west-2-lax-1a).
            if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d[a-z]", value):
                raise ValueError(f"{value!r} is no availability zone")
        if len({value[:-1] for value in values}) > 1:
            raise ValueError("they are not of one region")
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
            contract.parse_scenario(value)
        return values

    @property
    def storage_mib(self) -> int:
        """Size of the classifier's /tmp, where `s3-packages` unpacks torch and what it needs."""
        return self.lambda_storage_mib or (3072 if self.packaging == "s3-packages" else 512)

    @property
    def timeout_seconds(self) -> int:
        """The classifier's time-out: `s3-packages` may need most of it before its first answer."""
        return self.lambda_timeout_seconds or (120 if self.packaging == "s3-packages" else 30)

    def warm_targets(self) -> dict[str, Any]:
        """The value of `contract.Env.WARM_TARGETS`, before it becomes JSON."""
        hours = dict(map(hour_span, self.warm_hours))
        return {"default": self.warm_target, "hours": hours, "spare": self.warm_spare}
