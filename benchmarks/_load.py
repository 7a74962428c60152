"""The load generator: a process of its own, asked by one JSON argument, answering with one line.

Every client is a closed loop: it sends its next picture when the last one is answered. HTTP
clients keep their connection and are as thin as asyncio allows, so that what is measured is the
server's work and not the generator's; stream clients are the project's own client library.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from visionstack.stream.client import AsyncStreamClient
from visionstack.stream.types import StreamAddress, StreamResult

Body = Literal["picture", "form", "triton"]
"""How a picture is posted: as it is, as a form's file, or as Triton's binary tensor."""
_FORM_FIELD = "pictures"
_TENSOR = "picture"


class LoadError(Exception):
    """The server answered with something else than a result."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What the generator is to do."""

    kind: Literal["http", "stream"]
    port: int
    clients: int
    seconds: float
    warmup: float
    pictures: Sequence[str]
    """Files, sent in turn."""
    host: str = "127.0.0.1"
    path: str = "/"
    body: Body = "picture"
    token: str = field(default="", repr=False)
    in_flight: int = 1
    """Frames under way on one stream; an HTTP connection has one."""


@dataclass
class Measured:
    """Milliseconds from sending to answer, by client; those sent in the warm-up are left out."""

    latencies_ms: list[list[float]]
    seconds: float = 0.0
    answered: int = 0
    """Within the measured seconds, whenever sent."""
    generator_cpu_seconds: float = 0.0
    """Of the two processors' time, what the generator itself took."""
    first_answer: dict[str, Any] = field(default_factory=dict)


class HttpConnection:
    """HTTP/1.1, with a context over TLS; reads answers with a length or in chunks."""

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        self._address, self._tls = (host, port), tls
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, request: bytes) -> bytes:
        """A request there, its answer back; connects where it is not. Raises LoadError."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(
                *self._address, ssl=self._tls
            )
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = _header(head, "content-length")
        body = await self._reader.readexactly(int(length)) if length else await self._chunks()
        if " 200 " not in head.split("\r\n", 1)[0]:
            raise LoadError(f"{head.splitlines()[0]}: {body[:200]!r}")
        return body

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self._reader.readline(), 16):
            body += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)
        return body

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def request_of(load: Load, picture: bytes) -> bytes:
    """The picture as the server wants it posted."""
    headers = {"Host": f"{load.host}:{load.port}", "Content-Type": "image/jpeg"}
    match load.body:
        case "form":
            edge = "visionstack-benchmark-edge"
            named = f'form-data; name="{_FORM_FIELD}"; filename="picture.jpg"'
            head = f"--{edge}\r\nContent-Disposition: {named}\r\nContent-Type: image/jpeg\r\n\r\n"
            picture = head.encode() + picture + f"\r\n--{edge}--\r\n".encode()
            headers["Content-Type"] = f"multipart/form-data; boundary={edge}"
        case "triton":
            tensor = len(picture).to_bytes(4, "little") + picture
            head = json.dumps(_triton_request(len(tensor)))
            picture = head.encode() + tensor
            headers["Content-Type"] = "application/octet-stream"
            headers["Inference-Header-Content-Length"] = str(len(head))
        case "picture":
            pass
    headers["Content-Length"] = str(len(picture))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {load.path} HTTP/1.1\r\n{lines}\r\n".encode() + picture


def _triton_request(tensor_bytes: int) -> dict[str, Any]:
    """Triton's binary tensor data extension: the tensors follow the JSON."""
    return {
        "inputs": [
            {
                "name": _TENSOR,
                "shape": [1, 1],
                "datatype": "BYTES",
                "parameters": {"binary_data_size": tensor_bytes},
            }
        ],
        "outputs": [{"name": "answer", "parameters": {"binary_data": True}}],
    }


def _header(head: str, name: str) -> str:
    for line in head.split("\r\n"):
        if line.startswith(f"{name}:"):
            return line.partition(":")[2].strip()
    return ""


