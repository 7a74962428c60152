"""The client's half of a stream, without a socket."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runtime.protocol import messages
from runtime.protocol.clock import ClockEstimate, now_us
from runtime.protocol.errors import FrameErrorCode, ProtocolError
from runtime.protocol.framing import LengthPrefixed
from runtime.protocol.messages import (
    Detection,
    Dropped,
    Encoding,
    Frame,
    FrameFailed,
    GoAway,
    Hello,
    Pong,
    Result,
    Timing,
    Welcome,
)
from runtime.protocol.options import HelloOptions
from tests.offers import OFFER
from visionstack.stream.pictures import EncodedPicture
from visionstack.stream.session import ClientSession
from visionstack.stream.types import DroppedFrame, FailedFrame, StreamResult

FRAMING = LengthPrefixed()


def told(session: ClientSession, message: messages.Message) -> object:
    """What the session makes of the server's message."""
    (said,) = session.received(FRAMING.wrap(message.encode()))
    return said


def sent(session: ClientSession) -> list[Any]:
    """The messages that the session sends now."""
    FRAMING.feed(b"".join(session.data_to_send()))
    return [messages.decode(one) for one in iter(lambda: FRAMING.next(limit=2**24), None)]


def opened(policy: str, **offer: object) -> ClientSession:
    session = ClientSession(HelloOptions(token="", policy=policy))
    session.connected("t")
    told(session, Welcome(replace(OFFER, **offer)))
    return session


def reconnected(session: ClientSession) -> Hello:
    session.connected("t")
    (hello,) = sent(session)
    assert isinstance(hello, Hello)
    return hello


def submit(session: ClientSession, count: int = 1) -> list[int]:
    picture = EncodedPicture(Encoding.JPEG, b"jpeg")
    return [session.submit(picture, captured=now_us(), context=f"c{n}")[0] for n in range(count)]


def frames(session: ClientSession) -> list[int]:
    return [frame.sequence for frame in sent(session) if isinstance(frame, Frame)]


def send(session: ClientSession, count: int = 1) -> list[int]:
    """As the client does it: each frame leaves at once if it may. Returns those that did."""
    return [left for _ in range(count) for _ in submit(session) for left in frames(session)]


def answer(session: ClientSession, sequence: int, **timing: int) -> list[object]:
    return told(session, Result(sequence, 10, 10, Timing(**timing)))


def test_no_more_frames_are_sent_than_there_are_credits() -> None:
    session = opened("lossless")
    submit(session, 7)
    assert frames(session) == [0, 1, 2, 3]
    assert not session.room
    answer(session, 0)
    assert frames(session) == [4]


def test_before_the_welcome_nothing_is_sent() -> None:
    session = ClientSession(HelloOptions(token="", policy="lossless"))
    session.connected("t")
    submit(session)
    assert frames(session) == []


def test_a_live_frame_that_waits_gives_way_to_the_next() -> None:
    session = opened("live")
    assert send(session, 4) == [0, 1, 2]
    picture = EncodedPicture(Encoding.JPEG, b"jpeg")
    sequence, replaced = session.submit(picture, captured=0, context="new")
    assert sequence == 4
    assert replaced == [DroppedFrame(3, "client", "c0")]
    assert session.counts.dropped_client == 1


def test_each_hello_says_which_connection_of_the_stream_it_is() -> None:
    session = opened("lossless")
    hellos = [reconnected(session) for _ in range(2)]
    assert [hello.options.connection for hello in hellos] == [2, 3]


def test_after_a_reconnect_only_what_the_server_lacks_is_sent_again() -> None:
    session = opened("lossless")
    submit(session, 6)
    frames(session)
    answer(session, 0)
    frames(session)
    session.disconnected()
    hello = reconnected(session)
    assert (hello.options.session, hello.options.next_sequence) == ("s1", 1)
    welcome = Welcome(replace(OFFER, resumed=True, next_sequence=3))
    assert told(session, welcome) == welcome  # type: ignore[comparison-overlap]
    assert frames(session) == [3, 4]
    for sequence in (1, 2, 3, 4):
        answer(session, sequence)
    assert frames(session) == [5]


def test_on_a_server_that_knows_nothing_every_unanswered_frame_is_sent_again() -> None:
    session = opened("lossless")
    submit(session, 4)
    frames(session)
    answer(session, 0)
    session.disconnected()
    session.connected("t")
    told(session, Welcome(replace(OFFER, next_sequence=1)))
    assert frames(session) == [1, 2, 3]


def test_a_live_stream_that_lost_its_connection_counts_its_frames_as_lost() -> None:
    session = opened("live")
    send(session, 2)
    lost = session.disconnected()
    assert lost == [DroppedFrame(0, "connection", "c0"), DroppedFrame(1, "connection", "c0")]
    hello = reconnected(session)
    # It says which stream it is, so that it stays with the version that is tried on it.
    assert (hello.options.session, hello.options.next_sequence) == ("s1", 2)


def test_after_goaway_nothing_is_sent_and_the_client_moves_when_all_is_answered() -> None:
    session = opened("lossless")
    submit(session, 2)
    frames(session)
    told(session, GoAway(1000, "bye"))
    submit(session, 1)
    assert frames(session) == []
    assert not session.moving
    answer(session, 0)
    answer(session, 1)
    assert session.moving


