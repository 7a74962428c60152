"""Attacks to run beside an honest stream, in a process of their own: `NAME PORT HTTP_PORT TOKEN`.

Each goes on until it is killed. The process gives way to others (nice), as it stands for another
machine: what is measured is what the server does, not a fight for this machine's processors.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.adversary.client import PING, Connection, frame, hello, ping, upgraded, websocket_frame
from tests.hostile import many_scans

ADDRESS = "127.0.0.2"


async def long_hellos(port: int, http_port: int, token: str) -> None:
    """A mebibyte over WebSocket before any token."""
    message = b"\x01VSTK\x01\x01" + bytes(2**20)
    while True:
        async with connect(f"ws://127.0.0.1:{http_port}/stream", close_timeout=0.1) as socket:
            with contextlib.suppress(ConnectionClosed):
                await socket.send(message)
            await socket.wait_closed()
            assert socket.close_code in (1006, 1009), socket.close_code


async def heavy_streams(port: int, http_port: int, token: str) -> None:
    """Four streams that send windows full of 8 MiB each, which wait until they are decoded."""
    message = frame(0, bytes(8 * 2**20), encoding=1)
    streams = [await Connection.open(port, source=ADDRESS) for _ in range(4)]
    for one in streams:
        assert isinstance(await one.hello(token=token, policy="lossless"), dict)

    async def use(one: Connection) -> None:
        unanswered, sequence = 0, 0
        while True:
            while unanswered < 8:
                head = frame(sequence, b"", encoding=1)
                one.send(head + message[len(head) :])
                await one.writer.drain()
                sequence, unanswered = sequence + 1, unanswered + 1
            await one.receive()
            unanswered -= 1

    await asyncio.gather(*map(use, streams))


async def heavy_websockets(port: int, http_port: int, token: str) -> None:
    """The same over WebSocket."""

    async def use() -> None:
        address = f"ws://127.0.0.1:{http_port}/stream"
        async with connect(
            address, compression=None, ping_interval=None, local_addr=(ADDRESS, 0)
        ) as socket:
            await socket.send(hello(token=token, policy="lossless"))
            await socket.recv()
            message = frame(0, bytes(8 * 2**20), encoding=1)
            unanswered, sequence = 0, 0
            while True:
                while unanswered < 8:
                    head = frame(sequence, b"", encoding=1)
                    await socket.send(head + message[len(head) :])
                    sequence, unanswered = sequence + 1, unanswered + 1
                await socket.recv()
                unanswered -= 1

    await asyncio.gather(*(use() for _ in range(4)))


async def slow_pictures(port: int, http_port: int, token: str) -> None:
    """Six streams of pictures within all limits that each take half a second of a processor."""
    picture = many_scans(11, size=(3000, 3000))
    streams = [await Connection.open(port, source=ADDRESS) for _ in range(6)]
    for one in streams:
        # A lossless stream's frames would be decoded after it was killed as well.
        assert isinstance(await one.hello(token=token, policy="live"), dict)

    async def use(one: Connection) -> None:
        for sequence in itertools.count():
            one.send(frame(sequence, picture, encoding=1))
            await one.writer.drain()
            if sequence:
                await one.receive()

    await asyncio.gather(*map(use, streams))


async def pings(port: int, http_port: int, token: str) -> None:
    """As many as the connection takes, for as long as it is not ended, and again on the next."""
    message = ping()
    many = (len(message).to_bytes(4) + message) * 1000
    while True:
        one = await Connection.open(port, source=ADDRESS)
        await one.hello(token=token)
        ending = asyncio.create_task(read_all(one))
        with contextlib.suppress(ConnectionError):
            while not (ending.done() or one.writer.is_closing()):
                one.writer.write(many)
                await one.writer.drain()
        await ending
        one.abort()


async def websocket_pings(port: int, http_port: int, token: str) -> None:
    """WebSocket's own pings before any token, as many as the connection takes; nothing is read."""
    while True:
        _, writer = await upgraded(http_port)
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(websocket_frame(PING) * 1000)
                await writer.drain()
        writer.transport.abort()


async def downloads(port: int, http_port: int, token: str) -> None:
    """The page's largest files without a token, by connections of which half read nothing."""

    async def ask(number: int) -> None:
        while True:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", http_port, local_addr=(ADDRESS, 0)
            )
            file = [b"onnxruntime/ort-wasm-simd-threaded.jsep.wasm", b"sample.mp4"][number // 2 % 2]
            span = [b"", b"Range: bytes=0-1048575\r\n"][number // 4 % 2]
            writer.write(b"GET /" + file + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n" + span + b"\r\n")
            if number % 2:
                await read_all(Connection(reader, writer))
            else:
                writer.transport.pause_reading()
                await asyncio.sleep(1)
            writer.transport.abort()

    await asyncio.gather(*map(ask, range(200)))


async def requests(port: int, http_port: int, token: str) -> None:
    """Requests without a token, each on a connection of its own."""

    async def ask() -> None:
        while True:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", http_port, local_addr=(ADDRESS, 0)
            )
            writer.write(b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            await read_all(Connection(reader, writer))
            writer.transport.abort()

    await asyncio.gather(*(ask() for _ in range(200)))


async def read_all(one: Connection) -> None:
    """Until the connection ends; without taking messages apart, which would slow the flood."""
    with contextlib.suppress(ConnectionError):
        while await one.reader.read(2**18):
            pass


async def nothing(port: int, http_port: int, token: str) -> None:
    """As much of this machine as an attack takes, and no connection: what the others are compared
    with, so that what is seen is the server and not the processor that the attacker shares."""
    while True:
        await asyncio.sleep(0)


ATTACKS = {
    one.__name__: one
    for one in (
        long_hellos,
        heavy_streams,
        heavy_websockets,
        slow_pictures,
        pings,
        websocket_pings,
        downloads,
        requests,
        nothing,
    )
}

if __name__ == "__main__":
    os.nice(10)
    name, port, http_port, token = sys.argv[1:]
    print("begun", flush=True)
    asyncio.run(ATTACKS[name](int(port), int(http_port), token))
