"""A version that is tried on a share of the streams: on which, for how long, without a gap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from itertools import groupby

import pytest

from runtime.inference.store import Canary
from tests.unit.streaming.conftest import (
    FakeDetector,
    FakeSource,
    ServerFactory,
    make_session,
    picture,
)
from tests.unit.streaming.test_reloading import until
from tests.unit.streaming.test_resuming import HASTY, Cable
from visionstack.stream.client import AsyncStreamClient
from visionstack.stream.errors import FrameRefusedError
from visionstack.stream.types import StreamResult

STREAMS = 40


def trying(share: float | None = None, *, version: str = "2") -> FakeSource:
    """Version 1, and perhaps another on a share; each version's labels name it."""
    source = FakeSource(FakeDetector(labels=labels("1")))
    for other in ("2", "3"):
        source.of_version[other] = FakeDetector(labels=labels(other))
    if share is not None:
        source.canaries["fake"] = Canary(version, share)
    return source


def labels(version: str) -> tuple[str, ...]:
    return tuple(f"{level} of {version}" for level in range(256))


def number_of(client: AsyncStreamClient) -> str:
    return client.server.session[:8]


def version_of(answer: object) -> str:
    """The answer's version, once nothing of it is another's."""
    assert isinstance(answer, StreamResult)
    level = answer.sequence % 250
    assert [one.label for one in answer.detections] == [f"{level} of {answer.version}"]
    return answer.version


async def test_each_stream_is_answered_by_one_version_and_the_share_of_streams_holds(
    running: ServerFactory,
) -> None:
    source = trying(0.25)
    async with (
        running(source=source, reload_seconds=0.05) as one,
        AsyncExitStack() as stack,
    ):
        clients = [
            await stack.enter_async_context(AsyncStreamClient(one.address, policy="lossless"))
            for _ in range(STREAMS)
        ]

        async def watched(client: AsyncStreamClient) -> set[str]:
            answers = [a async for a in client.stream(picture(n) for n in range(20))]
            assert [answer.sequence for answer in answers] == list(range(20))
            return {version_of(answer) for answer in answers}

        seen = await asyncio.gather(*(watched(client) for client in clients))
        assert one.server.hosts["fake"].canary is not None
    expected = ["2" if Canary("2", 0.25).takes(number_of(one)) else "1" for one in clients]
    assert seen == [{version} for version in expected]
    assert {client.server.version for client in clients} == set(expected) == {"1", "2"}


def test_the_numbers_of_streams_are_spread_evenly() -> None:
    sessions = [make_session() for _ in range(2000)]
    for share in (0.05, 0.5):
        took = sum(Canary("2", share).takes(session.number) for session in sessions)
        # One run in 15,000 is farther off than four standard deviations.
        assert took == pytest.approx(2000 * share, abs=4 * (2000 * share * (1 - share)) ** 0.5)


def test_a_stream_that_comes_with_an_old_id_keeps_its_number_and_no_more_of_it() -> None:
    first = make_session()
    again = make_session(session=first.id)
    assert again.number == first.number == first.id[:8]
    assert again.id != first.id
    assert len(make_session(session="no number at all").number) == 8


@pytest.mark.parametrize("policy", ["lossless", "live"])
async def test_a_stream_keeps_its_version_however_often_its_connection_breaks(
    running: ServerFactory, policy: str
) -> None:
    async with running(source=trying(0.5), reload_seconds=0.05) as one, AsyncExitStack() as stack:
        cable = await stack.enter_async_context(Cable(one.address).laid())
        clients = [
            await stack.enter_async_context(
                AsyncStreamClient(cable.address, policy=policy, patience=HASTY)  # type: ignore[arg-type]
            )
            for _ in range(16)
        ]
        began = {client: (number_of(client), client.server.version) for client in clients}
        assert {version for _, version in began.values()} == {"1", "2"}
        for turn in range(3):
            cable.tear()

            async def answered(client: AsyncStreamClient) -> None:
                while True:
                    with suppress(FrameRefusedError):  # a live frame is lost with its connection
                        answer = await client.detect(picture(0))
                        version = client.server.version
                        assert [one.label for one in answer.detections] == [f"0 of {version}"]
                        return

            await asyncio.gather(*(answered(client) for client in clients))
            assert min(client.counts.connections for client in clients) > turn + 1
            now = {client: (number_of(client), client.server.version) for client in clients}
            assert now == began


