"""The streaming client for asyncio: sends pictures, gives back answers, reconnects by itself.

async with AsyncStreamClient(endpoint, policy="lossless") as client:
    async for answer in client.stream(pictures):
        ...
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypedDict

from runtime.backoff import full_jitter
from runtime.contract import DETECT_CONFIDENCE, DETECT_IOU, StreamEncoding, StreamPolicy
from runtime.protocol.clock import now_us
from runtime.protocol.errors import RETRYABLE, ProtocolError
from runtime.protocol.messages import Close, Welcome
from runtime.protocol.options import HelloOptions
from visionstack import __version__
from visionstack.stream.errors import (
    FrameRefusedError,
    StreamError,
    StreamRefusedError,
    StreamUnreachableError,
)
from visionstack.stream.h264 import H264Encoder
from visionstack.stream.link import StreamLink, connect
from visionstack.stream.pictures import EncodedPicture, Picture, encode_picture
from visionstack.stream.session import ClientSession
from visionstack.stream.types import (
    Answer,
    EndpointLike,
    FailedFrame,
    ServerInfo,
    StreamCounts,
    StreamResult,
)

_FIRST_PINGS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long the client waits and tries; all in seconds."""

    connect: float = 5.0
    """For one connection to be made and welcomed."""
    give_up: float = 30.0
    """Without a server that answers frames for this long, the stream ends with
    StreamUnreachableError: a welcome alone is no progress. One that has welcomed gets as long
    again to give its first answer."""
    begin: float = 5.0
    """The same for the first connection: there was no server yet to come back."""
    first_delay: float = 0.1
    """Before the second try; doubled for each further one, and drawn between 0 and that."""
    longest_delay: float = 5.0
    ping: float = 1.0
    silence: float = 4.0
    """Without an answer to a ping for this long, the connection is taken for dead."""


class StreamOptions(TypedDict, total=False):
    """What a stream client and the command can be asked for; defaults: `AsyncStreamClient`."""

    policy: StreamPolicy
    model: str | None
    confidence: float
    iou: float
    gate: float | None
    track: bool
    key_interval: int
    in_flight: int | None
    encoding: StreamEncoding
    quality: int
    patience: Patience | None


