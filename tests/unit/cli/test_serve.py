"""`visionstack serve`: what it says before it serves, and why it does not."""

from __future__ import annotations

import asyncio
import os
import resource
import shlex
import signal
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from runtime.contract import Tls
from runtime.protocol.errors import StreamingError
from runtime.streaming import server as server_module
from runtime.streaming.errors import SettingsError
from runtime.streaming.server import Server
from runtime.streaming.settings import Settings
from tests.unit.streaming.conftest import FakeDetector, FakeSource, make_server, picture
from visionstack.cli import serve_run
from visionstack.cli.page import bracketed, page_address
from visionstack.cli.serve_run import serve
from visionstack.errors import VisionstackError
from visionstack.stream.blocking import StreamClient
from visionstack.stream.client import Patience
from visionstack.stream.types import FailedFrame, StreamAddress

OPTIONS = {"engine": "auto", "host": "127.0.0.1", "http_port": 0, "token": "t" * 30}


def test_a_model_that_is_not_built_is_named_with_the_command_that_builds_it(
    tmp_path: Path,
) -> None:
    with pytest.raises(VisionstackError, match="visionstack models build yolov9"):
        serve(["yolov9"], port=0, models_folder=tmp_path, **OPTIONS)


def with_a_fake_detector(settings: Settings) -> Server:
    return Server(settings, source=FakeSource(FakeDetector()), gpus=lambda: None)


def test_a_port_that_is_taken_comes_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve_run, "Server", with_a_fake_detector)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(VisionstackError, match=str(port)) as refused:
            serve(["fake"], port=port, models_folder=tmp_path, **OPTIONS)
    assert "--port 0" in str(refused.value.remedy)


async def test_the_printed_command_takes_a_token_with_spaces(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = make_server(tmp_path, token="a token & more")
    await server.start()
    serve_run._announce(server)
    await server.stop()
    line = next(one for one in capsys.readouterr().err.splitlines() if one.startswith("try: "))
    assert shlex.split(line)[-2:] == ["--token", "a token & more"]


def test_a_host_beyond_loopback_wants_a_token_that_cannot_be_guessed(tmp_path: Path) -> None:
    options = {**OPTIONS, "host": "192.0.2.1", "token": "short"}
    with pytest.raises(VisionstackError, match="at least 24"):
        serve(["any"], port=0, models_folder=tmp_path, **options)


def test_a_broken_engine_ends_the_command_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = FakeDetector()
    servers: list[Server] = []

    def make(settings: Settings) -> Server:
        servers.append(Server(settings, source=FakeSource(detector), gpus=lambda: None))
        return servers[0]

    def use() -> None:
        while not servers or not servers[0].port:
            time.sleep(0.01)
        address = StreamAddress("127.0.0.1", servers[0].port, OPTIONS["token"])
        # It listens before its models are loaded.
        patience = Patience(begin=60)
        with StreamClient(address, policy="lossless", patience=patience) as client:
            assert client.detect(picture(5)).detections
            detector.dead = True
            client.send(picture(6))
            assert isinstance(client.answer(), FailedFrame)

    monkeypatch.setattr(serve_run, "Server", make)
    monkeypatch.setattr(server_module, "_PROBE_SECONDS", 0.05)
    with ThreadPoolExecutor(1) as pool:
        used = pool.submit(use)
        # Without its client nothing would end the server.
        used.add_done_callback(lambda it: it.exception() and os.kill(os.getpid(), signal.SIGTERM))
        try:
            with pytest.raises(VisionstackError, match="engine failed"):
                serve(["fake"], port=0, models_folder=tmp_path, **OPTIONS)
        finally:
            used.result(timeout=60)


async def test_it_makes_room_for_newcomers_as_an_instances_server_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--phone` and `--host` open it to a network."""

    class FullServer(Server):
        def make_room(self) -> int:
            evicted.append(True)
            return 1

        async def start(self) -> None:
            limits.append(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
            context = {"message": "socket.accept() out of system resource"}
            asyncio.get_running_loop().call_exception_handler(context)
            raise StreamingError("enough seen")

    evicted: list[bool] = []
    limits: list[int] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    settings = make_server(tmp_path).settings
    monkeypatch.setattr(serve_run, "Server", FullServer)
    try:
        with pytest.raises(StreamingError, match="enough seen"):
            await serve_run._run(settings, open_browser=False, qr_code=False)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert evicted
    assert limits[0] >= min(settings.limits.descriptors, hard)


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = make_server(tmp_path, port=port)
        with pytest.raises(SettingsError, match=str(port)):
            await server.start()
        await server.stop()


def test_printed_addresses_can_be_used_even_when_every_address_is_served() -> None:
    assert serve_run.reachable_host("127.0.0.1") == "127.0.0.1"
    wildcards = (serve_run.ANY_ADDRESS, "::")
    for host in wildcards:
        assert serve_run.reachable_host(host) not in (*wildcards, "")


async def test_the_pages_address_carries_the_token_where_no_server_sees_it(tmp_path: Path) -> None:
    server = make_server(tmp_path)
    await server.start()
    address = serve_run.page_of(server, host="127.0.0.1")
    await server.stop()
    assert address.startswith("http://127.0.0.1:")
    assert parse_qs(address.partition("#")[2]) == {"token": [server.settings.token]}


def test_a_token_of_any_characters_comes_through_the_pages_address() -> None:
    token = "a+b&c=d#e%20é"
    address = page_address(f"https://{bracketed('::1')}:8443", token=token)
    assert address.startswith("https://[::1]:8443/#")
    assert parse_qs(urlsplit(address).fragment, strict_parsing=True) == {"token": [token]}


def test_the_certificate_of_all_addresses_names_those_that_are_printed() -> None:
    names = serve_run.certificate_names(serve_run.ANY_ADDRESS)
    assert serve_run.reachable_host(serve_run.ANY_ADDRESS) in names
    assert socket.gethostname() in names
    assert not {serve_run.ANY_ADDRESS, "::", ""} & set(names)


async def test_the_served_certificate_is_for_the_name_and_the_address_it_is_reached_by(
    tmp_path: Path,
) -> None:
    server = make_server(tmp_path, tls=Tls.SELF_SIGNED, names=("camera.example", "192.0.2.7"))
    await server.start()
    try:
        pem = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", server.http_port))
        trusting = ssl.create_default_context(cadata=pem)
        for name in ("127.0.0.1", "localhost", "camera.example", "192.0.2.7"):
            _, writer = await asyncio.open_connection(
                "127.0.0.1", server.http_port, ssl=trusting, server_hostname=name
            )
            writer.close()
        with pytest.raises(ssl.SSLCertVerificationError, match="certificate is not valid for"):
            await asyncio.open_connection(
                "127.0.0.1", server.http_port, ssl=trusting, server_hostname="other.example"
            )
    finally:
        await server.stop()
