"""Which connections wait for a token, and whose frames fill the server; no sockets, no clocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Stream = TypeVar("Stream", bound=Hashable)


class PendingHandshakes:
    """Connections that have not shown a token yet, oldest first.

    A newcomer is always let in. When there are too many, the oldest of the address that has the
    most is closed: an honest client needs a few milliseconds to say hello, an idle one stays.
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
        """`evict` ends the connection, for this or a later one."""
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
    """Encoded bytes that are in the server, by stream, and which streams are too heavy.

    `total` is never passed by much: above half of it the heavy are held, and the other half is
    enough for the light, of which there are `streams` at most. Heavy is a stream with more than its
    share of that half (or more than `each` at any time); it goes on below half of that.

    Of the held streams that only have parts of frames, whose answers nobody will send, one at a
    time goes on nevertheless, so that it completes its frame or is too slow.
    """

    def __init__(self, *, total: int, each: int, streams: int) -> None:
        self._crowded_from = total // 2
        self._share = total // 2 // streams
        self._each = each
        self._bytes: dict[Stream, int] = {}
        """Those of parts included."""
        self._parts: dict[Stream, int] = {}
        self._sum = 0
        self._held: set[Stream] = set()
        self._passing: Stream | None = None

    @property
    def sum(self) -> int:
        return self._sum

    def held(self, stream: Stream) -> bool:
        return stream in self._held

    def add(self, stream: Stream, size: int) -> set[Stream]:
        """`size` more bytes of whole frames wait, or fewer if negative. Returns the streams whose
        hold changed."""
        self._sum += size
        own = self._bytes.get(stream, 0) + size
        if own:
            self._bytes[stream] = own
        else:
            self._bytes.pop(stream, None)
        crowded = self._sum > self._crowded_from or self._held or self._passing is not None
        held = [s for s in (self._bytes if crowded else (stream,)) if self._heavy(s)]
        stuck = [s for s in held if self._bytes[s] == self._parts.get(s)]
        if self._passing not in stuck:
            self._passing = stuck[0] if stuck else None
        before, self._held = self._held, {s for s in held if s != self._passing}
        return self._held ^ before

    def arriving(self, stream: Stream, size: int) -> set[Stream]:
        """So many bytes of a frame that is not complete are here now. Returns as `add` does."""
        more = size - self._parts.pop(stream, 0)
        if size:
            self._parts[stream] = size
        return self.add(stream, more) if more else set()

    def _heavy(self, stream: Stream) -> bool:
        own = self._bytes.get(stream, 0)
        part = 2 if stream in self._held or stream == self._passing else 1
        crowded = self._sum * part > self._crowded_from
        return own * part > self._each or (crowded and own * part > self._share)


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
