"""The client's half of a stream: counts, what was lost with a server, and one time on each way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runtime.protocol.errors import FrameErrorCode
from runtime.protocol.messages import (
    Close,
    Detection,
    Dropped,
    Encoding,
    Frame,
    FrameFailed,
    Model,
    Ping,
    Pong,
    Result,
    ResultFlag,
    Timing,
    Welcome,
)
from runtime.protocol.options import HelloOptions
from tests.offers import OFFER
from tests.unit.stream.test_session import (
    answer,
    frames,
    opened,
    reconnected,
    send,
    sent,
    submit,
    told,
)
from visionstack.stream.pictures import EncodedPicture
from visionstack.stream.session import ClientSession
from visionstack.stream.types import DroppedFrame, FailedFrame, StreamCounts, StreamResult

PICTURE = EncodedPicture(Encoding.JPEG, b"jpeg")


def lost_with_its_server(session: ClientSession, *, next_sequence: int, window: int = 4) -> None:
    """The connection ends, and the next server knows nothing of the stream."""
    assert session.disconnected() == []
    session.connected("t")
    told(session, Welcome(replace(OFFER, next_sequence=next_sequence, window=window)))


def test_a_frame_that_three_servers_in_a_row_were_lost_with_is_given_up_and_the_next_goes_on() -> (
    None
):
    session = opened("lossless")
    submit(session, 3)
    assert frames(session) == [0, 1, 2]
    # With several under way nobody knows which it was: from here on one at a time.
    lost_with_its_server(session, next_sequence=0)
    assert (frames(session), session.given_up()) == ([0], [])
    lost_with_its_server(session, next_sequence=0)
    assert (frames(session), session.given_up()) == ([0], [])
    lost_with_its_server(session, next_sequence=0)
    (failed,) = session.given_up()
    assert isinstance(failed, FailedFrame)
    assert (failed.sequence, failed.code, failed.context) == (0, "server_lost", "c0")
    assert session.given_up() == []
    assert session.counts == StreamCounts(submitted=3, failed=1, connections=4)
    # 1 and 2 were lost once each, with the first.
    assert frames(session) == [1]
    assert isinstance(answer(session, 1)[0], StreamResult)
    assert frames(session) == [2]
    answer(session, 2)
    submit(session, 4)
    assert frames(session) == [3, 4, 5, 6]


def test_servers_that_are_met_again_were_not_lost() -> None:
    """A cut connection leads to the other of two servers, where nobody knows the stream."""
    session = opened("lossless", server_id="server 1")
    submit(session)
    for number in range(12):
        assert frames(session) == [0]
        session.disconnected()
        session.connected("t")
        told(session, Welcome(replace(OFFER, server_id=f"server {number % 2}")))
    assert session.given_up() == []
    assert frames(session) == [0]
    answer(session, 0)
    submit(session, 4)
    assert frames(session) == [1, 2, 3, 4]


def test_servers_that_start_again_and_again_are_lost() -> None:
    session = opened("lossless")
    submit(session)
    for number in range(3):
        assert (frames(session), session.given_up()) == ([0], [])
        session.disconnected()
        session.connected("t")
        told(session, Welcome(replace(OFFER, server_id=f"process {number}")))
    (failed,) = session.given_up()
    assert failed.sequence == 0


def test_an_answer_acquits_the_frames_that_a_server_was_lost_with() -> None:
    session = opened("lossless")
    for _ in range(5):
        sequences = submit(session, 2)
        assert frames(session) == sequences
        answer(session, sequences[0])
        # It answered: what it was lost with is not to blame.
        lost_with_its_server(session, next_sequence=sequences[1])
        assert session.given_up() == []
        assert frames(session) == [sequences[1]]
        answer(session, sequences[1])
    assert session.counts.failed == 0


def test_a_server_that_still_has_the_stream_is_not_lost() -> None:
    session = opened("lossless")
    submit(session)
    assert frames(session) == [0]
    for _ in range(5):
        session.disconnected()
        session.connected("t")
        told(session, Welcome(replace(OFFER, resumed=True, next_sequence=1)))
    assert session.given_up() == []
    assert session.unanswered == 1


def test_a_live_stream_blames_no_frame() -> None:
    session = opened("live")
    for number in range(5):
        assert send(session) == [number]
        assert session.disconnected() == [DroppedFrame(number, "connection", "c0")]
        reconnected(session)
        told(session, Welcome(OFFER))
        assert session.given_up() == []
    assert session.counts == StreamCounts(submitted=5, dropped_connection=5, connections=6)


def test_the_counts_of_a_stream_that_had_everything() -> None:
    session = opened("live")
    assert send(session, 3) == [0, 1, 2]
    submit(session)
    session.submit(PICTURE, captured=0, context=None)
    sequence, refused = session.refuse("r")
    assert (sequence, refused) == (5, DroppedFrame(5, "client", "r"))
    answer(session, 0)
    assert frames(session) == [4]
    failed = told(session, FrameFailed(1, FrameErrorCode.TOO_MANY_PIXELS, "large"))
    assert failed == [FailedFrame(1, "too_many_pixels", "large", "c0")]
    told(session, Dropped((2, 4)))
    assert session.counts == StreamCounts(
        submitted=6, results=1, failed=1, dropped_client=2, dropped_server=2, connections=1
    )
    assert (session.unanswered, session.waits) == (0, False)


def test_room_and_waiting() -> None:
    session = opened("lossless")
    assert (session.room, session.waits, session.unanswered) == (True, False, 0)
    submit(session)
    assert (session.room, session.waits, session.unanswered) == (False, True, 1)
    frames(session)
    assert (session.room, session.waits, session.unanswered) == (True, False, 1)
    live = opened("live")
    submit(live)
    assert live.room


def test_without_a_connection_there_is_nothing_to_send_and_nothing_to_ping() -> None:
    session = ClientSession(HelloOptions(token="", policy="lossless"))
    assert session.data_to_send() == []
    session.ping()
    session.close()
    assert list(session.received(b"anything")) == []
    assert not session.moving


def test_pings_go_out_once_the_server_has_welcomed() -> None:
    session = ClientSession(HelloOptions(token="", policy="lossless"))
    session.connected("t")
    sent(session)
    session.ping()
    assert sent(session) == []
    told(session, Welcome(OFFER))
    session.ping()
    (ping,) = sent(session)
    assert isinstance(ping, Ping)


def test_what_is_under_way_is_bounded_by_the_client_too() -> None:
    session = ClientSession(HelloOptions(token="", policy="lossless"), in_flight=2)
    session.connected("t")
    told(session, Welcome(replace(OFFER, window=4)))
    submit(session, 4)
    assert frames(session) == [0, 1]
    answer(session, 0)
    assert frames(session) == [2]


def test_a_hello_without_frames_under_way_names_the_first_that_waits_or_the_next() -> None:
    session = opened("lossless")
    submit(session, 2)
    session.disconnected()
    assert reconnected(session).options.next_sequence == 0
    told(session, Welcome(OFFER))
    for number in frames(session):
        answer(session, number)
    session.disconnected()
    assert reconnected(session).options.next_sequence == 2


def test_frames_that_wait_are_encoded_again_in_their_order_and_no_other_number_is_accepted() -> (
    None
):
    session = opened("lossless")
    submit(session, 2)
    session.encode_again(
        lambda pictures: [replace(one, data=b"new%d" % n) for n, one in enumerate(pictures)]
    )
    messages = [message for message in sent(session) if isinstance(message, Frame)]
    assert [(frame.sequence, bytes(frame.payload)) for frame in messages] == [
        (0, b"new0"),
        (1, b"new1"),
    ]
    submit(session, 2)
    with pytest.raises(ValueError, match="zip"):
        session.encode_again(lambda pictures: pictures[:1])


def test_a_class_without_a_label_is_its_number_and_the_last_label_is_its_own() -> None:
    session = opened("lossless")
    labels = OFFER.model.labels
    submit(session)
    frames(session)
    box = (0.0, 0.0, 1.0, 1.0)
    found = tuple(
        Detection(class_id, 0.5, box, 7) for class_id in (0, len(labels) - 1, len(labels))
    )
    (result,) = told(session, Result(0, 10, 20, Timing(), found, ResultFlag.UNCHANGED))
    assert [d.label for d in result.detections] == [labels[0], labels[-1], str(len(labels))]
    assert [d.track for d in result.detections] == [None, None, None]
    assert (result.width, result.height) == (10, 20)
    assert (result.unchanged, result.predicted) == (True, False)
    assert result.version == OFFER.model.version


def test_track_ids_and_predictions_are_told_and_so_is_a_newer_model() -> None:
    session = opened("lossless")
    newer = replace(OFFER.model, version="newer", labels=("one", "two"))
    submit(session)
    frames(session)
    assert told(session, Model(3, newer)) == []
    assert session.server is not None
    assert (session.server.version, session.server.labels) == ("newer", ("one", "two"))
    found = (Detection(1, 0.5, (0.0, 0.0, 1.0, 1.0), 7),)
    flags = ResultFlag.TRACKED | ResultFlag.PREDICTED
    (result,) = told(session, Result(0, 10, 20, Timing(batch=2), found, flags, 3))
    assert [(d.label, d.track) for d in result.detections] == [("two", 7)]
    assert (result.unchanged, result.predicted) == (False, True)
    assert (result.version, result.revision, result.batch) == ("newer", 3, 2)


def test_a_close_is_handed_on() -> None:
    session = opened("lossless")
    said = told(session, Close(4012, "moving"))  # type: ignore[arg-type]
    assert isinstance(said, Close)


@pytest.mark.parametrize(
    ("offset", "received", "uplink", "downlink"),
    # The server's clock is `offset` ahead; 3 ms there, 10 in the server, 2 back: 15 in all.
    [(0, 3_000, 3.0, 2.0), (50_000, 53_000, 3.0, 2.0), (-1_000, 2_000, 3.0, 2.0)],
)
def test_the_way_there_and_the_way_back_by_hand(
    monkeypatch: pytest.MonkeyPatch, offset: int, received: int, uplink: float, downlink: float
) -> None:
    now = 0
    monkeypatch.setattr("visionstack.stream.session.now_us", lambda: now)
    session = opened("lossless")
    # A ping of 4 ms: sent at 0, 2 ms there, 2 ms back.
    now = 4_000
    told(session, Pong(0, 2_000 + offset, 2_000 + offset))
    captured = 100_000
    session.submit(PICTURE, captured=captured, context=None)
    frames(session)
    now = captured + 15_000
    arrived = captured + received
    timing = Timing(
        received=arrived, sent=arrived + 10_000, decode=1_000, queue=2_000, inference=6_000,
        post=1_000,
    )  # fmt: skip
    (result,) = told(session, Result(0, 10, 10, timing))
    latency = result.latency
    assert (latency.total, latency.uplink, latency.downlink) == (15.0, uplink, downlink)
    assert (latency.decode, latency.queue, latency.inference, latency.post) == (1, 2, 6, 1)
    assert latency.clock_error == 2.0


def test_without_a_ping_each_way_gets_half_of_what_the_server_did_not_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 15_000
    monkeypatch.setattr("visionstack.stream.session.now_us", lambda: now)
    session = opened("lossless")
    session.submit(PICTURE, captured=0, context=None)
    frames(session)
    (result,) = told(session, Result(0, 10, 10, Timing(received=7, sent=10_007)))
    latency = result.latency
    assert (latency.uplink, latency.downlink, latency.clock_error) == (2.5, 2.5, 2.5)


@pytest.mark.parametrize(("queue", "more"), [(0, True), (4, True), (5, False), (9, False)])
def test_more_live_frames_go_under_way_only_if_the_last_was_not_made_to_wait(
    queue: int, more: bool
) -> None:
    """Half of an inference of 10 µs is 5."""
    session = opened("live")
    assert send(session, 3) == [0, 1, 2]
    submit(session, 2)
    answer(session, 0, queue=queue, inference=10)
    # One credit has come back; with one more allowed than the three there is room for two.
    assert len(send(session, 2)) == (2 if more else 1)


def test_live_frames_under_way_never_exceed_the_window_nor_fall_below_three() -> None:
    session = opened("live")
    for _ in range(6):
        send(session, 6)
        answer(session, next(iter(session._under_way)), queue=0, inference=10)
    send(session, 6)
    assert len(session._under_way) == 4
    for _ in range(3):
        told(session, Dropped(tuple(session._under_way)))
        send(session, 6)
        assert len(session._under_way) == 3
