"""The client's half of a stream without a socket: what to send, what came back, what to repeat.

A session outlives its connections. In lossless policy every frame is kept until it is answered, and
after a reconnect those that the server has not got are sent again; in live policy frames that were
under way are counted as dropped by the connection.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runtime.protocol.clock import ClockEstimate, now_us
from runtime.protocol.connection import Role, State, StreamProtocol
from runtime.protocol.errors import CloseCode, ProtocolError
from runtime.protocol.messages import (
    Close,
    Dropped,
    Frame,
    FrameFailed,
    Hello,
    Message,
    Model,
    Ping,
    Pong,
    Result,
    ResultFlag,
    Welcome,
)
from runtime.protocol.options import HelloOptions, ModelOffer, WelcomeOffer
from visionstack.stream.pictures import EncodedPicture
from visionstack.stream.types import (
    Answer,
    DroppedFrame,
    FailedFrame,
    Latency,
    ServerInfo,
    StreamCounts,
    StreamDetection,
    StreamResult,
)

_FATAL_CONNECTIONS = 3
"""So many servers in a row may be lost over one frame before it is given up."""
_LEAST_LIVE = 3
"""Live frames under way on the shortest way: one inferred, one decoded, one arriving."""


@dataclass(frozen=True, slots=True)
class _Outgoing:
    frame: Frame
    context: Any
    picture: EncodedPicture


class ClientSession:
    """`options.token` is filled in for each connection."""

    def __init__(self, options: HelloOptions, *, in_flight: int | None = None) -> None:
        self.counts = StreamCounts()
        self.server: ServerInfo | None = None
        self._options = replace(options, model_changes=True)
        self._model: ModelOffer | None = None
        """What answers, by the last welcome or by what the server has said of it since."""
        self._live = options.policy == "live"
        self._in_flight = in_flight
        self._next_sequence = 0
        self._waiting: deque[_Outgoing] = deque()
        self._under_way: OrderedDict[int, _Outgoing] = OrderedDict()
        self._protocol: StreamProtocol | None = None
        """The connection's, while there is one."""
        self._clock = ClockEstimate()
        self._live_limit = _LEAST_LIVE
        self._answered = False
        """Whether any frame was answered since the last welcome."""
        self._server_id = ""
        """Whose connection it is, or was last."""
        self._lost: dict[int, set[str]] = {}
        """Of frames that may have ended a server: which were lost while they were under way."""
        self._given_up: list[Answer] = []
        self._starved = False
        """Whether a frame was dropped here since the last result, for want of an answer."""

    @property
    def unanswered(self) -> int:
        """Frames that have no answer yet, sent or not."""
        return len(self._waiting) + len(self._under_way)

    @property
    def room(self) -> bool:
        """Whether another frame may be submitted without waiting; always so in live policy."""
        return self._live or not self._waiting

    @property
    def moving(self) -> bool:
        """Whether the server has asked to move on and owes no more answers."""
        return self._protocol is not None and self._protocol.leaving and not self._under_way

    @property
    def waits(self) -> bool:
        """Whether a frame waits for a credit."""
        return bool(self._waiting)

    def refuse(self, context: Any) -> tuple[int, Answer]:
        """A live frame that is dropped before it was made; returns its sequence number."""
        sequence = self._next_sequence
        self._next_sequence += 1
        self.counts.submitted += 1
        self.counts.dropped_client += 1
        self._starved = True
        return sequence, DroppedFrame(sequence, "client", context)

    def submit(
        self, picture: EncodedPicture, *, captured: int, context: Any
    ) -> tuple[int, list[Answer]]:
        """Take a frame (`captured`: this machine's `now_us`). Returns its sequence number, and in
        live policy the frame that it replaced before it was ever sent."""
        sequence = self._next_sequence
        self._next_sequence += 1
        self.counts.submitted += 1
        frame = Frame(
            sequence,
            captured,
            picture.encoding,
            picture.data,
            picture.width,
            picture.height,
        )
        replaced: list[Answer] = []
        # An access unit of a video can't be left out: those after it are made of it.
        if self._live and self._waiting and not picture.depends:
            old = self._waiting.popleft()
            self.counts.dropped_client += 1
            self._starved = True
            replaced.append(DroppedFrame(old.frame.sequence, "client", old.context))
        self._waiting.append(_Outgoing(frame, context, picture))
        return sequence, replaced

    def encode_again(
        self, encode: Callable[[Sequence[EncodedPicture]], Sequence[EncodedPicture]]
    ) -> None:
        """Replace the frames that wait: this server knows nothing of the video so far."""
        again = encode([outgoing.picture for outgoing in self._waiting])
        self._waiting = deque(
            replace(outgoing, picture=picture, frame=replace(outgoing.frame, payload=picture.data))
            for outgoing, picture in zip(self._waiting, again, strict=True)
        )

    def connected(self, token: str) -> None:
        """A connection was made: greet the server."""
        self._protocol = StreamProtocol(Role.CLIENT)
        self._clock = ClockEstimate()
        self.counts.connections += 1
        first = next(iter(self._under_way), None)
        if first is None:
            first = self._waiting[0].frame.sequence if self._waiting else self._next_sequence
        # A live stream is not resumed, but a version that is tried on some streams stays with it.
        session = self.server.session if self.server is not None else ""
        options = replace(
            self._options,
            token=token,
            next_sequence=first,
            session=session,
            connection=self.counts.connections,
        )
        self._protocol.send(Hello(options))

    def disconnected(self) -> list[Answer]:
        """The connection is gone. In live policy the frames on it are lost."""
        self._protocol = None
        if not self._live:
            return []
        lost: list[Answer] = [
            DroppedFrame(sequence, "connection", outgoing.context)
            for sequence, outgoing in self._under_way.items()
        ]
        self.counts.dropped_connection += len(lost)
        self._under_way.clear()
        return lost

    def given_up(self) -> list[Answer]:
        """The frame that the last welcome showed to have ended every server; once."""
        given_up, self._given_up = self._given_up, []
        return given_up

    def data_to_send(self) -> list[bytes]:
        """What may be sent now; of waiting frames as many as credits and `in_flight` allow."""
        protocol = self._protocol
        if protocol is None:
            return []
        while self._waiting and protocol.credits > 0 and len(self._under_way) < self._window:
            outgoing = self._waiting.popleft()
            self._under_way[outgoing.frame.sequence] = outgoing
            protocol.send(outgoing.frame)
            self.counts.bytes_sent += len(outgoing.frame.payload)
        return protocol.data_to_send()

    def ping(self) -> None:
        if self._protocol is not None and self._protocol.state is State.OPEN:
            self._protocol.send(Ping(now_us()))

    def close(self) -> None:
        """Tell the server that the stream has ended."""
        if self._protocol is not None:
            self._protocol.close(CloseCode.NORMAL)

    def received(self, data: bytes) -> Iterator[list[Answer] | Welcome | Close]:
        """Bytes have arrived; what each message among them says. Raises ProtocolError when one
        makes no sense."""
        arrived = now_us()
        if self._protocol is not None:
            self._protocol.receive_data(data)
            for message in self._protocol.events():
                yield self._heard(message, arrived)

    def _heard(self, message: Message, arrived: int) -> list[Answer] | Welcome | Close:
        match message:
            case Result():
                return [self._result(message, arrived)]
            case Dropped(sequences):
                self.counts.dropped_server += len(sequences)
                self._live_limit = max(_LEAST_LIVE, self._live_limit - 1)
                return [DroppedFrame(s, "server", self._take(s).context) for s in sequences]
            case FrameFailed(sequence, code, reason):
                self.counts.failed += 1
                context = self._take(sequence).context
                return [FailedFrame(sequence, code.name.lower(), reason, context)]
            case Model(offer=offer):
                self._model = offer
                if self.server is not None:
                    self.server = replace(self.server, **_told(offer))
            case Welcome():
                self._welcomed(message)
                return message
            case Close():
                return message
            case Pong(sent, received, answered):
                self._clock.add(sent=sent, received=received, answered=answered, returned=arrived)
        return []

    @property
    def _window(self) -> int:
        window = self.server.window if self.server is not None else 1
        if self._lost:
            # One at a time, to see which of them it was.
            return 1
        if self._in_flight is not None:
            window = min(window, self._in_flight)
        return min(window, self._live_limit) if self._live else window

    def _adapt(self, result: Result) -> None:
        """More live frames under way when the way is long: the server did not make the last one
        wait, and still there was none to send it. A drop there takes one back."""
        if self._starved and result.timing.queue < result.timing.inference // 2:
            granted = self.server.window if self.server is not None else _LEAST_LIVE
            self._live_limit = min(self._live_limit + 1, max(granted, _LEAST_LIVE))
        self._starved = False

    def _take(self, sequence: int) -> _Outgoing:
        outgoing = self._under_way.pop(sequence, None)
        if outgoing is None:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, f"an answer to frame {sequence}")
        self._answered = True
        self._lost.pop(sequence, None)
        return outgoing

    def _blame(self, offer: WelcomeOffer) -> None:
        """A server without the session welcomes: the one before may be gone. Note which frames that
        was given without answering any, and give up one that alone was with the last of several.

        A connection that was cut while the server lived is not held against its frames: that server
        has the session still, or is met again by its id, as where a balancer or a list of addresses
        leads to another one meanwhile.
        """
        before, self._server_id = self._server_id, offer.server_id or str(self.counts.connections)
        for sequence, servers in list(self._lost.items()):
            servers.discard(self._server_id)
            if not servers:
                del self._lost[sequence]
        if offer.resumed or self._live:
            return
        if not self._answered and before != self._server_id:
            for sequence in self._under_way:
                self._lost.setdefault(sequence, set()).add(before)
        if len(self._under_way) != 1:
            return
        ((sequence, outgoing),) = self._under_way.items()
        if len(self._lost.get(sequence, ())) < _FATAL_CONNECTIONS:
            return
        del self._under_way[sequence], self._lost[sequence]
        self.counts.failed += 1
        reason = (
            f"{_FATAL_CONNECTIONS} servers in a row were lost while they had this frame "
            "and answered none"
        )
        self._given_up.append(FailedFrame(sequence, "server_lost", reason, outgoing.context))

    def _welcomed(self, welcome: Welcome) -> None:
        offer = welcome.offer
        self._blame(offer)
        self._answered = False
        self._model = offer.model
        self.server = ServerInfo(
            **_told(offer.model),
            window=offer.window,
            frame_bytes=offer.frame_bytes,
            session=offer.session,
            resumed=offer.resumed,
            server=offer.server,
        )
        # Frames before `next_sequence` are with the server, which will answer them; the others
        # have to be sent (again), oldest first.
        again = [s for s in self._under_way if s >= offer.next_sequence]
        self._waiting.extendleft(self._under_way.pop(s) for s in reversed(again))

    def _result(self, result: Result, arrived: int) -> StreamResult | FailedFrame:
        outgoing = self._take(result.sequence)
        if not all(math.isfinite(n) for d in result.detections for n in (*d.box, d.confidence)):
            self.counts.failed += 1
            reason = "the server answered with a box or a confidence that is no finite number"
            return FailedFrame(result.sequence, "bad_answer", reason, outgoing.context)
        self.counts.results += 1
        self._adapt(result)
        model = self._model
        labels = model.labels if model is not None else ()
        tracked = bool(result.flags & ResultFlag.TRACKED)
        detections = tuple(
            StreamDetection(
                labels[d.class_id] if d.class_id < len(labels) else str(d.class_id),
                d.class_id,
                d.confidence,
                d.box,
                d.track if tracked else None,
            )
            for d in result.detections
        )
        return StreamResult(
            result.sequence,
            result.width,
            result.height,
            detections,
            self._latency(result, outgoing.frame.captured, arrived),
            result.timing.batch,
            bool(result.flags & ResultFlag.UNCHANGED),
            bool(result.flags & ResultFlag.PREDICTED),
            result.revision,
            model.version if model is not None else "",
            outgoing.context,
        )

    def _latency(self, result: Result, captured: int, arrived: int) -> Latency:
        timing = result.timing
        clock = self._clock.best
        total = arrived - captured
        server = timing.sent - timing.received
        if clock is None:
            # No ping has come back yet: share the way equally.
            uplink = (total - server) / 2
            error = uplink
        else:
            uplink = timing.received - clock.offset - captured
            error = clock.round_trip / 2
        return Latency(
            total=total / 1000,
            uplink=uplink / 1000,
            decode=timing.decode / 1000,
            queue=timing.queue / 1000,
            inference=timing.inference / 1000,
            post=timing.post / 1000,
            downlink=(total - server - uplink) / 1000,
            clock_error=error / 1000,
        )


def _told(offer: ModelOffer) -> dict[str, Any]:
    """The fields of `ServerInfo` that change with the model."""
    return {
        "model": offer.name,
        "version": offer.version,
        "engine": offer.engine,
        "precision": offer.precision,
        "device": offer.device,
        "weights_trained": offer.weights_trained,
        "weights": offer.weights,
        "labels": offer.labels,
    }
