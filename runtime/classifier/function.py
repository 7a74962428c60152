"""The whole function, wired from its settings; `handler` keeps one for the environment's life."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from runtime.classifier import events
from runtime.classifier.credentials import EnvironmentCredentials
from runtime.classifier.environment import ExecutionEnvironment, has_room_for_a_second_model
from runtime.classifier.errors import ApiError, InternalError, ModelUnavailableError
from runtime.classifier.metrics import CallLog, CallRecord
from runtime.classifier.model import ModelHost, PublishedModelSource
from runtime.classifier.requests import (
    ClassificationRequest,
    FolderRequest,
    UploadRequest,
    WakeupRequest,
    parse_request,
)
from runtime.classifier.s3 import S3Client
from runtime.classifier.service import Answer, ClassifierService
from runtime.classifier.settings import Settings
from runtime.classifier.storage import S3PictureStore
from runtime.contract import LIBRARIES_MANIFEST
from runtime.inference.store import ModelStore

INIT_SECONDS: Final = 8.5
"""How long an on-demand environment's INIT phase waits for its model. Lambda ends that phase after
10 s and starts it anew, from nothing, within the first call's own time-out (AWS Lambda Developer
Guide, Lambda execution environment lifecycle); what the runtime does before the handler is imported
counts too."""


class Function:
    """One execution environment's function."""

    def __init__(
        self,
        *,
        service: ClassifierService,
        models: ModelHost,
        environment: ExecutionEnvironment,
        log: CallLog,
        cors_origin: str = "",
        before_model: Callable[[], None] = lambda: None,
        reconnect: Callable[[], None] = lambda: None,
    ) -> None:
        self._service = service
        self._models = models
        self._environment = environment
        self._log = log
        self._cors = {"Access-Control-Allow-Origin": cors_origin} if cors_origin else {}
        self._before_model = before_model
        self._reconnect = reconnect
        self._prepared = False
        self._loading: threading.Thread | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str], *, started: float) -> Function:
        """Wire everything; nothing is fetched yet.

        Args:
            environ: the environment variables.
            started: `time.monotonic()` when the INIT phase began.

        Raises:
            SettingsError: a variable is missing or wrong.
        """
        settings = Settings.from_env(environ)
        client = S3Client.from_env(environ, credentials=EnvironmentCredentials(environ))
        models = ModelHost(
            PublishedModelSource(
                ModelStore(client, settings.artifacts_bucket),
                packaged=settings.task_root / "models",
                name=settings.model,
                scratch=settings.scratch,
                engine=settings.engine,
                threads=settings.threads,
                memory_mb=settings.memory_mb,
            ),
            wait_for_current=settings.wait_for_current_model,
            may_optimise=lambda: has_room_for_a_second_model(settings.memory_mb),
        )
        environment = ExecutionEnvironment(environ, started=started)
        service = ClassifierService(
            models=models,
            pictures=S3PictureStore(
                client,
                pictures_bucket=settings.pictures_bucket,
                artifacts_bucket=settings.artifacts_bucket,
                upload_expires_seconds=settings.upload_expires_seconds,
            ),
            environment=environment,
            upload_expires_seconds=settings.upload_expires_seconds,
            keep_for_training=settings.keep_for_training,
        )

        return cls(
            service=service,
            models=models,
            environment=environment,
            log=CallLog(
                function_name=settings.function_name,
                clock=time.time,
                write=lambda line: print(line, flush=True),
            ),
            cors_origin=settings.cors_origin,
            before_model=lambda: _install_libraries(settings, client),
            reconnect=client.forget_connections,
        )

    def initialise(self, *, ahead: bool = False, seconds: float = INIT_SECONDS) -> None:
        """Load the model in the INIT phase. A failure is left for the first call to meet again.

        A load that takes longer than `seconds` goes on beside the first call, which waits for it.

        Args:
            seconds: how long to wait for the model, unless `ahead`.
            ahead: nobody waits, since environments are made ahead of any call: load the model for
                fast calls and not for a fast start, and run one inference too.

        Raises:
            ModelUnavailableError: a snapshot is to be taken. Without its model each environment
                that is restored from it would load one while a caller waits; raised, it ends the
                deployment and says what is missing.
        """
        if ahead:
            self._load(ahead=True)
        else:
            self._loading = threading.Thread(target=self._load, name="init", daemon=True)
            self._loading.start()
            self._loading.join(seconds)
        self._environment.initialised()

    def _load(self, *, ahead: bool = False) -> None:
        try:
            self._prepare()
            self._models.current(optimised=ahead)
            if ahead:
                for model in self._models.serving().models:
                    model.exercise()
        except ApiError as error:
            if self._environment.for_snapshot:
                raise
            print(f'{{"level":"ERROR","message":"init: {error.error_code}"}}', file=sys.stderr)

    def restored(self) -> None:
        """A SnapStart snapshot came to life: new id, connections, credentials, random numbers."""
        self._environment.restored()
        self._reconnect()
        self._models.restored()
        # All environments of one snapshot would draw the same jitter.
        random.seed()

    def handle(self, event: object, context: object) -> dict[str, Any]:
        """Answer one invocation.

        A direct invocation gets errors of its input as `{"code", "message"}`; errors of the service
        are raised, so that whoever invoked retries.

        Raises:
            ApiError: direct invocations only, for status 500 and above.
        """
        cold = self._environment.begin_call()
        started = time.perf_counter()
        record = CallRecord(
            method="unknown",
            request_id=str(getattr(context, "aws_request_id", "")),
            environment=self._environment.id,
            cold=cold,
            init_ms=self._environment.init_ms,
        )
        http = events.is_http(event)
        try:
            answer = self._answer(event, http=http, record=record)
            return events.http_answer(200, answer, **self._cors) if http else answer
        except ApiError as error:
            record.status, record.code = error.status, error.error_code
            if http:
                return events.http_error(error, **self._cors)
            if error.status >= 500:
                raise
            return events.error_body(error)
        finally:
            record.duration_ms = (time.perf_counter() - started) * 1000
            self._log.write(record)

    def _answer(self, event: object, *, http: bool, record: CallRecord) -> Answer:
        try:
            call = events.http_call(event) if http else events.direct_call(event)  # type: ignore[arg-type]
            record.method = call.method[:32]
            request = None
            if call.picture is None:
                request = parse_request(call.method, call.fields)
            if not isinstance(request, UploadRequest):
                self._ensure_model()
            answer = self._dispatch(call, request, cold=record.cold)
        except ApiError:
            raise
        except Exception as error:
            # The trace goes to the log; the caller learns what to quote.
            from runtime.redaction import redacted_traceback

            print(redacted_traceback(error), file=sys.stderr)
            raise InternalError(f"internal error in request {record.request_id}") from error
        record.timings = answer.get("timings", {})
        record.extra = {"model": answer.get("model"), "engine": answer.get("engine")}
        return answer

    def _dispatch(self, call: events.Call, request: object, *, cold: bool) -> Answer:
        match request:
            case ClassificationRequest():
                return self._service.classify(request, cold=cold)
            case WakeupRequest():
                return self._service.wakeup(request, cold=cold)
            case UploadRequest():
                return self._service.upload(request)
            case FolderRequest():
                return self._service.folder(request, cold=cold)
            case _:
                return self._service.recognise(call.picture or b"", call.content_type, cold=cold)

    def _ensure_model(self) -> None:
        if self._loading is not None:
            self._loading.join()
            self._loading = None
        self._prepare()
        self._models.load()

    def _prepare(self) -> None:
        if not self._prepared:
            self._before_model()
            self._prepared = True


def _install_libraries(settings: Settings, client: S3Client) -> None:
    """Fetch the libraries, where the package has only the name of their zip (`s3-packages`)."""
    if not (settings.task_root / LIBRARIES_MANIFEST).exists():
        return
    from runtime.classifier import packages

    try:
        packages.install(
            client,
            bucket=settings.artifacts_bucket,
            manifest=packages.PackagesManifest.read(settings.task_root),
            scratch=settings.scratch,
        )
    except packages.PackagesError as error:
        raise ModelUnavailableError(str(error)) from error
