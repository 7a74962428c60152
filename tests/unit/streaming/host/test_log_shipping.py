from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from runtime.streaming.host.log_shipping import LogShipper


class FakeLogs:
    def __init__(self) -> None:
        self.streams: list[str] = []
        self.calls: list[list[str]] = []
        self.away = False

    def create_log_stream(self, *, logGroupName: str, logStreamName: str) -> None:  # noqa: N803
        if self.away:
            raise ConnectionError("no route")
        self.streams.append(f"{logGroupName}/{logStreamName}")

    def put_log_events(
        self,
        *,
        logGroupName: str,  # noqa: N803
        logStreamName: str,  # noqa: N803
        logEvents: list[dict[str, Any]],  # noqa: N803
    ) -> None:
        del logGroupName, logStreamName
        if self.away:
            raise ConnectionError("no route")
        assert logEvents == sorted(logEvents, key=lambda event: event["timestamp"])
        # "A batch of log events in a single request must be in a chronological order. Otherwise,
        # the operation fails. [It] cannot span more than 24 hours. Otherwise, the operation fails."
        if logEvents[-1]["timestamp"] - logEvents[0]["timestamp"] > 24 * 3600 * 1000:
            raise ValueError("InvalidParameterException: spans more than 24 hours")
        self.calls.append([event["message"] for event in logEvents])


@pytest.fixture
def client() -> FakeLogs:
    return FakeLogs()


@pytest.fixture
def shipper(client: FakeLogs) -> Iterator[LogShipper]:
    handler = LogShipper(client, group="group", stream="server")
    yield handler
    handler.close()


def say(handler: LogShipper, *messages: str) -> None:
    for message in messages:
        handler.handle(logging.LogRecord("test", logging.INFO, "", 0, message, None, None))


def test_lines_arrive_in_order_in_one_stream(client: FakeLogs, shipper: LogShipper) -> None:
    say(shipper, "one", "two")
    shipper.ship()
    say(shipper, "three")
    shipper.ship()
    assert client.streams == ["group/server"]
    assert client.calls == [["one", "two"], ["three"]]


def test_lines_from_before_and_after_a_jump_of_the_clock_are_all_sent(
    client: FakeLogs, shipper: LogShipper
) -> None:
    day = 24 * 3600.0
    for message, at in (("a", 0.0), ("b", day), ("c", 1.001 * day), ("d", 9 * day), ("e", day / 2)):
        record = logging.LogRecord("test", logging.INFO, "", 0, message, None, None)
        record.created = at
        shipper.handle(record)
    shipper.ship()
    assert client.calls == [["a", "e", "b"], ["c"], ["d"]]


def test_nothing_to_say_makes_no_call(client: FakeLogs, shipper: LogShipper) -> None:
    shipper.ship()
    assert (client.streams, client.calls) == ([], [])


def test_lines_wait_while_cloudwatch_is_away_and_stderr_hears_of_it_once(
    client: FakeLogs, shipper: LogShipper, capsys: pytest.CaptureFixture[str]
) -> None:
    client.away = True
    say(shipper, "one")
    shipper.ship()
    say(shipper, "two")
    shipper.ship()
    client.away = False
    shipper.ship()
    assert client.calls == [["one", "two"]]
    assert capsys.readouterr().err.count("no route") == 1


def test_more_lines_than_may_wait_are_counted(client: FakeLogs) -> None:
    handler = LogShipper(client, group="group", stream="server", waiting=2)
    say(handler, "one", "two", "three", "four")
    handler.close()
    assert client.calls == [['{"message": "2 earlier lines were lost"}', "three", "four"]]


def test_a_call_never_carries_more_than_the_service_takes(
    client: FakeLogs, shipper: LogShipper
) -> None:
    say(shipper, *(["x" * 5_000] * 2_500))
    shipper.ship()
    assert [len(call) for call in client.calls] == [1_000, 1_000, 500]
    assert {len(line) for call in client.calls for line in call} == {1_000}


def test_closing_sends_the_last_lines(client: FakeLogs) -> None:
    handler = LogShipper(client, group="group", stream="server")
    say(handler, "draining")
    handler.close()
    assert client.calls == [["draining"]]
