"""`visionstack serve`: what it says before it serves, and why it does not."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from visionstack.client.serve_command import serve
from visionstack.errors import VisionstackError

OPTIONS = {"engine": "auto", "host": "127.0.0.1", "http_port": 0, "token": "t" * 30}


def test_a_model_that_is_not_built_is_named_with_the_command_that_builds_it(
    tmp_path: Path,
) -> None:
    with pytest.raises(VisionstackError, match="visionstack models build yolov9"):
        serve(["yolov9"], port=0, models_folder=tmp_path, **OPTIONS)


def test_a_host_beyond_loopback_wants_a_token_that_cannot_be_guessed(tmp_path: Path) -> None:
    options = {**OPTIONS, "host": "192.0.2.1", "token": "short"}
    with pytest.raises(VisionstackError, match="at least 24"):
        serve(["any"], port=0, models_folder=tmp_path, **options)


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    from runtime.streaming.errors import SettingsError
    from runtime.streaming.server import Server
    from runtime.streaming.settings import Settings, Tls
    from tests.unit.streaming.conftest import FakeSource

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(
            models=("fake",),
            models_folder=tmp_path,
            port=port,
            http_port=0,
            tls=Tls.OFF,
            token="t" * 30,
        )
        server = Server(settings, source=FakeSource())
        with pytest.raises(SettingsError, match=str(port)):
            await server.start()
        await server.stop()
