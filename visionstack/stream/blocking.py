"""The streaming client for ordinary programs: `AsyncStreamClient` on a thread of its own.

with StreamClient(endpoint, policy="lossless") as client:
    print(client.server.model)
    for answer in client.stream(pictures):
        ...
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, Self, TypeVar, Unpack

from runtime.protocol.clock import now_us
from visionstack.stream.client import AsyncStreamClient, StreamOptions
from visionstack.stream.errors import StreamError
from visionstack.stream.pictures import Picture, encode_picture
from visionstack.stream.types import Answer, EndpointLike, ServerInfo, StreamCounts, StreamResult

T = TypeVar("T")

_UNREAD_ANSWERS = 32
_IDLE_SECONDS = 0.03
_SOURCE_SECONDS = 5.0
"""How long the end of a stream waits for a source that is slow to give its next picture."""


class StreamClient:
    """As `AsyncStreamClient`, whose arguments it takes; its methods block."""

    def __init__(
        self,
        endpoint: EndpointLike | Sequence[EndpointLike],
        **options: Unpack[StreamOptions],
    ) -> None:
        self._client = AsyncStreamClient(endpoint, **options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="stream-client", daemon=True
        )

    @property
    def server(self) -> ServerInfo:
        """What serves the stream: model, version, engine, precision, weights trained or random."""
        return self._client.server

    @property
    def trouble(self) -> str | None:
        """Why there is no connection just now; None while there is one."""
        return self._client.trouble

    @property
    def counts(self) -> StreamCounts:
        """Frames submitted, answered and dropped so far."""
        return self._client.counts

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._call(self._client.connect())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the stream; frames without an answer are given up."""
        if self._thread.is_alive():
            self._call(self._client.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        if not self._loop.is_closed():
            self._loop.close()

    def send(self, picture: Picture, *, captured: int | None = None, context: Any = None) -> int:
        """Send a picture; returns its sequence number. Waits only in lossless policy."""
        captured = now_us() if captured is None else captured
        return self._call(
            self._client.send(self._encode(picture), captured=captured, context=context)
        )

    def answer(self) -> Answer:
        """The next answer; waits for it."""
        return self._call(self._client.answer())

    def detect(self, picture: Picture) -> StreamResult:
        """Send one picture and wait for its result. Raises FrameRefusedError."""
        return self._call(self._client.detect(self._encode(picture)))

    def stream(
        self,
        pictures: Iterable[Picture | tuple[Picture, Any]],
        *,
        idle: Callable[[], None] | None = None,
    ) -> Generator[Answer, None, None]:
        """Send all pictures while giving back answers, until each has one.

        A picture may come as (picture, context): the context is in its answer. The pictures are
        taken on a thread of their own, so that a slow source does not hold up the answers. `idle`
        is called many times a second while there is no answer, as a window needs it.
        """
        answers: queue.Queue[Answer | BaseException | None] = queue.Queue()
        stop = threading.Event()
        sent = threading.Event()
        sending: deque[Future[int]] = deque(maxlen=1)

        def send_all() -> None:
            try:
                for item in pictures:
                    if stop.is_set():
                        return
                    picture, context = item if isinstance(item, tuple) else (item, None)
                    captured = now_us()
                    sending.append(
                        self._start(
                            self._client.send(
                                self._encode(picture), captured=captured, context=context
                            )
                        )
                    )
                    sending[0].result()
            except BaseException as error:
                answers.put(error)
            finally:
                sent.set()
                # A slow source may outlive the client and its loop.
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._client.notify)

        sender = threading.Thread(target=send_all, name="stream-sender", daemon=True)
        receiver = asyncio.run_coroutine_threadsafe(self._collect(answers, sent=sent), self._loop)
        sender.start()
        try:
            while (answer := _next(answers, idle)) is not None:
                if isinstance(answer, BaseException):
                    raise answer
                yield answer
        finally:
            stop.set()
            receiver.cancel()
            until = time.monotonic() + _SOURCE_SECONDS
            while sender.is_alive() and time.monotonic() < until:
                # In lossless policy the picture may wait for room that nobody makes any more.
                for future in list(sending):
                    future.cancel()
                sender.join(timeout=0.02)

    async def _collect(
        self, answers: queue.Queue[Answer | BaseException | None], *, sent: threading.Event
    ) -> None:
        try:
            async for answer in self._client.until(sent.is_set):
                # A caller that is slow to take answers slows the stream instead of filling memory.
                while answers.qsize() >= _UNREAD_ANSWERS:
                    await asyncio.sleep(0.002)
                answers.put(answer)
            answers.put(None)
        except StreamError as error:
            answers.put(error)

    def _encode(self, picture: Picture) -> Picture:
        if self._client.encoding == "h264":
            return picture
        return encode_picture(picture, encoding=self._client.encoding, quality=self._client.quality)

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._start(coroutine).result()

    def _start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        if not self._thread.is_alive():
            coroutine.close()
            raise StreamError("The stream client is not open.", remedy="Use it in a `with` block.")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)


def _next(
    answers: queue.Queue[Answer | BaseException | None], idle: Callable[[], None] | None
) -> Answer | BaseException | None:
    if idle is None:
        return answers.get()
    while True:
        try:
            return answers.get(timeout=_IDLE_SECONDS)
        except queue.Empty:
            idle()
