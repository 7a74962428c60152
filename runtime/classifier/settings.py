"""The function's settings, read once from the environment variables that the stack sets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, cast, get_args

from runtime.contract import (
    MAX_UPLOAD_EXPIRES_SECONDS,
    MEMORY_MB_PER_VCPU,
    UPLOAD_EXPIRES_SECONDS,
    ColdStart,
    Env,
)


class SettingsError(ValueError):
    """An environment variable is missing or holds what it cannot."""


class Settings(NamedTuple):
    """What one deployment of the function is told.

    Attributes:
        artifacts_bucket: holds models and, where the package has none, the libraries.
        pictures_bucket: holds the pictures that `file_path` names.
        model: name of the model artifact to serve.
        engine: `auto`, `onnxruntime`, `openvino` or `torch`.
        wait_for_current_model: a call waits for the published version of the model, instead of
            being answered by the packaged or an older one meanwhile.
        keep_for_training: every classified picture is kept, with its prediction.
        cold_start: the deployment's answer to the cold start; only reported.
        upload_expires_seconds: how long a presigned upload may be used.
        cors_origin: origin of the web pages that may read the answers, `*` for all, "" for none.
        function_name: the dimension of the metrics.
        memory_mb: the function's memory size, which decides its share of processors.
        task_root: folder that the function's package was unpacked in.
        scratch: writable folder for what comes from S3.
    """

    artifacts_bucket: str
    pictures_bucket: str
    model: str
    engine: str = "auto"
    wait_for_current_model: bool = False
    keep_for_training: bool = False
    cold_start: ColdStart = "none"
    upload_expires_seconds: int = UPLOAD_EXPIRES_SECONDS
    cors_origin: str = ""
    function_name: str = "classifier"
    memory_mb: int = MEMORY_MB_PER_VCPU
    task_root: Path = Path("/var/task")
    scratch: Path = Path("/tmp")  # noqa: S108  the only writable folder that Lambda has

    @property
    def threads(self) -> int:
        """Inference threads: as many as the memory size has whole processors, at least one."""
        return max(1, round(self.memory_mb / MEMORY_MB_PER_VCPU))

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read and check the variables of `runtime.contract.Env`.

        Raises:
            SettingsError: naming the variable, what it holds and what is allowed.
        """
        models = [name.strip() for name in _required(environ, Env.MODEL).split(",")]
        return cls(
            artifacts_bucket=_required(environ, Env.ARTIFACTS_BUCKET),
            pictures_bucket=_required(environ, Env.PICTURES_BUCKET),
            model=models[0],
            engine=environ.get(Env.ENGINE) or "auto",
            cors_origin=environ.get(Env.CORS_ORIGIN) or "",
            wait_for_current_model=_one_of(
                environ, Env.WAIT_FOR_CURRENT_MODEL, ("true", "false"), "false"
            )
            == "true",
            keep_for_training=_one_of(environ, Env.KEEP_FOR_TRAINING, ("true", "false"), "false")
            == "true",
            cold_start=cast(
                ColdStart, _one_of(environ, Env.COLD_START, get_args(ColdStart), "none")
            ),
            upload_expires_seconds=_seconds(
                environ, Env.UPLOAD_EXPIRES_SECONDS, UPLOAD_EXPIRES_SECONDS
            ),
            function_name=environ.get("AWS_LAMBDA_FUNCTION_NAME") or "classifier",
            memory_mb=int(environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE") or MEMORY_MB_PER_VCPU),
            task_root=Path(environ.get("LAMBDA_TASK_ROOT") or "/var/task"),
            scratch=Path(environ.get("TMPDIR") or "/tmp"),  # noqa: S108
        )


def _required(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise SettingsError(f"environment variable {name} is not set; the classifier stack sets it")
    return value


def _one_of(environ: Mapping[str, str], name: str, allowed: tuple[str, ...], default: str) -> str:
    value = environ.get(name) or default
    if value not in allowed:
        raise SettingsError(f"{name} is {value!r}; allowed: {', '.join(allowed)}")
    return value


def _seconds(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= MAX_UPLOAD_EXPIRES_SECONDS:
        raise SettingsError(
            f"{name} is {text!r}; allowed: 1 to {MAX_UPLOAD_EXPIRES_SECONDS} (seconds)"
        )
    return int(text)