async def run(load: Load) -> Measured:
    """All clients at once. Raises LoadError when an answer is none."""
    pictures = [Path(path).read_bytes() for path in load.pictures]
    measured = Measured(latencies_ms=[[] for _ in range(load.clients)])
    work = _http_client if load.kind == "http" else _stream_client
    gate = asyncio.Barrier(load.clients + 1)
    clients = [
        asyncio.create_task(work(load, pictures, measured, number, gate))
        for number in range(load.clients)
    ]
    try:
        waiting = asyncio.ensure_future(gate.wait())
        await asyncio.wait([waiting, *clients], return_when=asyncio.FIRST_COMPLETED)
        cpu = time.process_time()
        await asyncio.gather(*clients)
        whole = load.seconds + load.warmup
        measured.generator_cpu_seconds = (time.process_time() - cpu) * load.seconds / whole
    finally:
        for client in clients:
            client.cancel()
        waiting.cancel()
    measured.seconds = load.seconds
    return measured


Send = Callable[[int], Awaitable[Any]]


async def _loop(
    load: Load, measured: Measured, number: int, gate: asyncio.Barrier, send: Send
) -> None:
    await gate.wait()
    began = time.perf_counter() + load.warmup
    ends = began + load.seconds
    index = number
    while (sent := time.perf_counter()) < ends:
        await send(index)
        index += 1
        now = time.perf_counter()
        if sent >= began:
            measured.latencies_ms[number].append((now - sent) * 1000)
        measured.answered += began <= now < ends


async def _http_client(
    load: Load, pictures: Sequence[bytes], measured: Measured, number: int, gate: asyncio.Barrier
) -> None:
    requests = [request_of(load, picture) for picture in pictures]
    with contextlib.closing(HttpConnection(load.host, load.port)) as connection:

        async def send(index: int) -> bytes:
            return await connection.send(requests[index % len(requests)])

        measured.first_answer = one_answer(load, await send(0))
        await _loop(load, measured, number, gate, send)


def one_answer(load: Load, body: bytes) -> dict[str, Any]:
    """What a server found in one picture; a service that takes lists answers with one."""
    if load.body == "triton":
        _, end = json.JSONDecoder().raw_decode(body.decode("latin-1"))
        body = body[end + 4 :]
    answer = json.loads(body)
    found: dict[str, Any] = answer[0] if isinstance(answer, list) else answer
    return found


async def _stream_client(
    load: Load, pictures: Sequence[bytes], measured: Measured, number: int, gate: asyncio.Barrier
) -> None:
    address = StreamAddress(load.host, load.port, load.token)
    client = AsyncStreamClient(address, policy="lossless", in_flight=load.in_flight)
    async with client:
        measured.first_answer = _as_json(await client.detect(pictures[0]), client)
        if load.in_flight == 1:

            async def send(index: int) -> None:
                await client.detect(pictures[index % len(pictures)])

            await _loop(load, measured, number, gate, send)
        else:
            await gate.wait()
            await _keep_in_flight(client, load, pictures, measured, number)


async def _keep_in_flight(
    client: AsyncStreamClient,
    load: Load,
    pictures: Sequence[bytes],
    measured: Measured,
    number: int,
) -> None:
    began = time.perf_counter() + load.warmup
    ends = began + load.seconds
    under_way = asyncio.Semaphore(load.in_flight)

    async def send_all() -> int:
        index = 0
        while time.perf_counter() < ends:
            await under_way.acquire()
            await client.send(pictures[index % len(pictures)], context=time.perf_counter())
            index += 1
        return index

    sending = asyncio.create_task(send_all())
    answered = 0
    while not sending.done() or answered < sending.result():
        answer = await client.answer()
        if not isinstance(answer, StreamResult):
            raise LoadError(f"frame {answer.sequence} was not answered with a result: {answer}")
        answered += 1
        under_way.release()
        now = time.perf_counter()
        if answer.context >= began:
            measured.latencies_ms[number].append((now - answer.context) * 1000)
        measured.answered += began <= now < ends


def _as_json(result: StreamResult, client: AsyncStreamClient) -> dict[str, Any]:
    return {
        "engine": f"{client.server.engine} {client.server.precision}",
        "detections": [
            {"class_id": d.class_id, "confidence": d.confidence, "box": list(d.box)}
            for d in result.detections
        ],
    }


def main() -> None:
    load = Load(**json.loads(sys.argv[1]))
    sys.stdout.write(json.dumps(vars(asyncio.run(run(load)))) + "\n")


if __name__ == "__main__":
    main()