async def test_a_stream_that_goes_on_at_another_server_keeps_its_version(
    running: ServerFactory,
) -> None:
    async with (
        running(source=trying(0.5), reload_seconds=0.05) as first,
        running(source=trying(0.5), reload_seconds=0.05) as second,
        AsyncExitStack() as stack,
    ):
        addresses = [first.address, second.address]
        clients = [
            await stack.enter_async_context(
                AsyncStreamClient(addresses, policy="lossless", patience=HASTY)
            )
            for _ in range(16)
        ]
        versions = [client.server.version for client in clients]
        await asyncio.gather(*(client.detect(picture(0)) for client in clients))
        await first.server.stop()
        moved = await asyncio.gather(*(client.detect(picture(1)) for client in clients))
        assert [version_of(answer) for answer in moved] == versions
        assert set(versions) == {"1", "2"}


async def test_begun_changed_and_ended_in_mid_stream_without_a_gap(
    running: ServerFactory,
) -> None:
    source = trying()
    done = asyncio.Event()
    async with running(source=source, reload_seconds=0.02) as one, AsyncExitStack() as stack:

        async def frames() -> AsyncIterator[bytes]:
            level = 0
            while not done.is_set():
                yield picture(level % 250)
                level += 1
                await asyncio.sleep(0.002)

        clients = [
            await stack.enter_async_context(AsyncStreamClient(one.address, policy="lossless"))
            for _ in range(8)
        ]
        answers: dict[AsyncStreamClient, list[StreamResult]] = {client: [] for client in clients}

        async def watch(client: AsyncStreamClient) -> None:
            async for answer in client.stream(frames()):
                assert isinstance(answer, StreamResult)
                answers[client].append(answer)

        async def all_follow(expected: dict[AsyncStreamClient, str]) -> None:
            await until(
                lambda: all(
                    answers[one] and answers[one][-1].version == expected[one] for one in clients
                )
            )

        def split(canary: Canary, current: str) -> dict[AsyncStreamClient, str]:
            return {
                one: canary.version if canary.takes(number_of(one)) else current for one in clients
            }

        watching = [asyncio.create_task(watch(client)) for client in clients]
        everywhere = dict.fromkeys(clients, "1")
        await all_follow(everywhere)
        # Of eight streams a half may lie on one side: take a share that parts these.
        share = next(
            share
            for share in (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8)
            if len(set(split(Canary("2", share), "1").values())) == 2
        )
        some = split(Canary("2", share), "1")
        source.canaries["fake"] = Canary("2", share)
        await all_follow(some)
        del source.canaries["fake"]
        await all_follow(everywhere)
        source.canaries["fake"] = Canary("2", share)
        await all_follow(some)
        source.versions["fake"] = "2"  # promoted whole
        del source.canaries["fake"]
        await all_follow(dict.fromkeys(clients, "2"))
        done.set()
        await asyncio.gather(*watching)
        loads = [version for _, version in source.loads]
    for client in clients:
        assert [one.sequence for one in answers[client]] == list(range(len(answers[client])))
        runs = [version for version, _ in groupby(map(version_of, answers[client]))]
        tried = some[client] == "2"
        assert runs == (["1", "2", "1", "2"] if tried else ["1", "2"])
        revisions = {(one.version, one.revision) for one in answers[client]}
        # Never two versions under one number.
        assert len({revision for _, revision in revisions}) == len(revisions)
    # Promoted, it was there already.
    assert loads == ["1", "2", "2"]


async def test_a_canary_that_cannot_be_had_is_refused_and_the_current_version_goes_on(
    running: ServerFactory,
) -> None:
    source = trying(0.9)
    source.broken["2"] = "weights.onnx is damaged"
    async with running(source=source, reload_seconds=0.02) as one:
        for _ in range(4):
            async with AsyncStreamClient(one.address) as client:
                assert client.server.version == "1"
                assert version_of(await client.detect(picture(0))) == "1"
        assert one.server.metrics.reloads.labels("fake", "refused")._value.get() == 1
        # Another one is tried at once.
        source.canaries["fake"] = Canary("3", 0.9)
        await until(lambda: one.server.hosts["fake"].canary is not None)
