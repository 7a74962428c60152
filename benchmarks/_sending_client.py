"""A camera and one way of sending its frames: a process, asked by one JSON argument.

The camera shows frames at a fixed rate, already encoded, so that capturing costs nothing. A way
that cannot keep up leaves out frames and takes the newest; a clip leaves out none. The answer is
one line of JSON: for each answered frame its number and the milliseconds from capture to result.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks._load import HttpConnection
from benchmarks._peers.servers import TOKEN
from benchmarks._sending_server import CLIP, PICTURE
from runtime.streaming.host.certificate import Certificate
from visionstack.stream.client import AsyncStreamClient
from visionstack.stream.errors import StreamError
from visionstack.stream.types import FailedFrame, StreamAddress, StreamResult

Way = Literal["request", "kept", "clip", "stream"]


@dataclass(frozen=True, kw_only=True)
class Sending:
    """What is to be done."""

    way: Way
    host: str
    port: int
    fingerprint: str
    """Of the stream server's certificate."""
    frames: Sequence[str]
    """JPEG files, shown in turn."""
    fps: float
    seconds: float
    warmup: float
    """Seconds before the first frame that counts: connections are open, buffers have grown."""
    clip_seconds: float = 1.0


@dataclass
class Sent:
    """What came of it."""

    captured: int = 0
    delays_ms: list[tuple[int, float]] = field(default_factory=list)
    """(frame, milliseconds from capture to result), in the order of the results."""


@dataclass(frozen=True)
class Captured:
    number: int
    at: float
    picture: bytes


class Camera:
    """Frames at their times, by the monotonic clock, whatever becomes of those before."""

    def __init__(self, sending: Sending) -> None:
        self._sending = sending
        self._pictures = [Path(path).read_bytes() for path in sending.frames]
        self._began = time.monotonic()
        self.counted_from = self._began + sending.warmup
        self.sent = Sent()

    async def frames(self) -> AsyncIterator[Captured]:
        sending = self._sending
        for number in range(int((sending.warmup + sending.seconds) * sending.fps)):
            due = self._began + number / sending.fps
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            # The frame exists from its time on, however late this process noticed.
            self.sent.captured += due >= self.counted_from
            yield Captured(number, due, self._pictures[number % len(self._pictures)])

    def answered(self, frame: Captured) -> None:
        """The result for a frame is here."""
        if frame.at >= self.counted_from:
            delay = (time.monotonic() - frame.at) * 1000
            self.sent.delays_ms.append((frame.number, round(delay, 3)))


class Connection(HttpConnection):
    """To the server of both ways that do not stream."""

    def __init__(self, sending: Sending) -> None:
        certificate = Certificate.from_token(TOKEN).certificate.decode()
        tls = ssl.create_default_context(cadata=certificate)
        tls.check_hostname = False
        super().__init__(sending.host, sending.port, tls=tls)

    async def post(self, path: str, body: bytes) -> None:
        """Send it and wait for the answer; connects when there is no connection."""
        head = f"POST {path} HTTP/1.1\r\nHost: far\r\nContent-Length: {len(body)}\r\n\r\n"
        json.loads(await self.send(head.encode() + body))


async def run(sending: Sending) -> Sent:
    camera = Camera(sending)
    match sending.way:
        case "stream":
            await _stream(sending, camera)
        case "clip":
            await _clips(sending, camera)
        case _:
            await _requests(sending, camera, keep=sending.way == "kept")
    return camera.sent


async def _requests(sending: Sending, camera: Camera, *, keep: bool) -> None:
    newest: asyncio.Queue[Captured | None] = asyncio.Queue(maxsize=1)

    async def show(frame: Captured | None) -> None:
        if newest.full():
            newest.get_nowait()
            newest.task_done()
        newest.put_nowait(frame)

    async def watch() -> None:
        async for frame in camera.frames():
            await show(frame)
        await newest.join()
        await show(None)

    connection = Connection(sending)
    watching = asyncio.create_task(watch())
    while (frame := await newest.get()) is not None:
        await connection.post(PICTURE, frame.picture)
        camera.answered(frame)
        newest.task_done()
        if not keep:
            connection.close()
    await watching
    connection.close()


async def _clips(sending: Sending, camera: Camera) -> None:
    """One clip is uploaded while the next is collected, on a kept connection."""
    connection = Connection(sending)
    in_turn = asyncio.Lock()

    async def upload(clip: list[Captured]) -> None:
        async with in_turn:
            await connection.post(CLIP, b"".join(frame.picture for frame in clip))
        for frame in clip:
            camera.answered(frame)

    uploads = []
    clip: list[Captured] = []
    async for frame in camera.frames():
        clip.append(frame)
        if len(clip) >= sending.clip_seconds * sending.fps:
            uploads.append(asyncio.create_task(upload(clip)))
            clip = []
    if clip:
        uploads.append(asyncio.create_task(upload(clip)))
    await asyncio.gather(*uploads)
    connection.close()


async def _stream(sending: Sending, camera: Camera) -> None:
    address = StreamAddress(sending.host, sending.port, TOKEN, sending.fingerprint)
    async with AsyncStreamClient(address, policy="live") as client:

        async def watch() -> None:
            async for frame in camera.frames():
                await client.send(frame.picture, context=frame)

        watching = asyncio.create_task(watch())
        watching.add_done_callback(lambda _: client.notify())
        async for answer in client.until(watching.done):
            if isinstance(answer, StreamResult):
                camera.answered(answer.context)
            elif isinstance(answer, FailedFrame):
                raise StreamError(f"Frame {answer.sequence} failed: {answer.reason}")
        await watching


def main() -> None:
    sending = Sending(**json.loads(sys.argv[1]))
    sys.stdout.write(json.dumps(asdict(asyncio.run(run(sending)))) + "\n")


if __name__ == "__main__":
    main()
