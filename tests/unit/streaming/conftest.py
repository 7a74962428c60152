"""A detector without a network, and servers on free ports of loopback."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.contract import Tls
from runtime.inference.pictures import Picture
from runtime.inference.store import Canary, Current
from runtime.protocol.limits import Limits
from runtime.protocol.options import HelloOptions, ModelOffer
from runtime.streaming.errors import ModelUnavailableError
from runtime.streaming.host.gpus import Gpus
from runtime.streaming.models import LoadedModel, ModelHost
from runtime.streaming.server import Server
from runtime.streaming.sessions.answers import Session
from runtime.streaming.settings import Settings
from visionstack.stream.types import StreamAddress

TOKEN = "a token of more than twenty-four characters"


@dataclass(frozen=True)
class FakeFound:
    class_id: int
    confidence: float
    box: tuple[float, float, float, float]


@dataclass
class FakeDetector:
    """Finds one object as large as the picture, whose class is the mean of its blue channel, so
    that every answer can be told apart. `poison` is a class that makes the engine raise; `dead`,
    that it does so on every picture."""

    seconds: float = 0.0
    poison: int | None = None
    dead: bool = False
    batches: list[int] = field(default_factory=list)
    labels: tuple[str, ...] = tuple(f"grey {level}" for level in range(256))
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def reduction(self, width: int, height: int) -> int:
        return 1

    def prepare(self, image: Picture) -> NDArray[np.uint8]:
        return image.pixels

    def infer(self, batch: Sequence[NDArray[np.uint8]]) -> list[int]:
        self.gate.wait(20)
        time.sleep(self.seconds)
        self.batches.append(len(batch))
        means = [round(float(image[..., 0].mean())) for image in batch]
        if self.dead:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if self.poison in means:
            raise RuntimeError("the engine does not like this one")
        return means

    def finish(
        self, raw: Any, prepared: NDArray[np.uint8], *, confidence: float, iou: float
    ) -> list[FakeFound]:
        height, width = prepared.shape[:2]
        return [FakeFound(raw, 0.9, (0.0, 0.0, float(width), float(height)))]


def offer(
    name: str = "fake", version: str = "1", *, labels: tuple[str, ...] = FakeDetector.labels
) -> ModelOffer:
    return ModelOffer(
        name=name,
        version=version,
        weights_trained=False,
        weights="there are none",
        engine="fake",
        precision="none",
        device="test",
        labels=labels,
    )


class FakeSource:
    """Models that exist by being named; `versions` says which version is current."""

    def __init__(
        self,
        detector: FakeDetector | None = None,
        *,
        names: Sequence[str] = ("fake",),
        batch: int = 1,
    ) -> None:
        self.detectors = {name: detector or FakeDetector() for name in names}
        self.versions = dict.fromkeys(names, "1")
        self.canaries: dict[str, Canary] = {}
        self.of_version: dict[str, FakeDetector] = {}
        """Detectors of versions that have one of their own."""
        self.broken: dict[str, str] = {}
        self.batch = batch
        self.loads: list[tuple[str, str]] = []
        self.asked = 0

    def wanted(self, name: str) -> Current:
        self.asked += 1
        return Current(self.versions[name], self.canaries.get(name))

    def load(self, name: str, version: str) -> LoadedModel:
        self.loads.append((name, version))
        if version in self.broken:
            raise ModelUnavailableError(self.broken[version])
        detector = self.of_version.get(version, self.detectors[name])
        offered = offer(name, version, labels=detector.labels)
        return LoadedModel(offered, detector, self.batch)


def picture(level: int, *, size: tuple[int, int] = (64, 48)) -> bytes:
    """A picture of one grey level."""
    width, height = size
    good, data = cv2.imencode(".png", np.full((height, width, 3), level, np.uint8))
    assert good
    return bytes(data)


def make_session(
    *, live: bool = False, window: int = 8, host: ModelHost | None = None, **options: Any
) -> Session:
    host = host or ModelHost(LoadedModel(offer(), FakeDetector()))
    policy = "live" if live else "lossless"
    return Session(
        options=HelloOptions(token=TOKEN, policy=policy, **options), host=host, window=window
    )


def make_server(
    folder: Path,
    *,
    source: FakeSource | None = None,
    gpus: Callable[[], Gpus | None] = lambda: None,
    **settings: Any,
) -> Server:
    """A server with fake models, on free ports of loopback and without TLS."""
    source = source or FakeSource()
    usual = {"port": 0, "http_port": 0, "tls": Tls.OFF, "token": TOKEN, "reload_seconds": 0.0}
    chosen = Settings(models=tuple(source.detectors), models_folder=folder, **{**usual, **settings})
    return Server(chosen, source=source, gpus=gpus)


@dataclass
class Running:
    server: Server
    source: FakeSource
    address: StreamAddress


ServerFactory = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def running(tmp_path: Path) -> ServerFactory:
    """`async with running(...) as one:` a server with fake models."""

    @asynccontextmanager
    async def make(
        *,
        source: FakeSource | None = None,
        limits: Limits | None = None,
        **settings: Any,
    ) -> AsyncIterator[Running]:
        source = source or FakeSource()
        limits = limits or replace(Limits(), drain_seconds=20.0)
        server = make_server(tmp_path, source=source, limits=limits, **settings)
        await server.start()
        try:
            yield Running(
                server,
                source,
                StreamAddress("127.0.0.1", server.port, TOKEN, server.fingerprint),
            )
        finally:
            await server.stop()

    return make


def _may_make_namespaces() -> bool:
    """Whether this machine lets these tests have network namespaces of their own."""
    name = f"vs-probe-{os.getpid()}"
    try:
        made = subprocess.run(
            ["ip", "netns", "add", name], check=False, capture_output=True, timeout=20
        )
        paired = subprocess.run(
            ["ip", "-n", name, "link", "add", "one", "type", "veth", "peer", "name", "other"],
            check=False,
            capture_output=True,
            timeout=20,
        )
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return made.returncode == paired.returncode == 0


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """A link can only be taken down where there may be one."""
    if collection_path.name == "test_network_cut.py" and not _may_make_namespaces():
        return True
    return None
