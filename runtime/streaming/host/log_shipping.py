"""The server's log lines in CloudWatch Logs, beside the machine's own journal.

Not watchtower (3.4.0): it drops a batch after five tries without a pause, and here lines wait while
CloudWatch is away. CloudWatch's agent would be a second program to install, configure and watch.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections import deque
from typing import Any, Final, Protocol

_SECONDS: Final = 5.0
_WAITING: Final = 5_000
"""Lines held while CloudWatch is away; the oldest go first, and their number is told."""
_BATCH_EVENTS: Final = 1_000
_LINE_BYTES: Final = 1_000
"""1,000 lines of 1,000 bytes stay below the 1 MiB that one call may carry."""
_BATCH_MILLISECONDS: Final = 24 * 3600 * 1000
"""A call whose events lie further apart fails as a whole, as after a jump of the clock:
https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html"""


class LogClient(Protocol):
    """What is used of boto3's `logs` client; errors are whatever it raises."""

    def create_log_stream(self, *, logGroupName: str, logStreamName: str) -> Any:  # noqa: N803
        """Make the stream."""

    def put_log_events(
        self,
        *,
        logGroupName: str,  # noqa: N803
        logStreamName: str,  # noqa: N803
        logEvents: list[dict[str, Any]],  # noqa: N803
    ) -> Any:
        """Append events in the order of their time."""


class LogShipper(logging.Handler):
    """Sends lines to one log stream every few seconds, from a thread of its own.

    Logging never waits for AWS: `emit` only queues. A failing call keeps its lines for the next.
    """

    def __init__(
        self, client: LogClient, *, group: str, stream: str, waiting: int = _WAITING
    ) -> None:
        super().__init__()
        self._client = client
        self._names = {"logGroupName": group, "logStreamName": stream}
        self._waiting: deque[dict[str, Any]] = deque()
        self._most_waiting = waiting
        self._lost = 0
        self._made = False
        self._told = False
        self._sending = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-shipper", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one line; what the sending itself logs is left to the other handlers."""
        if threading.current_thread() is self._thread:
            return
        try:
            line = self.format(record).encode()[:_LINE_BYTES].decode(errors="ignore")
        except Exception:  # as logging's own handlers do: not the concern of who logs
            self.handleError(record)
            return
        if len(self._waiting) >= self._most_waiting:
            self._waiting.popleft()
            self._lost += 1
        self._waiting.append({"timestamp": int(record.created * 1000), "message": line or " "})

    def ship(self) -> None:
        """Send what waits; on failure it waits on, and stderr hears of it once."""
        with self._sending:
            while batch := self._take():
                try:
                    if not self._made:
                        self._client.create_log_stream(**self._names)
                        self._made = True
                    self._client.put_log_events(**self._names, logEvents=batch)
                except Exception as error:  # whatever boto3 raises must not end the server
                    self._put_back(batch)
                    if not self._told:
                        self._told = True
                        with contextlib.suppress(OSError, ValueError):  # stderr may be closed
                            sys.stderr.write(f"logs cannot be sent to CloudWatch: {error}\n")
                    return

    def close(self) -> None:
        """Send the last lines and end the thread."""
        if not self._ended.is_set():
            self._ended.set()
            self._thread.join(timeout=_SECONDS)
            self.ship()
        super().close()

    def _take(self) -> list[dict[str, Any]]:
        self.acquire()  # the lock that emit is called under
        try:
            count = min(len(self._waiting), _BATCH_EVENTS)
            batch = [self._waiting.popleft() for _ in range(count)]
            batch.sort(key=lambda event: event["timestamp"])
            within = [
                event
                for event in batch
                if event["timestamp"] - batch[0]["timestamp"] <= _BATCH_MILLISECONDS
            ]
            self._waiting.extendleft(reversed(batch[len(within) :]))
            batch = within
            if batch and self._lost:
                message = f'{{"message": "{self._lost} earlier lines were lost"}}'
                batch.insert(0, {**batch[0], "message": message})
                self._lost = 0
        finally:
            self.release()
        return batch

    def _put_back(self, batch: list[dict[str, Any]]) -> None:
        self.acquire()
        try:
            self._waiting.extendleft(reversed(batch))
        finally:
            self.release()

    def _run(self) -> None:
        while not self._ended.wait(_SECONDS):
            if self._waiting:
                self.ship()
