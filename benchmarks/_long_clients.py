"""The clients of a long run: each comes, sends frames and leaves, or is gone without a word."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np

from benchmarks import _turning_models as models
from benchmarks.chaos import MODES, Wire
from visionstack.paths import IMPORT_ROOT
from visionstack.stream.client import AsyncStreamClient, Patience
from visionstack.stream.errors import StreamError
from visionstack.stream.types import Answer, DroppedFrame, FailedFrame, StreamAddress, StreamResult

FRAMES_PER_SECOND: Final = 12
WINDOW: Final = 8
_PATIENCE: Final = Patience(
    connect=5.0, give_up=60, begin=60, first_delay=0.02, longest_delay=0.5, ping=0.3, silence=2.0
)
_DAMAGED_EVERY: Final = 29
Leaves = Literal["goodbye", "torn", "lost", "killed"]
"""With a goodbye; the same after its connection was torn; its machine is gone and nobody is told;
its process is killed."""
_LEAVING: Final[dict[Leaves, int]] = {"goodbye": 6, "torn": 2, "lost": 1, "killed": 1}


@dataclass
class Ledger:
    """What became of every frame of every client."""

    versions: dict[str, int] = field(default_factory=dict)
    """Which of the two networks a published version has."""
    sent: int = 0
    answered: int = 0
    dropped: int = 0
    failed: int = 0
    abandoned: int = 0
    """Without an answer when their client was gone without a word."""
    clients: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


class Client:
    """One visit."""

    def __init__(self, address: StreamAddress, ledger: Ledger, chance: random.Random) -> None:
        self._address = address
        self._ledger = ledger
        self._mode = chance.choice(sorted(MODES))
        self._policy: Any = chance.choice(("lossless", "lossless", "live"))
        (self._leaves,) = chance.choices(list(_LEAVING), weights=list(_LEAVING.values()))
        self._seconds = chance.uniform(1.5, 8.0)
        self._sent = 0
        self._seen: list[int] = []
        self._wire: Wire | None = None

    async def visit(self) -> None:
        """Until it has left; what is wrong is noted in the ledger."""
        self._ledger.clients[f"{self._mode} {self._policy}"] += 1
        self._ledger.clients[self._leaves] += 1
        if self._leaves == "killed":
            await _killed_process(self._address, self._seconds)
            return
        wire = self._wire = Wire(self._address)
        async with wire.laid():
            wire.plug(self._address.port)
            try:
                async with asyncio.timeout(120):
                    await self._stream(wire.address)
            except (StreamError, TimeoutError) as error:
                self._fault(f"{type(error).__name__}: {error}")
            if self._leaves == "lost":
                # Longer than the server waits for a sign of life.
                await asyncio.sleep(6)

    async def _stream(self, address: StreamAddress) -> None:
        options: dict[str, Any] = {**MODES[self._mode], "policy": self._policy}
        client = AsyncStreamClient(address, patience=_PATIENCE, **options)
        async with client:
            if self._leaves == "lost":
                await self._until_lost(client)
                return
            async for answer in client.stream(self._pictures()):
                self._note(answer)
        ledger = self._ledger
        ledger.sent += self._sent
        if sorted(self._seen) != list(range(self._sent)):
            twice = len(self._seen) - len(set(self._seen))
            self._fault(f"{self._sent} sent, {len(self._seen)} accounted for, {twice} twice")
        if self._policy == "lossless" and self._seen != sorted(self._seen):
            self._fault("answers out of order")

    async def _until_lost(self, client: AsyncStreamClient) -> None:
        """Frames until the time is over; then the wire is cut under those on their way."""

        async def read() -> None:
            async for answer in client.answers():
                self._note(answer)

        reading = asyncio.create_task(read())
        async for picture in self._pictures():
            await client.send(picture)
        assert self._wire is not None
        self._wire.cut()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        self._ledger.sent += self._sent
        self._ledger.abandoned += self._sent - len(self._seen)
        if len(self._seen) != len(set(self._seen)):
            self._fault("a frame was answered twice")

    async def _pictures(self) -> AsyncIterator[Any]:
        began, torn = time.monotonic(), self._leaves != "torn"
        while (now := time.monotonic() - began) < self._seconds:
            if not torn and now > self._seconds / 2 and self._wire is not None:
                self._wire.tear()
                torn = True
            number, self._sent = self._sent, self._sent + 1
            yield self._picture(number)
            await asyncio.sleep(1 / FRAMES_PER_SECOND)

    def _damaged(self, number: int) -> bool:
        return self._mode == "jpeg" and number % _DAMAGED_EVERY == _DAMAGED_EVERY - 1

    def _picture(self, number: int) -> Any:
        if self._mode == "h264":
            return np.full((64, 64, 3), (number * 5 % 250, 90, 120), np.uint8)
        whole = models.picture()
        return whole[: len(whole) // 3] if self._damaged(number) else whole

    def _note(self, answer: Answer) -> None:
        ledger = self._ledger
        self._seen.append(answer.sequence)
        match answer:
            case StreamResult():
                ledger.answered += 1
                if self._damaged(answer.sequence):
                    self._fault(f"frame {answer.sequence} is damaged and was answered")
                elif not self._right(answer):
                    self._fault(f"version {answer.version} answered {answer.detections}")
            case DroppedFrame():
                ledger.dropped += 1
                if self._policy == "lossless":
                    self._fault(f"a lossless frame was dropped: {answer}")
            case FailedFrame():
                ledger.failed += 1
                if not self._damaged(answer.sequence):
                    self._fault(f"a good frame failed: {answer}")

    def _right(self, answer: StreamResult) -> bool:
        """One thing, of the version that the answer names."""
        version = self._ledger.versions.get(answer.version)
        labels = [one.label for one in answer.detections]
        return version is not None and labels == [models.label(version)]

    def _fault(self, what: str) -> None:
        self._ledger.faults.append(f"{self._mode} {self._policy} {self._leaves}: {what}")


async def _killed_process(address: StreamAddress, seconds: float) -> None:
    """A client of the protocol document, killed while frames are under way."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.adversary.victim", str(address.port), address.token),
        cwd=IMPORT_ROOT,
        stdin=asyncio.subprocess.PIPE,
    )
    if process.stdin is not None:
        process.stdin.write(models.picture())
        process.stdin.close()
    await asyncio.sleep(seconds)
    process.kill()
    await process.wait()
