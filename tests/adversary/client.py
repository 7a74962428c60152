"""A client of docs/protocol.md, written from that document alone: it imports nothing of ours."""

from __future__ import annotations

import asyncio
import json
import struct
import time


class Connection:
    """Raw TCP: a message is its length as u32, then its bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int, *, source: str = "127.0.0.1") -> Connection:
        return cls(
            *await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0), limit=2**20)
        )

    def send(self, message: bytes) -> None:
        self.writer.write(length_prefixed(message))

    async def receive(self) -> bytes:
        """Raises asyncio.IncompleteReadError or ConnectionError when the connection has ended."""
        async with asyncio.timeout(60):
            (length,) = struct.unpack(">I", await self.reader.readexactly(4))
            return await self.reader.readexactly(length)

    async def ended(self) -> int | None:
        """Read until the end; the code of the server's CLOSE, None without one."""
        try:
            while True:
                message = await self.receive()
                if message[0] == 0x31:
                    return int(struct.unpack_from(">BH", message)[1])
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def hello(self, **options: object) -> dict[str, object] | int:
        """As `welcome`, after HELLO with these options."""
        self.send(hello(**options))
        return await self.welcome()

    async def welcome(self) -> dict[str, object] | int:
        """WELCOME's JSON, or the code of the CLOSE that came instead."""
        message = await self.receive()
        if message[0] == 0x31:
            return int(struct.unpack_from(">BH", message)[1])
        assert message[0] == 0x02
        return dict(json.loads(message[2:]))

    def abort(self) -> None:
        self.writer.transport.abort()


def length_prefixed(message: bytes) -> bytes:
    return struct.pack(">I", len(message)) + message


def hello(**options: object) -> bytes:
    return b"\x01VSTK\x01\x01" + json.dumps(options).encode()


def frame(
    sequence: int, payload: bytes, *, encoding: int, width: int = 0, height: int = 0
) -> bytes:
    captured = time.monotonic_ns() // 1000
    return struct.pack(">BBHHHQQ", 0x10, encoding, width, height, 0, sequence, captured) + payload


def ping() -> bytes:
    return struct.pack(">BQ", 0x20, 0)


CONTINUATION, BINARY, PING, PONG = 0, 2, 9, 10


async def upgraded(http_port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A WebSocket of which each frame is ours to choose (RFC 6455)."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", http_port, local_addr=("127.0.0.2", 0)
    )
    writer.write(
        b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Version: 13\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


def websocket_frame(opcode: int, data: bytes = b"", *, last: bool = True) -> bytes:
    """Masked with zeros, as a client's has to be; up to 125 bytes."""
    return bytes([(last << 7) | opcode, 0x80 | len(data), 0, 0, 0, 0]) + data


class HonestStream:
    """One lossless stream, a frame at a time; how long each took."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sequence = 0

    @classmethod
    async def open(cls, port: int, token: str) -> HonestStream:
        connection = await Connection.open(port, source="127.0.0.9")
        assert isinstance(await connection.hello(token=token, policy="lossless"), dict)
        return cls(connection)

    async def times(self, frames: int) -> list[float]:
        """Seconds from sending to RESULT; every answer is checked to be this frame's."""
        taken = []
        for _ in range(frames):
            began = time.perf_counter()
            self._connection.send(
                frame(self._sequence, bytes(16 * 16 * 3), encoding=4, width=16, height=16)
            )
            answer = await self._connection.receive()
            assert answer[0] == 0x11
            assert struct.unpack_from(">Q", answer, 8) == (self._sequence,)
            taken.append(time.perf_counter() - began)
            self._sequence += 1
            await asyncio.sleep(0.002)
        return taken

    def abort(self) -> None:
        self._connection.abort()