def test_an_answer_nobody_asked_for_is_a_protocol_error() -> None:
    session = opened("lossless")
    with pytest.raises(ProtocolError):
        answer(session, 3)


def test_answers_carry_label_context_and_reason() -> None:
    session = opened("live")
    send(session, 3)
    found = (Detection(1, 0.5, (1.0, 2.0, 3.0, 4.0)), Detection(9, 0.5, (1.0, 2.0, 3.0, 4.0)))
    (result,) = told(session, Result(0, 10, 10, Timing(), found))
    assert isinstance(result, StreamResult)
    assert [d.label for d in result.detections] == ["one", "9"]
    assert result.context == "c0"
    failed = told(session, FrameFailed(1, FrameErrorCode.UNDECODABLE, "no"))
    assert failed == [FailedFrame(1, "undecodable", "no", "c0")]
    assert told(session, Dropped((2,))) == [DroppedFrame(2, "server", "c0")]


def test_live_frames_under_way_become_more_on_a_long_way_and_fewer_when_the_server_drops() -> None:
    session = opened("live", window=8)
    assert send(session, 5) == [0, 1, 2]
    answer(session, 0, inference=1000, queue=10)
    assert len(frames(session) + send(session, 3)) == 2
    assert session.unanswered == 5
    told(session, Dropped((1,)))
    assert frames(session) == []


def test_the_clock_offset_comes_from_the_ping_with_the_shortest_round_trip() -> None:
    estimate = ClockEstimate()
    assert estimate.best is None
    estimate.add(sent=0, received=1_000_050, answered=1_000_060, returned=110)
    estimate.add(sent=1000, received=1_009_000, answered=1_009_010, returned=9100)
    assert estimate.best is not None
    assert estimate.best.offset == 1_000_000
    assert estimate.best.round_trip == 100


def test_uplink_is_corrected_by_the_offset_of_the_two_clocks() -> None:
    session = opened("live")
    base = now_us()
    ahead = 5_000_000
    told(session, Pong(base, base + ahead, base + ahead))
    picture = EncodedPicture(Encoding.JPEG, b"jpeg")
    session.submit(picture, captured=base - 20_000, context=None)
    frames(session)
    (result,) = answer(
        session, 0, received=base + ahead - 10_000, sent=base + ahead - 5_000, queue=5_000
    )
    error = result.latency.clock_error
    assert abs(result.latency.uplink - 10) <= error + 0.01
    assert result.latency.queue == 5
    assert result.latency.total >= 20


def answered_at(
    session: ClientSession, monkeypatch: pytest.MonkeyPatch, arrived: int, timing: Timing
) -> StreamResult:
    monkeypatch.setattr("visionstack.stream.session.now_us", lambda: arrived)
    (result,) = told(session, Result(0, 10, 10, timing))
    assert isinstance(result, StreamResult)
    return result


STAGES = {"decode": 1000, "queue": 2000, "inference": 3000, "post": 4000}
JPEG = EncodedPicture(Encoding.JPEG, b"jpeg")


def test_without_a_ping_the_way_is_shared_equally_and_may_be_all_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = opened("live")
    session.submit(JPEG, captured=2_000, context=None)
    frames(session)
    timing = Timing(received=900_000, sent=920_000, **STAGES)
    latency = answered_at(session, monkeypatch, 32_000, timing).latency
    assert (latency.total, latency.uplink, latency.downlink) == (30, 5, 5)
    assert latency.clock_error == 5
    assert (latency.decode, latency.queue, latency.inference, latency.post) == (1, 2, 3, 4)


def test_with_a_ping_the_ways_there_and_back_are_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server's clock is 499,950 us ahead by a ping of 100 us: 7 ms there, 20 in it, 3 back."""
    session = opened("live")
    monkeypatch.setattr("visionstack.stream.session.now_us", lambda: 1_110)
    told(session, Pong(1_000, 501_000, 501_010))
    session.submit(JPEG, captured=2_000, context=None)
    frames(session)
    timing = Timing(received=508_950, sent=528_950, **STAGES)
    latency = answered_at(session, monkeypatch, 32_000, timing).latency
    assert (latency.total, latency.uplink, latency.downlink) == (30, 7, 3)
    assert latency.clock_error == pytest.approx(0.05)


def test_every_frame_is_counted_once_whatever_became_of_it() -> None:
    session = opened("live")
    assert send(session, 4) == [0, 1, 2]
    submit(session)
    assert session.refuse("too much")[0] == 5
    answer(session, 0)
    told(session, FrameFailed(1, FrameErrorCode.UNDECODABLE, "no"))
    told(session, Dropped((2,)))
    assert frames(session) == [4]
    assert send(session) == [6]
    assert len(session.disconnected()) == 2
    counts = session.counts
    assert (counts.submitted, counts.results, counts.failed, counts.connections) == (7, 1, 1, 1)
    assert (counts.dropped_client, counts.dropped_server, counts.dropped_connection) == (2, 1, 2)
    assert session.unanswered == 0
