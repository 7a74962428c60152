"""Who waits at the door, and whose frames fill the server: decisions without sockets or clocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Stream = TypeVar("Stream", bound=Hashable)


class PendingHandshakes:
    """Connections that have not shown a token yet, oldest first.

    A newcomer is always let in. When there are too many, the oldest of the address that has the
    most gives way: an honest client needs a few milliseconds to say hello, an idle one stays.
    """

    def __init__(self, *, limit: int, per_address: int) -> None:
        self._limit = limit
        self._per_address = per_address
        self._waiting: dict[Hashable, tuple[str, Callable[[], None]]] = {}
        self._by_address: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def crowded(self) -> bool:
        """Whether half the places are taken, so that the others should be quick."""
        return 2 * len(self._waiting) >= self._limit

    def enter(self, key: Hashable, *, address: str, evict: Callable[[], None]) -> None:
        """`evict` ends a connection that has to give way to this or a later one."""
        self._waiting[key] = (address, evict)
        self._by_address[address] += 1
        if self._by_address[address] > self._per_address:
            self._evict_oldest(address)
        elif len(self._waiting) > self._limit:
            self._evict_oldest(self._by_address.most_common(1)[0][0])

    def leave(self, key: Hashable) -> None:
        """It has shown a token, or is gone. Without effect for one that is not waiting."""
        address, _ = self._waiting.pop(key, ("", None))
        if address:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    def make_room(self) -> int:
        """End the older half of them, for want of anything that they take up; returns how many."""
        leaving = list(self._waiting.items())[: (len(self._waiting) + 1) // 2]
        for key, (_, evict) in leaving:
            self.leave(key)
            evict()
        return len(leaving)

    def _evict_oldest(self, address: str) -> None:
        key = next(key for key, (one, _) in self._waiting.items() if one == address)
        _, evict = self._waiting[key]
        self.leave(key)
        evict()


class WaitingBytes(Generic[Stream]):
    """Encoded bytes that wait in the server, by stream, and which streams are too heavy.

    A stream is held above `each`, and above its equal share of `total` once all together are above
    `total`; it goes on below half of that. One that has nothing waiting is never held.
    """

    def __init__(self, *, total: int, each: int) -> None:
        self._total = total
        self._each = each
        self._bytes: dict[Stream, int] = {}
        self._sum = 0
        self._held: set[Stream] = set()

    def held(self, stream: Stream) -> bool:
        return stream in self._held

    def add(self, stream: Stream, size: int) -> set[Stream]:
        """`size` more bytes wait, or fewer if negative. Returns the streams whose hold changed."""
        self._sum += size
        own = self._bytes.get(stream, 0) + size
        if own:
            self._bytes[stream] = own
        else:
            self._bytes.pop(stream, None)
        crowded = self._sum > self._total or self._held
        now = {s for s in (self._bytes if crowded else (stream,)) if self._heavy(s)}
        before = self._held
        self._held = now
        return now ^ before

    def _heavy(self, stream: Stream) -> bool:
        own = self._bytes.get(stream, 0)
        part = 2 if stream in self._held else 1
        share = self._total // max(1, len(self._bytes))
        return own * part > self._each or (self._sum * part > self._total and own * part > share)


class TokenBucket:
    """So many at once and so many a second; times in seconds of any steady clock."""

    def __init__(self, *, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = self._left = float(burst)
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Whether one more is allowed now."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
