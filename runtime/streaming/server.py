"""The streaming server: composed, started, drained and stopped here, in that order."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import os
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from http import HTTPStatus
from typing import ParamSpec, cast

from websockets.asyncio.server import Server as WebSocketServer
from websockets.asyncio.server import ServerConnection as WebSocket
from websockets.asyncio.server import serve as serve_websockets

from runtime.contract import Tls
from runtime.protocol.limits import HANDSHAKE_BYTES
from runtime.protocol.loopback import is_loopback
from runtime.streaming.errors import ModelUnavailableError, SettingsError
from runtime.streaming.frames.frame import FrameJob
from runtime.streaming.frames.pipeline import Pipeline
from runtime.streaming.host import aws
from runtime.streaming.host.certificate import Certificate
from runtime.streaming.host.gpus import Gpus, find_gpus, watch_gpus
from runtime.streaming.host.metrics import Metrics
from runtime.streaming.models import (
    ArtifactSource,
    Follower,
    ModelHost,
    ModelSource,
    load_models,
    probe,
)
from runtime.streaming.sessions.registry import Done, Registry, Submitter
from runtime.streaming.settings import Settings
from runtime.streaming.supervision import cancelled, supervised
from runtime.streaming.transports.page.serving import PageFiles
from runtime.streaming.transports.tcp import TcpLink
from runtime.streaming.transports.tls import behind_tls
from runtime.streaming.transports.websocket import (
    HttpPages,
    StreamSocket,
    WebSocketLink,
    counted_sockets,
)

log = logging.getLogger(__name__)

Given = ParamSpec("Given")

_CHECK_SECONDS = 0.25
_PROBE_SECONDS = 5.0
_ACCEPTED_AT_ONCE = 4
"""Of a flood of connections, so that streams get their turn in between."""
_THREAD_SWITCH_SECONDS = 0.0005
"""The event loop waits this long at most for a thread that computes in Python (default 5 ms)."""


class Server:
    """One streaming server. `await start()`, later `await drain(reason)`, `await stop()`."""

    def __init__(
        self,
        settings: Settings,
        *,
        source: ModelSource | None = None,
        gpus: Callable[[], Gpus | None] = find_gpus,
    ) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.fingerprint: str | None = None
        self.port = self.http_port = 0
        """Where it listens, once started (a port of 0 in the settings takes a free one)."""
        self._source = source or ArtifactSource(
            folder=settings.models_folder,
            engine=settings.engine,
            precision=settings.precision,
            bucket=settings.bucket,
            max_batch=settings.max_batch,
        )
        self.broken = asyncio.Event()
        """Set when an engine fails on a picture of our own, as CUDA does for good once it has."""
        self.listening = asyncio.Event()
        """Set when it can be reached, which may be long before it has its models."""
        self._waits_for_model = False
        self._find_gpus = gpus
        self.hosts: dict[str, ModelHost] = {}
        self.registry: Registry | None = None
        self._pipeline: Pipeline | None = None
        self._listeners: list[asyncio.Server | WebSocketServer] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Returns when frames are taken; what listens meanwhile says that they are not yet.

        Models from a bucket are waited for, since they may be published later.

        Raises:
            SettingsError: it cannot listen, or AWS refused the token's secret or the parameter.
            ModelUnavailableError: a model of the local folder cannot be loaded.
        """
        settings = self.settings
        token = await self._token()
        tls = await self._prepare_tls(token)
        sys.setswitchinterval(_THREAD_SWITCH_SECONDS)
        self.registry = Registry(
            token=token,
            hosts=self.hosts,
            limits=settings.limits,
            metrics=self.metrics,
            pipeline=self._make_pipeline,
        )
        self.registry.loading = "its models are being loaded"
        await self._listen(self.registry, tls, token)
        self.listening.set()
        log.info("listening", extra={"port": self.port, "http_port": self.http_port})
        self._supervise("time limits", self._check_times, self.registry)
        try:
            await load_models(
                self.hosts,
                self._source,
                settings.models,
                patient=settings.bucket is not None,
                waiting=self._wait_for_model,
            )
        except ModelUnavailableError:
            await self.stop()
            raise
        follower = Follower(self.hosts, self._source, metrics=self.metrics)
        if settings.reload_seconds > 0:
            # Streams that come from a server that tries a version find it here too.
            await follower.look()
        self.registry.loading = None
        self._waits_for_model = False
        self._supervise("engine check", self._check_engines)
        self._supervise("model reload", follower.watch, every=settings.reload_seconds)
        gpus = await asyncio.to_thread(self._find_gpus)
        if gpus is not None:
            self._supervise("GPU use", watch_gpus, gpus, self.metrics)
        if settings.group is not None:
            self._supervise(
                "CloudWatch metrics", aws.publish_metrics, self.figures, group=settings.group
            )
        log.info("serving", extra={"models": ", ".join(self.hosts)})

    async def drain(self, reason: str) -> None:
        """Take no new streams, ask clients to move on, answer what is under way.

        Returns when every client has left or `drain_seconds` are over.
        """
        registry = self._registry()
        registry.draining = reason
        deadline = time.monotonic() + self.settings.limits.drain_seconds
        for connection in registry.connections:
            connection.go_away(deadline_seconds=self.settings.limits.drain_seconds, reason=reason)
        log.info("draining", extra={"reason": reason, "connections": len(registry.connections)})
        while registry.connections and time.monotonic() < deadline:
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Close what is still open and end the threads."""
        await cancelled(self._tasks)
        for listener in self._listeners:
            listener.close()
        if self.registry is not None:
            self.registry.close_all()
            # One turn of the loop lets the closes leave.
            await asyncio.sleep(0)
        for listener in self._listeners:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(listener.wait_closed(), timeout=2)
        if self._pipeline is not None:
            seconds = self.settings.limits.stop_seconds
            if not await asyncio.to_thread(self._pipeline.stop, seconds=seconds):
                log.error("a thread did not stop", extra={"seconds": seconds})
        log.info("stopped")

    def make_room(self) -> int:
        """End some connections that have shown no token yet; returns how many."""
        return 0 if self.registry is None else self.registry.pending.make_room()

    def figures(self) -> dict[str, float]:
        """What happened since the last call, by CloudWatch metric name."""
        waiting = 0 if self._pipeline is None else self._pipeline.frames_waiting
        return self.metrics.window.take(frames_waiting=waiting)

    def _supervise(
        self,
        name: str,
        step: Callable[Given, Awaitable[None]],
        *args: Given.args,
        **kwargs: Given.kwargs,
    ) -> None:
        task = supervised(name, lambda: step(*args, **kwargs))
        self._tasks.append(asyncio.create_task(task, name=name))

    async def _token(self) -> str:
        if self.settings.token is not None:
            return self.settings.token
        return await asyncio.to_thread(aws.fetch_token, str(self.settings.token_secret))

    async def _prepare_tls(self, token: str) -> ssl.SSLContext | None:
        if self.settings.tls is not Tls.SELF_SIGNED:
            return None
        certificate = Certificate.from_token(token, names=self.settings.names)
        self.fingerprint = certificate.fingerprint
        if self.settings.fingerprint_parameter is not None:
            await asyncio.to_thread(
                aws.publish_fingerprint,
                self.settings.fingerprint_parameter,
                certificate.fingerprint,
            )
        return certificate.server_context()

    async def _listen(self, registry: Registry, tls: ssl.SSLContext | None, token: str) -> None:
        settings, limits = self.settings, self.settings.limits
        loop = asyncio.get_running_loop()
        try:
            tcp = await loop.create_server(
                behind_tls(functools.partial(TcpLink, registry), registry, tls),
                settings.host,
                settings.port,
                backlog=_ACCEPTED_AT_ONCE,
            )
            self._listeners.append(tcp)

            async def upgraded(socket: WebSocket) -> None:
                await WebSocketLink(registry, cast(StreamSocket, socket)).run()

            web = await serve_websockets(
                upgraded,
                settings.host,
                settings.http_port,
                process_request=HttpPages(
                    healthz=self._healthz,
                    readyz=self._readyz,
                    in_service=self._in_service,
                    metrics=self._metrics_page,
                    files=PageFiles(models=settings.models_folder, token=token),
                    loopback=is_loopback(settings.host),
                    page_origin=settings.page_origin,
                    full=lambda: registry.full,
                    file_bytes=limits.page_bytes,
                ),
                create_connection=counted_sockets(registry, tls),
                # Raised when the token was right.
                max_size=HANDSHAKE_BYTES,
                close_timeout=limits.linger_seconds,
                backlog=_ACCEPTED_AT_ONCE,
                max_queue=2,
                compression=None,
                open_timeout=limits.handshake_seconds,
                # Who is not read while the server is full cannot answer; streams have pings of
                # their own, and nothing heard for long ends them.
                ping_interval=None,
                write_limit=limits.unsent_bytes,
            )
            self._listeners.append(web)
        except OSError as error:
            raise SettingsError(
                f"The server cannot listen on {settings.host}, ports {settings.port} and "
                f"{settings.http_port}: {error.strerror or error}."
            ) from error
        self._queue_connections()
        self.port = tcp.sockets[0].getsockname()[1]
        self.http_port = next(iter(web.sockets)).getsockname()[1]

    def _queue_connections(self) -> None:
        """Let as many connections as streams wait in the kernel until they are accepted.

        asyncio has one number for those and for how many it accepts in one turn of its loop, and
        sets it again after each time that descriptors have run out.
        """
        for listener in self._listeners:
            for one in listener.sockets:
                with socket.socket(fileno=os.dup(one.fileno())) as same:
                    same.listen(self.settings.limits.connections)

    def _make_pipeline(self, done: Done) -> Submitter:
        loop = asyncio.get_running_loop()

        def from_thread(jobs: Sequence[FrameJob]) -> None:
            # The loop may be closed already while the last frames are finished.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(done, jobs)

        self._pipeline = Pipeline(
            done=from_thread,
            observer=self.metrics,
            frame_pixels=self.settings.limits.frame_pixels,
            threads=self.settings.threads,
            max_delay_seconds=self.settings.max_delay_seconds,
            limits=self.settings.limits,
        )
        self._pipeline.start()
        return self._pipeline

    async def _check_times(self, registry: Registry) -> None:
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            now = time.monotonic()
            for connection in registry.connections:
                connection.check_times(now)
            registry.expire()
            self._queue_connections()

    async def _check_engines(self) -> None:
        """Whenever frames have failed: find out whether it was the frames or the engine."""
        seen = 0
        while True:
            await asyncio.sleep(_PROBE_SECONDS)
            if seen == self.metrics.failures:
                continue
            seen = self.metrics.failures
            for host in self.hosts.values():
                for model in host.loaded.values():
                    try:
                        await asyncio.to_thread(probe, model)
                    except Exception as error:
                        log.exception(
                            "an engine is broken", extra={"model": host.name, "reason": repr(error)}
                        )
                        self.broken.set()
                        return

    def _registry(self) -> Registry:
        if self.registry is None:
            raise SettingsError("The server has not been started.")
        return self.registry

    def _wait_for_model(self, reason: str) -> None:
        self._registry().loading = f"waiting for a model: {reason}"
        self._waits_for_model = True

    def _healthz(self) -> tuple[HTTPStatus, str, bytes]:
        models = {
            name: {
                **asdict(host.current.offer),
                "labels": len(host.current.offer.labels),
                "canary": host.canary and host.canary[1]._asdict(),
            }
            for name, host in self.hosts.items()
        }
        memory = self.settings.limits.memory_bytes(threads=self.settings.threads)
        document = {"status": "alive", "models": models, "frame_memory_bytes": memory}
        return HTTPStatus.OK, "application/json", json.dumps(document).encode() + b"\n"

    def _readyz(self) -> tuple[HTTPStatus, str, bytes]:
        if self.broken.is_set():
            return HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", b"an engine is broken\n"
        registry = self._registry()
        if registry.draining is not None:
            reason = f"draining: {registry.draining}\n"
            return HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", reason.encode()
        if registry.loading is not None:
            reason = f"not serving yet: {registry.loading}\n"
            return HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", reason.encode()
        limits = self.settings.limits
        stuck = self._pipeline and self._pipeline.stuck(seconds=limits.stuck_seconds)
        if stuck:
            return HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", f"stuck: {stuck}\n".encode()
        return HTTPStatus.OK, "text/plain", b"ready\n"

    def _in_service(self) -> tuple[HTTPStatus, str, bytes]:
        """As `_readyz`, and all right while a model is waited for: another server would wait too.

        For a load balancer whose group replaces what is not.
        """
        status, kind, body = self._readyz()
        draining = self._registry().draining is not None
        if self._waits_for_model and not draining and not self.broken.is_set():
            status = HTTPStatus.OK
        return status, kind, body

    def _metrics_page(self) -> tuple[HTTPStatus, str, bytes]:
        if self._pipeline is not None:
            self.metrics.waiting.set(self._pipeline.frames_waiting)
        return HTTPStatus.OK, self.metrics.content_type, self.metrics.exposition()
