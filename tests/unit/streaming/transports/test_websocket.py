"""The same messages over WebSocket, and the page's own codec against Python's."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from runtime.contract import Tls
from runtime.protocol import messages
from runtime.protocol.errors import CloseCode
from runtime.protocol.limits import Limits
from runtime.protocol.messages import Close, Encoding, Frame, Hello, Ping, Pong, Welcome
from runtime.protocol.options import HelloOptions
from runtime.streaming.errors import SettingsError
from runtime.streaming.settings import Settings
from runtime.streaming.transports import websocket
from runtime.streaming.transports.page import serving
from tests.unit.streaming.conftest import TOKEN, ServerFactory, picture

PAGE = Path(websocket.__file__).parent / "page"


async def open_stream(port: int, **options: Any) -> ClientConnection:
    socket = await connect(f"ws://127.0.0.1:{port}/stream", max_size=None)
    await socket.send(Hello(HelloOptions(**{"token": TOKEN, **options})).encode())
    return socket


async def test_frames_and_results_travel_over_websocket(running: ServerFactory) -> None:
    async with running() as one:
        socket = await open_stream(one.server.http_port, policy="lossless")
        assert isinstance(messages.decode(await socket.recv()), Welcome)
        for sequence in range(8):
            await socket.send(Frame(sequence, 0, Encoding.PNG, picture(sequence)).encode())
        answers = [messages.decode(await socket.recv()) for _ in range(8)]
        assert [answer.sequence for answer in answers] == list(range(8))
        assert [answer.detections[0].class_id for answer in answers] == list(range(8))
        await socket.send(Ping(7).encode())
        pong = messages.decode(await socket.recv())
        assert isinstance(pong, Pong)
        assert pong.sent == 7
        await socket.close()


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes the library has been given at a time."""
    sizes: list[int] = []
    read = ServerConnection.data_received

    def noted(self: ServerConnection, data: bytes) -> None:
        sizes.append(len(data))
        read(self, data)

    monkeypatch.setattr(ServerConnection, "data_received", noted)
    return sizes


async def test_a_frame_is_read_whole_and_what_follows_it_in_small_pieces(
    running: ServerFactory, pieces: list[int]
) -> None:
    """A large frame in pieces of 4 KiB took twice as long; many pings at once hold the loop up."""
    async with running() as one:
        socket = await open_stream(one.server.http_port, policy="lossless")
        await socket.recv()
        assert max(pieces) <= 256
        pieces.clear()
        await socket.send(Frame(0, 0, Encoding.PNG, picture(0) + bytes(2**21)).encode())
        await socket.recv()
        assert sum(pieces) > 2**21
        assert len(pieces) < 2**21 / 8192
        pieces.clear()
        masked_ping = bytes([0x89, 0x80, 0, 0, 0, 0])
        socket.transport.write(masked_ping * 2000)
        await socket.wait_closed()
        assert max(pieces) <= 4096


async def test_what_follows_a_refused_message_is_thrown_away_at_once(
    running: ServerFactory, pieces: list[int]
) -> None:
    """In pieces, a mebibyte before any token held all streams up for 14 ms."""
    async with running() as one:
        socket = await connect(f"ws://127.0.0.1:{one.server.http_port}/stream")
        pieces.clear()
        with contextlib.suppress(ConnectionClosed):
            await socket.send(bytes(2**20))
        await socket.wait_closed()
    assert sum(pieces) > 2**14
    assert len(pieces) < 8 + sum(pieces) / 1024


@pytest.mark.parametrize("greeted", [True, False])
@pytest.mark.parametrize("first_byte", [0x82, 0x00], ids=["messages", "fragments"])
async def test_of_many_small_messages_few_are_read_in_one_turn_of_the_loop(
    running: ServerFactory, monkeypatch: pytest.MonkeyPatch, first_byte: int, greeted: bool
) -> None:
    """One read holds 37,000 of one byte: a fifth of a second."""
    turns = [0]
    read = ServerConnection.data_received

    def noted(self: ServerConnection, data: bytes) -> None:
        turns[-1] += len(data)
        read(self, data)

    async def count() -> None:
        while True:
            turns.append(0)
            await asyncio.sleep(0)

    async with running() as one:
        if greeted:
            socket = await open_stream(one.server.http_port, policy="lossless")
            await socket.recv()
        else:
            socket = await connect(f"ws://127.0.0.1:{one.server.http_port}/stream")
        monkeypatch.setattr(ServerConnection, "data_received", noted)
        counting = asyncio.create_task(count())
        begin = bytes([0x02, 0x81, 0, 0, 0, 0, 0x10]) if first_byte == 0 else b""
        socket.transport.write(begin + bytes([first_byte, 0x81, 0, 0, 0, 0, 0x10]) * 20_000)
        await socket.wait_closed()
        counting.cancel()
    assert 0 < max(turns) <= 2 * 4096


