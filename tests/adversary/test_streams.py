"""Attacks on a server in a process of its own, with an honest stream beside each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import statistics
import struct
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.adversary.client import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    Connection,
    HonestStream,
    frame,
    hello,
    length_prefixed,
    ping,
    upgraded,
    websocket_frame,
)
from tests.hostile import many_scans

TOKEN = "a token of more than twenty-four characters"
PROTOCOL_ERROR, CREDIT_EXCEEDED, TAKEN_OVER = 4001, 4010, 4013
ROOT = Path(__file__).parents[2]


class Target:
    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.log = log
        self.port, self.http_port = map(int, process.stdout.readline().split())
        self.resting = self.memory
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/healthz") as answer:
            self.ceiling = json.load(answer)["frame_memory_bytes"]
            """The most that frames may add, as the server itself says."""

    @property
    def memory(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024

    @property
    def sockets(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


@contextlib.contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[Target]:
    """A server as it is deployed, but for its model; its log is in `folder`."""
    log = folder / "server.log"
    with (
        log.open("wb") as lines,
        subprocess.Popen(
            [sys.executable, "-m", "tests.adversary.server_process", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=lines,
            text=True,
            cwd=ROOT,
        ) as process,
    ):
        yield Target(process, log)
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    with serving(tmp_path) as one:
        yield one


def p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[98]


@contextlib.contextmanager
def attacking(target: Target, attack: str) -> Iterator[None]:
    """One of `attacks`, from a process of its own; it must not have given up by itself."""
    program = [sys.executable, "-m", "tests.adversary.attacks", attack]
    ports = [str(target.port), str(target.http_port), TOKEN]
    with subprocess.Popen(program + ports, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            process.stdout.readline()
            yield
            assert process.poll() is None, "the attacker ended by itself"
        finally:
            process.kill()


Pairs = list[tuple[float, float]]
"""The honest p99 in seconds beside a process that does nothing, and beside the attack."""

ROUNDS, TRIALS = 5, 5


async def beside(
    target: Target, attack: str, *, rounds: int = ROUNDS, trials: int = TRIALS
) -> Pairs:
    """Rounds that alternate between both, until they are `unhurt` or `trials` are over: a machine
    that is busy with something else can spoil one. Every honest frame is answered, memory stays
    below what the server states, sockets are gone in ten seconds."""
    honest = await HonestStream.open(target.port, TOKEN)
    await honest.times(30)
    before = target.sockets
    for _ in range(trials):
        pairs = [
            (await p99_beside(honest, target, "nothing"), await p99_beside(honest, target, attack))
            for _ in range(rounds)
        ]
        figures = [f"{quiet * 1e3:.1f}/{loud * 1e3:.1f}" for quiet, loud in pairs]
        print(f"{attack}: p99 in ms, nothing/attack: {figures}")
        if unhurt(pairs):
            break
    async with asyncio.timeout(60):
        while target.sockets > before:
            await asyncio.sleep(0.1)
    await honest.times(10)
    honest.abort()
    await asyncio.sleep(0)
    added = target.memory - target.resting
    print(f"{attack}: {added / 2**20:.0f} MiB added of {target.ceiling / 2**20:.0f} stated")
    assert added < target.ceiling
    return pairs


async def p99_beside(honest: HonestStream, target: Target, attack: str) -> float:
    with attacking(target, attack):
        await asyncio.sleep(0.3)
        return p99(await honest.times(60))


def unhurt(pairs: Pairs) -> bool:
    """At most twice the undisturbed p99 in the middle of the rounds, and twice the 5 ms for which
    another thread may keep the event loop from Python (sys.getswitchinterval)."""
    quiet, loud = (statistics.median(column) for column in zip(*pairs, strict=True))
    return loud <= 2 * (quiet + sys.getswitchinterval())


@pytest.mark.parametrize("attack", ["heavy_websockets", "downloads", "requests", "slow_pictures"])
async def test_what_slows_an_honest_stream_neither_cuts_it_off_nor_fills_memory(
    target: Target, attack: str
) -> None:
    """By how much: docs/security.md, "Not defended"."""
    await beside(target, attack, rounds=2, trials=1)


@pytest.mark.parametrize("attack", ["long_hellos", "pings", "websocket_pings", "heavy_streams"])
async def test_an_honest_stream_is_not_slowed_by(target: Target, attack: str) -> None:
    pairs = await beside(target, attack)
    assert unhurt(pairs), pairs


async def test_frames_that_never_end_do_not_fill_memory(target: Target) -> None:
    """All but the last byte of the largest frame, from as many connections as stay."""
    honest = await HonestStream.open(target.port, TOKEN)
    await honest.times(10)
    message = frame(0, bytes(10 * 2**20), encoding=1)
    streams = [await Connection.open(target.port, source="127.0.0.2") for _ in range(50)]
    for one in streams:
        one.send(hello(token=TOKEN, policy="lossless"))
    for one in streams:
        assert isinstance(await one.welcome(), dict)
        one.writer.write(struct.pack(">I", len(message)) + message[:-1])
    await asyncio.sleep(1)
    await honest.times(30)
    added = target.memory - target.resting
    print(f"{added / 2**20:.0f} MiB added")
    # Half as much again as the server allows for frames that wait.
    assert added < 1.5 * 256 * 2**20
    for one in (honest, *streams):
        one.abort()


@pytest.mark.parametrize(("idle_from", "honest_from"), [(1, 1), (2, 16)], ids=["one", "several"])
async def test_idle_connections_do_not_keep_an_honest_burst_out(
    target: Target, idle_from: int, honest_from: int
) -> None:
    """300 idle connections from each of so many addresses; those of two fill all places."""
    idle = []
    for part in range(idle_from):
        for _ in range(300):
            idle.append(await Connection.open(target.port, source=f"127.0.1.{part + 1}"))

    def arrive(number: int) -> socket.socket:
        # HELLO at once after the connection: a client that makes all of them first is itself slow
        # to say hello on a busy machine, and the crowded server's second is over.
        one = socket.create_connection(
            ("127.0.0.1", target.port), 20, (f"127.0.2.{number % honest_from + 1}", 0)
        )
        one.sendall(length_prefixed(hello(token=TOKEN)))
        return one

    burst = [
        Connection(*await asyncio.open_connection(sock=one))
        for one in await asyncio.to_thread(lambda: list(map(arrive, range(256))))
    ]
    answers = [await one.welcome() for one in burst]
    refused = Counter(answer for answer in answers if not isinstance(answer, dict))
    assert not refused
    for one in (*idle, *burst):
        one.abort()


async def test_without_descriptors_newcomers_get_in_streams_go_on_and_the_log_stays_short(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, "64") as target:
        honest = await HonestStream.open(target.port, TOKEN)
        idle = await asyncio.gather(
            *(Connection.open(target.port, source="127.0.0.2") for _ in range(200))
        )
        await honest.times(30)
        async with asyncio.timeout(60):
            newcomer = await HonestStream.open(target.port, TOKEN)
            await newcomer.times(10)
        await honest.times(10)
        for one in (*idle, newcomer, honest):
            one.abort()
        await asyncio.sleep(0)
    lines = [json.loads(line) for line in target.log.read_text().splitlines()]
    told = [line for line in lines if line["message"] == "no connection can be accepted"]
    assert "Too many open files" in told[0]["reason"]
    assert len(lines) < 80
    assert not any("exc_info" in line for line in lines)


async def test_a_flood_of_pings_is_ended(target: Target) -> None:
    one = await Connection.open(target.port)
    await one.hello(token=TOKEN)
    # One write: bytes that come after the end would reset the connection before CLOSE is read.
    one.writer.write(length_prefixed(ping()) * 110)
    assert await one.ended() == PROTOCOL_ERROR
    one.abort()


async def test_a_flood_of_live_frames_that_drop_each_other_is_ended(target: Target) -> None:
    one = await Connection.open(target.port)
    await one.hello(token=TOKEN, policy="live")
    # While a slow one is decoded, all others wait for it.
    one.send(frame(0, many_scans(11, size=(3000, 3000)), encoding=1))
    await asyncio.sleep(0.1)
    many = [frame(n, bytes(3), encoding=4, width=1, height=1) for n in range(1, 500)]
    one.writer.write(b"".join(map(length_prefixed, many)))
    assert await one.ended() == CREDIT_EXCEEDED
    one.abort()


@pytest.mark.parametrize(
    "flood",
    [
        websocket_frame(PING),
        websocket_frame(PONG, b"unasked"),
        websocket_frame(CONTINUATION, last=False),
    ],
    ids=["pings", "pongs", "fragments without a byte"],
)
async def test_a_flood_of_websocket_frames_that_carry_nothing_is_ended(
    target: Target, flood: bytes
) -> None:
    reader, writer = await upgraded(target.http_port)
    writer.write(websocket_frame(BINARY, hello(token=TOKEN), last=True))
    assert await reader.read(1)
    writer.write(websocket_frame(BINARY, last=False) + flood * 110)
    async with asyncio.timeout(60):
        with contextlib.suppress(ConnectionError):
            while await reader.read(2**16):
                pass
    writer.transport.abort()


async def test_sockets_of_clients_that_read_nothing_are_ended(target: Target) -> None:
    before = target.sockets
    deaf = []
    for _ in range(10):
        one = await connect(f"ws://127.0.0.1:{target.http_port}/stream", close_timeout=0.1)
        one.transport.pause_reading()
        await one.send(b"\x01VSTK\x01\x01{}")
        deaf.append(one)
    async with asyncio.timeout(60):
        while target.sockets > before:
            await asyncio.sleep(0.1)
    for one in deaf:
        one.transport.abort()


async def test_a_hello_sent_twice_does_not_take_the_stream_over(target: Target) -> None:
    first, second = await Connection.open(target.port), await Connection.open(target.port)
    options = {"token": TOKEN, "policy": "lossless", "connection": 1}
    session = (await first.hello(**options))["session"]
    assert await second.hello(session=session, **options) == TAKEN_OVER
    first.send(frame(0, bytes(3), encoding=4, width=1, height=1))
    assert (await first.receive())[0] == 0x11
    first.abort()


async def test_an_unknown_encoding_fails_its_frame_alone(target: Target) -> None:
    one = await Connection.open(target.port)
    await one.hello(token=TOKEN, policy="lossless")
    one.send(frame(0, b"x", encoding=99))
    assert (await one.receive())[:2] == b"\x13\x03"
    one.send(frame(1, bytes(3), encoding=4, width=1, height=1))
    assert (await one.receive())[0] == 0x11
    one.abort()


async def test_text_is_not_taken_for_a_message(target: Target) -> None:
    async with connect(f"ws://127.0.0.1:{target.http_port}/stream") as socket:
        await socket.send('\x01VSTK\x01\x01{"token": "' + TOKEN + '"}')
        await socket.wait_closed()
        assert socket.close_code == PROTOCOL_ERROR


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}]
)
async def test_a_foreign_page_may_not_speak_to_loopback(
    target: Target, headers: dict[str, str]
) -> None:
    if "Host" in headers:
        head = await http(target, f"GET /stream HTTP/1.1\r\nHost: {headers['Host']}\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 403")
        return
    with pytest.raises(InvalidStatus) as refused:
        await connect(
            f"ws://127.0.0.1:{target.http_port}/stream", origin=None, additional_headers=headers
        )
    assert refused.value.response.status_code == 403


async def test_a_head_has_no_body(target: Target) -> None:
    answer = await http(target, "HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.partition(b"\r\n\r\n")[2] == b""


async def http(target: Target, request: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", target.http_port)
    writer.write(request.encode())
    async with asyncio.timeout(60):
        answer = await reader.read()
    writer.close()
    return answer
