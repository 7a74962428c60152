"""Client and server over real sockets, with a detector that answers by the picture's grey level."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace

import numpy as np
import pytest

from runtime.contract import Tls
from runtime.protocol.limits import Limits
from tests.unit.streaming.conftest import TOKEN, FakeDetector, FakeSource, ServerFactory, picture
from visionstack.stream.blocking import StreamClient
from visionstack.stream.client import AsyncStreamClient, Patience
from visionstack.stream.errors import (
    FrameRefusedError,
    StreamError,
    StreamRefusedError,
    StreamUnreachableError,
)
from visionstack.stream.types import DroppedFrame, FailedFrame, StreamAddress, StreamResult


async def test_a_picture_is_answered_with_boxes_in_its_own_pixels(running: ServerFactory) -> None:
    async with running() as one, AsyncStreamClient(one.address) as client:
        result = await client.detect(picture(77, size=(640, 480)))
    (found,) = result.detections
    assert (found.label, found.box) == ("grey 77", (0.0, 0.0, 640.0, 480.0))
    assert (result.width, result.height) == (640, 480)


async def test_the_parts_of_the_latency_sum_to_its_total(running: ServerFactory) -> None:
    source = FakeSource(FakeDetector(seconds=0.02))
    async with running(source=source) as one, AsyncStreamClient(one.address) as client:
        latency = (await client.detect(picture(1))).latency
    parts = (
        latency.uplink,
        latency.decode,
        latency.queue,
        latency.inference,
        latency.post,
        latency.downlink,
    )
    assert sum(parts) == pytest.approx(latency.total, abs=0.01)
    assert latency.inference >= 20


async def test_every_frame_of_a_lossless_stream_is_answered_once_and_in_order(
    running: ServerFactory,
) -> None:
    async with (
        running(threads=4, source=FakeSource(batch=4)) as one,
        AsyncStreamClient(one.address, policy="lossless") as client,
    ):
        answers = [a async for a in client.stream(picture(n % 256) for n in range(300))]
    assert [answer.sequence for answer in answers] == list(range(300))
    assert [answer.detections[0].class_id for answer in answers] == [n % 256 for n in range(300)]


async def test_a_live_stream_answers_or_reports_every_frame_and_prefers_the_newest(
    running: ServerFactory,
) -> None:
    source = FakeSource(FakeDetector(seconds=0.03))
    async with running(source=source) as one, AsyncStreamClient(one.address) as client:
        answers = [a async for a in client.stream(picture(n) for n in range(60))]
        counts = client.counts
    results = [a.sequence for a in answers if isinstance(a, StreamResult)]
    dropped = [a.sequence for a in answers if isinstance(a, DroppedFrame)]
    assert sorted(results + dropped) == list(range(60))
    assert results == sorted(results)
    assert dropped
    assert results[-1] == 59
    assert counts.dropped == len(dropped)


@pytest.mark.parametrize("encoding", ["jpeg", "png", "webp", "bgr"])
async def test_arrays_are_sent_in_the_encoding_asked_for(
    running: ServerFactory, encoding: str
) -> None:
    grey = np.full((48, 64, 3), 100, np.uint8)
    async with running() as one, AsyncStreamClient(one.address, encoding=encoding) as client:
        result = await client.detect(grey)
    assert abs(result.detections[0].class_id - 100) <= 1


async def test_the_hello_names_model_engine_and_random_weights(running: ServerFactory) -> None:
    async with running() as one, AsyncStreamClient(one.address) as client:
        server = client.server
    assert (server.model, server.version, server.engine) == ("fake", "1", "fake")
    assert not server.weights_trained


async def test_several_models_are_served_at_once_and_picked_by_name(
    running: ServerFactory,
) -> None:
    source = FakeSource(names=("one", "other"))
    source.detectors["other"] = FakeDetector(poison=9)
    async with (
        running(source=source) as server,
        AsyncStreamClient(server.address) as first,
        AsyncStreamClient(server.address, model="other") as second,
    ):
        assert (first.server.model, second.server.model) == ("one", "other")
        assert (await first.detect(picture(9))).detections
        with pytest.raises(FrameRefusedError):
            await second.detect(picture(9))


async def test_an_unknown_model_is_refused_with_those_there_are(running: ServerFactory) -> None:
    async with running() as one:
        with pytest.raises(StreamRefusedError, match="only fake"):
            await AsyncStreamClient(one.address, model="yolov9").connect()


async def test_a_wrong_token_is_refused_and_nothing_is_served(running: ServerFactory) -> None:
    async with running() as one:
        wrong = replace(one.address, token="wrong")
        with pytest.raises(StreamRefusedError, match="token"):
            await AsyncStreamClient(wrong).connect()
        closes = one.server.metrics.closes.labels("wrong_token")
        assert closes._value.get() == 1


async def test_the_engine_raising_on_one_frame_fails_that_frame_and_the_stream_goes_on(
    running: ServerFactory,
) -> None:
    source = FakeSource(FakeDetector(poison=5), batch=8)
    async with (
        running(source=source) as one,
        AsyncStreamClient(one.address, policy="lossless") as client,
    ):
        answers = [a async for a in client.stream(picture(n) for n in range(12))]
    failed = [a for a in answers if isinstance(a, FailedFrame)]
    assert [(a.sequence, a.code) for a in failed] == [(5, "engine_failed")]
    assert [a.sequence for a in answers if isinstance(a, StreamResult)] == [
        n for n in range(12) if n != 5
    ]


async def test_a_frame_that_is_no_picture_fails_alone(running: ServerFactory) -> None:
    spoiled = picture(1)[:60]
    async with (
        running() as one,
        AsyncStreamClient(one.address, policy="lossless") as client,
    ):
        answers = [a async for a in client.stream([picture(1), spoiled, picture(2)])]
    assert [type(a) for a in answers] == [StreamResult, FailedFrame, StreamResult]
    assert answers[1].code == "undecodable"


async def test_under_tls_only_the_pinned_certificate_is_accepted(running: ServerFactory) -> None:
    async with running(tls=Tls.SELF_SIGNED) as one:
        async with AsyncStreamClient(one.address) as client:
            assert (await client.detect(picture(8))).detections
        stranger = replace(one.address, fingerprint="00" * 32)
        with pytest.raises(StreamError, match="shows a certificate"):
            await AsyncStreamClient(stranger).connect()


async def test_two_servers_with_one_token_show_one_certificate(running: ServerFactory) -> None:
    async with running(tls=Tls.SELF_SIGNED) as one, running(tls=Tls.SELF_SIGNED) as other:
        assert one.address.fingerprint == other.address.fingerprint
        assert one.address.port != other.address.port


async def test_nobody_listening_is_an_error_that_names_the_address() -> None:
    nowhere = StreamAddress("127.0.0.1", 1, TOKEN)
    client = AsyncStreamClient(nowhere, patience=Patience(begin=0.3, longest_delay=0.1))
    with pytest.raises(StreamUnreachableError, match=r"127\.0\.0\.1:1"):
        await client.connect()


@pytest.mark.parametrize(
    ("fingerprint", "reason"), [(None, "no welcome within"), ("ab" * 32, "no connection within")]
)
async def test_a_server_that_is_silent_is_an_error_that_says_so(
    fingerprint: str | None, reason: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = StreamAddress("127.0.0.1", silent.getsockname()[1], TOKEN, fingerprint)
        patience = Patience(connect=0.1, begin=0.3, longest_delay=0.1)
        with pytest.raises(StreamUnreachableError, match=rf"{address.port}: {reason} 0\.1 s"):
            await AsyncStreamClient(address, patience=patience).connect()


async def test_many_streams_get_equal_shares(running: ServerFactory) -> None:
    source = FakeSource(FakeDetector(seconds=0.002))
    async with running(source=source) as one:
        clients = [AsyncStreamClient(one.address, policy="lossless") for _ in range(8)]
        for client in clients:
            await client.connect()

        async def run(client: AsyncStreamClient) -> None:
            async for _ in client.stream(picture(1) for _ in range(10_000)):
                pass

        tasks = [asyncio.create_task(run(client)) for client in clients]
        await asyncio.sleep(1.5)
        shares = [client.counts.results for client in clients]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in clients:
            await client.close()
    assert min(shares) >= 0.9 * max(shares) - 2


async def test_health_readiness_and_metrics_are_served_beside_the_stream(
    running: ServerFactory,
) -> None:
    def get(server_port: int, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server_port}{path}") as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    async with running() as one:
        async with AsyncStreamClient(one.address) as client:
            await client.detect(picture(1))
        port = one.server.http_port
        status, health = await asyncio.to_thread(get, port, "/healthz")
        assert (status, json.loads(health)["models"]["fake"]["engine"]) == (200, "fake")
        assert (await asyncio.to_thread(get, port, "/readyz"))[0] == 200
        _, metrics = await asyncio.to_thread(get, port, "/metrics")
        assert 'visionstack_stream_answers_total{model="fake",outcome="found"} 1.0' in metrics
        assert (await asyncio.to_thread(get, port, "/nothing"))[0] == 404
        one.server.registry.draining = "for the test"
        assert (await asyncio.to_thread(get, port, "/readyz"))[0] == 503


async def test_the_blocking_client_does_the_same(running: ServerFactory) -> None:
    def use(address: StreamAddress) -> tuple[list[int], list[str], int]:
        with StreamClient(address, policy="lossless") as client:
            first = client.detect(picture(3)).detections[0].class_id
            answers = list(client.stream((picture(n), f"picture {n}") for n in range(40)))
            return (
                [first, *(a.detections[0].class_id for a in answers)],
                [a.context for a in answers],
                client.counts.results,
            )

    async with running() as one:
        classes, contexts, results = await asyncio.to_thread(use, one.address)
    assert classes == [3, *range(40)]
    assert contexts == [f"picture {n}" for n in range(40)]
    assert results == 41


async def test_an_error_in_the_callers_pictures_reaches_the_caller(running: ServerFactory) -> None:
    def broken_source() -> object:
        yield picture(1)
        raise ValueError("the camera fell down")

    def use(address: StreamAddress) -> None:
        with StreamClient(address, policy="lossless") as client:
            list(client.stream(broken_source()))

    async with running() as one:
        with pytest.raises(ValueError, match="fell down"):
            await asyncio.to_thread(use, one.address)


async def test_the_change_gate_skips_inference_on_a_still_picture_and_says_so(
    running: ServerFactory,
) -> None:
    still = [picture(50)] * 10 + [picture(200)] * 5
    async with (
        running() as one,
        AsyncStreamClient(one.address, policy="lossless", gate=0.001) as client,
    ):
        answers = [a async for a in client.stream(still)]
    assert [a.unchanged for a in answers] == [n not in (0, 10) for n in range(15)]
    assert [a.detections[0].class_id for a in answers] == [50] * 10 + [200] * 5
    assert len(one.source.detectors["fake"].batches) == 2


async def test_a_tracked_stream_has_stable_ids_and_infers_only_its_key_frames(
    running: ServerFactory,
) -> None:
    async with (
        running() as one,
        AsyncStreamClient(one.address, policy="lossless", track=True, key_interval=4) as client,
    ):
        answers = [a async for a in client.stream(picture(9) for _ in range(16))]
    assert [a.predicted for a in answers] == [n % 4 != 0 for n in range(16)]
    assert {d.track for a in answers for d in a.detections} == {1}
    assert all(len(a.detections) == 1 for a in answers)
    assert len(one.source.detectors["fake"].batches) == 4


async def test_gate_and_tracking_are_each_streams_own_choice(running: ServerFactory) -> None:
    async with (
        running() as one,
        AsyncStreamClient(one.address, policy="lossless", gate=0.001) as gated,
        AsyncStreamClient(one.address, policy="lossless") as plain,
    ):
        await asyncio.gather(*(client.detect(picture(1)) for client in (gated, plain)))
        again = await asyncio.gather(*(client.detect(picture(1)) for client in (gated, plain)))
    assert [result.unchanged for result in again] == [True, False]


async def test_a_server_that_is_full_says_so_in_the_clients_error(running: ServerFactory) -> None:
    limits = replace(Limits(), connections=1, drain_seconds=1)
    hasty = Patience(begin=0.4, longest_delay=0.1)
    async with running(limits=limits) as one, AsyncStreamClient(one.address):
        with pytest.raises(StreamUnreachableError, match="takes 1 connections"):
            await AsyncStreamClient(one.address, patience=hasty).connect()


async def test_a_caller_that_takes_answers_slowly_slows_the_stream_down(
    running: ServerFactory,
) -> None:
    def use(address: StreamAddress) -> int:
        with StreamClient(address, policy="lossless") as client:
            answers = client.stream(picture(n % 250) for n in range(2000))
            next(answers)
            time.sleep(0.7)
            submitted = client.counts.submitted
            answers.close()
            # It waited for room that nobody makes any more.
            assert "stream-sender" not in {thread.name for thread in threading.enumerate()}
            return submitted

    async with running() as one:
        assert await asyncio.to_thread(use, one.address) < 1000


async def test_waiting_pictures_above_the_limit_pause_reading_and_nothing_is_lost(
    running: ServerFactory,
) -> None:
    tight = replace(Limits(), waiting_bytes=1000, drain_seconds=1)
    async with (
        running(limits=tight) as one,
        AsyncStreamClient(one.address, policy="lossless") as client,
    ):
        answers = [a async for a in client.stream(picture(n, size=(300, 200)) for n in range(50))]
    assert [a.sequence for a in answers] == list(range(50))


async def test_only_the_stream_whose_pictures_fill_the_server_is_held(
    running: ServerFactory,
) -> None:
    tight = replace(Limits(), waiting_bytes=1000, drain_seconds=1)
    source = FakeSource()
    gate = source.detectors["fake"].gate
    gate.clear()
    async with (
        running(source=source, limits=tight) as one,
        AsyncStreamClient(one.address, policy="lossless") as first,
        AsyncStreamClient(one.address, policy="lossless") as second,
    ):
        for n in range(8):
            await first.send(picture(n, size=(300, 200)))
        async with asyncio.timeout(60):
            while not one.server.registry._waiting._held:
                await asyncio.sleep(0.01)
        taken = one.server.metrics.frames.labels("fake")._value
        async with AsyncStreamClient(one.address, policy="lossless") as late:
            before = taken.get()
            await late.send(picture(99))
            await second.send(picture(98))
            async with asyncio.timeout(60):
                while taken.get() < before + 2:
                    await asyncio.sleep(0.01)
            gate.set()
            assert (await late.answer()).detections[0].class_id == 99
            assert (await second.answer()).detections[0].class_id == 98
        assert [(await first.answer()).sequence for _ in range(8)] == list(range(8))
    assert not one.server.registry._waiting._held


def test_tls_is_1_2_or_later() -> None:
    from runtime.streaming.host.certificate import Certificate

    context = Certificate.from_token(TOKEN).server_context()
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