async def test_a_requests_headers_are_bounded(running: ServerFactory) -> None:
    async with running(limits=replace(Limits(), handshake_seconds=60, linger_seconds=60)) as one:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.server.http_port)
        writer.write(b"GET /nothing HTTP/1.1\r\nHost: localhost")
        async with asyncio.timeout(60):
            with contextlib.suppress(ConnectionError):
                while not writer.is_closing():
                    writer.write(b"\r\na: " + b"b" * 8000)
                    await writer.drain()
                    await asyncio.sleep(0.01)
                await reader.read()
        assert one.server.registry.pending.make_room() == 0
        writer.transport.abort()


async def test_a_wrong_token_is_told_by_message_and_by_close_code(running: ServerFactory) -> None:
    async with running() as one:
        socket = await open_stream(one.server.http_port, token="wrong")
        close = messages.decode(await socket.recv())
        assert isinstance(close, Close)
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == close.code == CloseCode.WRONG_TOKEN


async def test_a_frame_above_the_limit_ends_the_connection(running: ServerFactory) -> None:
    limits = replace(Limits(), frame_bytes=2000, drain_seconds=1)
    async with running(limits=limits) as one:
        socket = await open_stream(one.server.http_port)
        await socket.recv()
        await socket.send(Frame(0, 0, Encoding.JPEG, bytes(3000)).encode())
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code in (1009, CloseCode.MESSAGE_TOO_LARGE)


async def test_a_websocket_that_says_nothing_is_ended(running: ServerFactory) -> None:
    limits = replace(Limits(), handshake_seconds=0.3, drain_seconds=1)
    async with running(limits=limits) as one:
        socket = await connect(f"ws://127.0.0.1:{one.server.http_port}/stream")
        assert isinstance(messages.decode(await socket.recv()), Close)
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == CloseCode.HANDSHAKE_TIMEOUT


async def test_a_websocket_that_is_cut_leaves_nothing_behind(running: ServerFactory) -> None:
    async with running() as one:
        socket = await open_stream(one.server.http_port)
        await socket.recv()
        socket.transport.abort()
        for _ in range(200):
            await asyncio.sleep(0.01)
            if not one.server.registry.connections:
                break
        assert not one.server.registry.connections


async def test_the_page_is_served_and_loads_nothing_from_elsewhere(running: ServerFactory) -> None:
    async with running(tls=Tls.SELF_SIGNED) as one:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", one.server.http_port, ssl=context
        )
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    assert head.startswith(b"HTTP/1.1 200")
    assert b"default-src 'self'" in head
    assert b'src="app.js"' in body
    assert b"http://" not in body
    assert b"https://" not in body


async def get(port: int, path: str, **headers: str) -> tuple[bytes, bytes]:
    """Head and body of a plain GET."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head, body


async def test_a_model_is_lent_in_pieces_and_only_for_the_token(
    running: ServerFactory, tmp_path: Path
) -> None:
    folder = tmp_path / "fake" / "1"
    folder.mkdir(parents=True)
    (tmp_path / "fake" / "current").write_text("1\n")
    (folder / "model.json").write_text('{"files": {"model.weights": {}}}')
    (folder / "model.weights").write_bytes(bytes(range(250)) * 8000)
    (folder / "private").write_text("not listed")
    async with running() as one:
        port, token = one.server.http_port, {"Authorization": f"Bearer {TOKEN}"}
        for given in ({}, {"Authorization": "Bearer wrong"}):
            head, _ = await get(port, "/models/fake/model.weights", **given)
            assert b" 401 " in head.splitlines()[0]
        head, body = await get(
            port, "/models/fake/model.weights", Range="bytes=250-9999999", **token
        )
        assert b" 206 " in head.splitlines()[0]
        assert b"bytes 250-1048825/2000000" in head
        assert len(body) == 1 << 20
        assert body[:3] == b"\0\1\2"
        for path in (
            "/models/fake/private",
            "/models/fake/..%2fcurrent",
            "/models/../fake/current",
        ):
            head, _ = await get(port, path, **token)
            assert b" 404 " in head.splitlines()[0]
        head, _ = await get(port, "/models/fake/model.weights", Range="bytes=2000000-", **token)
        assert b" 416 " in head.splitlines()[0]


async def test_a_large_file_is_given_in_pieces_only(
    running: ServerFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole ones of 28 MB, asked for by 200 who read nothing, took gigabytes without a token."""
    (tmp_path / "ort-large.wasm").write_bytes(bytes(3 << 20))
    monkeypatch.setattr(serving, "runtime_folder", lambda: tmp_path)
    async with running() as one:
        port = one.server.http_port
        head, body = await get(port, "/onnxruntime/ort-large.wasm")
        assert b" 416 " in head.splitlines()[0]
        assert b"Range: bytes=0-1048575" in body
        head, body = await get(port, "/onnxruntime/ort-large.wasm", Range="bytes=0-")
        assert b" 206 " in head.splitlines()[0]
        assert len(body) == 1 << 20


