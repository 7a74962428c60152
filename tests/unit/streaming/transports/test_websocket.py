"""The same messages over WebSocket, and the page's own codec against Python's."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from runtime.protocol import messages
from runtime.protocol.errors import CloseCode
from runtime.protocol.limits import Limits
from runtime.protocol.messages import (
    Close,
    Detection,
    Dropped,
    Encoding,
    Frame,
    Hello,
    Ping,
    Pong,
    Result,
    ResultFlag,
    Timing,
    Welcome,
)
from runtime.protocol.options import HelloOptions
from runtime.streaming.settings import Tls
from runtime.streaming.transports import websocket
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
    assert b'src="camera.js"' in body
    assert b"http://" not in body
    assert b"https://" not in body


def in_node(expression: str) -> Any:
    """What the page's codec makes of something, as JSON."""
    program = f"""
        import * as codec from {json.dumps((PAGE / "protocol.js").as_uri())};
        const hex = (bytes) => Buffer.from(bytes).toString("hex");
        const bytes = (text) => new Uint8Array(Buffer.from(text, "hex"));
        console.log(JSON.stringify({expression}));
    """
    done = subprocess.run(
        ["node", "--experimental-default-type=module", "--input-type=module", "-e", program],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_what_the_page_sends_is_what_the_server_reads() -> None:
    hello, frame, ping = (
        messages.decode(bytes.fromhex(text))
        for text in in_node(
            '[codec.encodeHello({token: "t", policy: "live", track: true}),'
            " codec.encodeFrame(5, 123456789012, new Uint8Array([1, 2, 3])),"
            " codec.encodePing(77)].map(hex)"
        )
    )
    assert hello == Hello(HelloOptions(token="t", track=True))
    assert frame == Frame(5, 123456789012, Encoding.JPEG, b"\1\2\3")
    assert ping == Ping(77)


def test_what_the_server_sends_is_what_the_page_reads() -> None:
    sent = [
        Result(
            9,
            640,
            480,
            Timing(1, 2, 3, 4, 5, 6, 1),
            (Detection(16, 0.5, (1.0, 2.0, 3.0, 4.5), 7),),
            ResultFlag.TRACKED,
        ),
        Dropped((3, 4)),
        Pong(1, 2, 3),
        Close(CloseCode.GOING_AWAY, "später"),
    ]
    result, dropped, pong, close = in_node(
        f"{json.dumps([message.encode().hex() for message in sent])}"
        ".map((text) => codec.decode(bytes(text)))"
    )
    assert result["detections"] == [
        {"box": [1, 2, 3, 4.5], "confidence": 0.5, "classId": 16, "track": 7}
    ]
    assert [result[key] for key in ("sequence", "width", "height", "flags")] == [9, 640, 480, 4]
    assert [result[key] for key in ("decode", "queue", "inference", "post")] == [3, 4, 5, 6]
    assert dropped["sequences"] == [3, 4]
    assert (pong["sent"], pong["received"], pong["answered"]) == (1, 2, 3)
    assert (close["code"], close["reason"]) == (4012, "später")