class AsyncStreamClient:
    """One stream of frames to one server, or to whichever of several answers.

    `policy` "live": a frame that can't be sent at once is dropped for the next. "lossless": `send`
    waits, every frame is answered once and in order, also over a reconnect. `in_flight` bounds the
    frames under way below what the server grants. `gate`, `track` and `key_interval` as in
    `docs/protocol.md`. Raises StreamError kinds.
    """

    def __init__(
        self,
        endpoint: EndpointLike | Sequence[EndpointLike],
        *,
        policy: StreamPolicy = "live",
        model: str | None = None,
        confidence: float = DETECT_CONFIDENCE,
        iou: float = DETECT_IOU,
        gate: float | None = None,
        track: bool = False,
        key_interval: int = 1,
        in_flight: int | None = None,
        encoding: StreamEncoding = "jpeg",
        quality: int = 90,
        patience: Patience | None = None,
    ) -> None:
        self._endpoints = list(endpoint) if isinstance(endpoint, Sequence) else [endpoint]
        self.encoding: StreamEncoding = encoding
        self.quality = quality
        self._patience = patience or Patience()
        self._live = policy == "live"
        self._video = H264Encoder(quality=quality) if encoding == "h264" else None
        self._session = ClientSession(
            HelloOptions(
                token="",
                policy=policy,
                model=model or "",
                confidence=confidence,
                iou=iou,
                gate=gate,
                track=track,
                key_interval=key_interval,
                client=f"visionstack/{__version__}",
            ),
            in_flight=in_flight,
        )
        self._link: StreamLink | None = None
        self._answers: deque[Answer] = deque()
        self._changed = asyncio.Event()
        """Set whenever anything happened that a waiting coroutine may want to know."""
        self._welcomed = asyncio.Event()
        self._error: StreamError | None = None
        self._farewell = ""
        """What the server said when it ended the last connection."""
        self._trouble: str | None = "not connected yet"
        self._closing = False
        self._holding = False
        self._progress = time.monotonic()
        """When the stream was last seen to get on: a frame answered, or nothing to answer."""
        self._keeper: asyncio.Task[None] | None = None

    @property
    def server(self) -> ServerInfo:
        """What serves the stream. Raises StreamError before the first connection."""
        if self._session.server is None:
            raise StreamError("The stream is not connected yet.")
        return self._session.server

    @property
    def trouble(self) -> str | None:
        """Why there is no connection just now; None while there is one."""
        return self._trouble

    @property
    def counts(self) -> StreamCounts:
        """Frames submitted, answered and dropped so far."""
        return self._session.counts

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self) -> None:
        """Raises StreamUnreachableError and StreamRefusedError."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep_connected())
        while self._session.server is None:
            await self._wait()

    async def close(self) -> None:
        """End the stream; frames without an answer are given up."""
        self._closing = True
        self._hang_up()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        self.notify()

    async def send(
        self, picture: Picture, *, captured: int | None = None, context: Any = None
    ) -> int:
        """Send a picture; returns its sequence number.

        `captured` is `runtime.protocol.clock.now_us()` when it was taken (default: now);
        `context` comes back with the answer.
        """
        captured = now_us() if captured is None else captured
        if isinstance(picture, bytes | EncodedPicture):
            encoded = encode_picture(picture)
        elif self._video is not None and not isinstance(picture, Path):
            if self._live and self._session.waits:
                # Later units need every one that was encoded: what must be dropped, drop before.
                sequence, dropped = self._session.refuse(context)
                self._give([dropped])
                return sequence
            encoded = await asyncio.to_thread(self._video.encode, picture)
        else:
            encoded = await asyncio.to_thread(
                encode_picture, picture, encoding=self.encoding, quality=self.quality
            )
        while not self._session.room:
            await self._wait()
        if self._video is not None and encoded.planes is not None:
            while encoded.video != self._video.video:
                # Another server took over while this picture was encoded or waited.
                encoded = await asyncio.to_thread(self._video.renew, encoded)
        self._raise_if_over()
        sequence, replaced = self._session.submit(encoded, captured=captured, context=context)
        self._give(replaced)
        self._flush()
        return sequence

    async def answers(self) -> AsyncIterator[Answer]:
        """Answers as they come, for ever; in lossless policy in the order of the frames."""
        while True:
            yield await self.answer()

    async def answer(self) -> Answer:
        """The next answer."""
        while not self._answers:
            await self._wait()
        answer = self._answers.popleft()
        if self._holding and len(self._answers) < self._most_answers // 2:
            self._hold(False)
        return answer

    async def detect(self, picture: Picture) -> StreamResult:
        """Send one picture and wait for its result, with no others under way.

        Raises FrameRefusedError when the server can't use the picture.
        """
        sequence = await self.send(picture)
        while True:
            answer = await self.answer()
            if answer.sequence != sequence:
                continue
            if isinstance(answer, StreamResult):
                return answer
            reason = answer.reason if isinstance(answer, FailedFrame) else "it was dropped"
            raise FrameRefusedError(f"The picture was not answered: {reason}")

    async def stream(
        self, pictures: AsyncIterable[Picture] | Iterable[Picture]
    ) -> AsyncIterator[Answer]:
        """Send all pictures while giving back answers, until each has one."""
        sender = asyncio.create_task(self._send_all(pictures))
        sender.add_done_callback(lambda _: self.notify())
        try:
            async for answer in self.until(sender.done):
                yield answer
            await sender
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def until(self, all_sent: Callable[[], bool]) -> AsyncIterator[Answer]:
        """Answers until `all_sent` says so and each frame has one. Call `notify` when it does."""
        while True:
            if self._answers:
                yield await self.answer()
            elif all_sent() and not self._session.unanswered:
                return
            else:
                await self._wait()

    async def _send_all(self, pictures: AsyncIterable[Picture] | Iterable[Picture]) -> None:
        if isinstance(pictures, AsyncIterable):
            async for picture in pictures:
                await self.send(picture)
            return
        for picture in pictures:
            await self.send(picture)
            # A live stream never makes its sender wait; the event loop needs a turn all the same.
            await asyncio.sleep(0)

    @property
    def _most_answers(self) -> int:
        """Unread answers above which nothing more is read from the server."""
        return 16 * self._session.server.window if self._session.server else 64

    async def _wait(self) -> None:
        """Until anything happens. Raises what ended the stream; answers are still there to read."""
        self._raise_if_over()
        self._changed.clear()
        await self._changed.wait()

    def _raise_if_over(self) -> None:
        if self._error is not None:
            raise self._error
        if self._closing:
            raise StreamError("The stream has been closed.")

    def notify(self) -> None:
        """Make whoever waits look again. Call it on the event loop only."""
        self._changed.set()

    def _give(self, answers: Sequence[Answer]) -> None:
        if answers:
            self._answers.extend(answers)
            if len(self._answers) > self._most_answers:
                self._hold(True)
            self.notify()

    def _hold(self, holding: bool) -> None:
        self._holding = holding
        if self._link is not None:
            self._link.hold(holding)

    def _flush(self) -> None:
        if self._link is not None:
            for data in self._session.data_to_send():
                self._link.send(data)

    def _hang_up(self) -> None:
        self._session.close()
        self._flush()
        if self._link is not None:
            self._link.close()

    def _received(self, data: bytes) -> None:
        for said in self._session.received(data):
            match said:
                case Welcome(offer=offer):
                    given_up = self._session.given_up()
                    if given_up:
                        # This server's stream begins with that frame: begin one behind it.
                        self._hang_up()
                    elif self._video is not None and not offer.resumed:
                        self._session.encode_again(self._video.restart)
                    self._give(given_up)
                    self._trouble = None
                    self._welcomed.set()
                    self.notify()
                case Close(code, reason):
                    self._farewell = reason
                    if code not in RETRYABLE and not self._closing:
                        self._error = StreamRefusedError(code, reason)
                    if self._link is not None:
                        self._link.close()
                case _:
                    if said:
                        self._progress = time.monotonic()
                    self._give(said)
            self._flush()
            if self._session.moving and self._link is not None:
                self._link.close()

    def _lost(self, link: StreamLink) -> None:
        if link is self._link:
            self._link = None
            self._trouble = self._farewell or "the connection was lost"
            self._give(self._session.disconnected())
        self.notify()

    async def _keep_connected(self) -> None:
        """Connect, stay until the connection ends, wait a little, and again."""
        patience = self._patience
        tries = 0
        self._progress = time.monotonic()
        trouble: Exception = OSError("nobody answered")
        while not self._closing and self._error is None:
            endpoint = self._endpoints[tries % len(self._endpoints)]
            try:
                await self._connect_once(endpoint)
            except StreamError as error:
                self._error = error
            except (OSError, ProtocolError) as error:
                trouble = error
            else:
                welcomed = time.monotonic()
                trouble = await self._stay(welcomed)
                ended = time.monotonic()
                if self._progress > welcomed:
                    self._progress = ended
                if ended - welcomed > patience.longest_delay:
                    # A server that ends every connection at once is not to be asked at once.
                    tries = 0
            if self._error is not None or self._closing:
                break
            self._trouble = str(trouble)
            known = self._session.server is not None
            if time.monotonic() - self._progress > (patience.give_up if known else patience.begin):
                where = ", ".join(f"{one.host}:{one.port}" for one in self._endpoints)
                if "WRONG_VERSION_NUMBER" in str(trouble):
                    self._error = StreamUnreachableError(
                        f"What answers at {where} does not speak TLS.",
                        remedy="Leave the fingerprint out for a server on 127.0.0.1, or check the "
                        "port.",
                    )
                    break
                self._error = StreamUnreachableError(
                    f"No stream server answers at {where}: {trouble}.",
                    remedy="Is it running, is the address right, and is this machine's network "
                    "let in (`allowed_cidrs` of a deployed server)?",
                )
                break
            tries += 1
            if tries > 1 or len(self._endpoints) == 1:
                await asyncio.sleep(
                    full_jitter(tries, first=patience.first_delay, longest=patience.longest_delay)
                )
        self.notify()

    async def _connect_once(self, endpoint: EndpointLike) -> None:
        self._welcomed.clear()
        self._farewell = ""
        link = await connect(
            endpoint,
            received=self._received,
            lost=self._lost,
            timeout=self._patience.connect,
        )
        self._link = link
        self._session.connected(endpoint.token)
        self._flush()
        waiting = [asyncio.create_task(event.wait()) for event in (self._welcomed, link.ended)]
        try:
            await asyncio.wait(
                waiting,
                timeout=self._patience.connect,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            for task in waiting:
                task.cancel()
        if not self._welcomed.is_set():
            silent = not link.ended.is_set()
            link.abort()
            # The transport reports it only on the loop's next turn, the next connection's first.
            self._lost(link)
            if link.trouble is not None:
                raise link.trouble
            if silent:
                raise OSError(f"no welcome within {self._patience.connect:g} s")
            raise OSError(self._farewell or "the connection ended before the server's welcome")

    async def _stay(self, welcomed: float) -> Exception:
        """Ping until the connection ends, or end it when nothing is heard any more, or nothing of
        the frames that wait for an answer. Returns why it ended."""
        link = self._link
        patience = self._patience
        pings = 0
        while link is not None and not link.ended.is_set():
            self._session.ping()
            self._flush()
            pings += 1
            pause = 0.05 if pings < _FIRST_PINGS else patience.ping
            try:
                await asyncio.wait_for(link.ended.wait(), timeout=pause)
            except TimeoutError:
                now = time.monotonic()
                idle = not self._session.unanswered and now - welcomed > patience.longest_delay
                if self._holding or idle:
                    self._progress = now
                if self._holding:
                    continue
                if now - link.heard > patience.silence:
                    link.abort()
                    return OSError("it fell silent")
                stuck = now - max(self._progress, welcomed) > patience.give_up
                if stuck and self._session.unanswered:
                    link.abort()
                    return OSError(f"it answered no frame within {patience.give_up:g} s")
        if link is not None and link.trouble is not None:
            return link.trouble
        return OSError(self._farewell or "it ended the connection")