async def test_files_that_are_not_read_do_not_fill_memory_and_others_are_told_to_come_back(
    running: ServerFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ort-large.wasm").write_bytes(bytes(1 << 20))
    monkeypatch.setattr(serving, "runtime_folder", lambda: tmp_path)
    limits = replace(Limits(), page_bytes=7 << 20, drain_seconds=1)
    request = b"GET /onnxruntime/ort-large.wasm HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with running(limits=limits) as one:
        deaf = []
        for _ in range(2):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", one.server.http_port, limit=1024
            )
            writer.write(request)
            await reader.readline()
            deaf.append(writer)
        head, _ = await get(one.server.http_port, "/onnxruntime/ort-large.wasm")
        assert b" 503 " in head.splitlines()[0]
        assert b"Retry-After: 1" in head
        head, _ = await get(one.server.http_port, "/readyz")
        assert b" 200 " in head.splitlines()[0]
        for writer in deaf:
            writer.transport.abort()
        async with asyncio.timeout(60):
            body = b""
            while len(body) < 1 << 20:
                _, body = await get(one.server.http_port, "/onnxruntime/ort-large.wasm")


async def test_the_pages_files_weigh_less_than_150_kb_and_run_no_foreign_script(
    running: ServerFactory,
) -> None:
    async with running() as one:
        head, body = await get(one.server.http_port, "/app.js")
        policy = next(
            line for line in head.splitlines() if line.lower().startswith(b"content-security")
        )
        assert b"text/javascript" in head
        assert b"script-src 'self' 'wasm-unsafe-eval';" in policy
        assert b"unsafe-inline" not in policy
        assert b"import" in body
    # The sample clip is fetched only by who chooses it, or has no camera.
    opened = [path for path in PAGE.iterdir() if path.suffix not in {".py", ".mp4"}]
    assert sum(path.stat().st_size for path in opened) < 150_000


async def test_an_admitted_origin_may_read_and_ask_for_models_and_no_other(
    running: ServerFactory,
) -> None:
    page = "https://d111111abcdef8.cloudfront.net"

    async def ask(port: int, method: str, path: str, origin: str) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        more = "Access-Control-Request-Method: GET\r\n" if method == "OPTIONS" else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n"
        writer.write(f"{head}{more}\r\n".encode())
        answer = (await reader.read()).partition(b"\r\n\r\n")[0]
        writer.close()
        return int(answer.split()[1]), answer.lower()

    async with running(page_origin=page) as one:
        port = one.server.http_port
        status, head = await ask(port, "GET", "/healthz", page)
        assert status == 200
        assert f"access-control-allow-origin: {page}".encode() in head
        assert b"vary: origin" in head
        status, head = await ask(port, "OPTIONS", "/models/fake/model.json", page)
        assert status == 204
        assert b"access-control-allow-headers: authorization, range" in head
        for other in ("https://other.cloudfront.net", f"{page}:444", page.upper(), "null"):
            for method in ("GET", "OPTIONS"):
                status, head = await ask(port, method, "/healthz", other)
                assert status == 403
                assert b"access-control" not in head
        async with connect(f"ws://127.0.0.1:{port}/stream", origin=page) as socket:  # type: ignore[arg-type]
            await socket.send(Hello(HelloOptions(token=TOKEN)).encode())
            assert isinstance(messages.decode(await socket.recv()), Welcome)
    async with running() as one:
        status, head = await ask(one.server.http_port, "GET", "/healthz", page)
        assert status == 403


def test_a_page_origin_that_is_none_is_refused() -> None:
    for wrong in ("d1.cloudfront.net", "https://d1.cloudfront.net/", "https://D1.cloudfront.net"):
        with pytest.raises(SettingsError, match="is no origin"):
            Settings(models=("m",), models_folder=PAGE, token=TOKEN, page_origin=wrong)
