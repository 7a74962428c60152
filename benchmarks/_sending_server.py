"""The server of the two ways that do not stream: a picture a request, and a clip a request.

HTTP/1.1 over TLS with the same certificate as the streaming server's, as thin as asyncio allows,
and with the same decoding, engine and suppression behind it. A clip is Motion JPEG, which PyAV
takes apart; it is answered when all of its frames have been inferred.
"""

from __future__ import annotations

import asyncio
import io
import json
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import av

from benchmarks._link import FAR_ADDRESS
from benchmarks._peers.pipeline import Configuration, DetectionPipeline
from benchmarks._peers.servers import TOKEN
from runtime.streaming.host.certificate import Certificate

CLIP = "/clip"
PICTURE = "/picture"


class SendingServer:
    """Answers POST requests until it is cancelled."""

    def __init__(self, pipeline: DetectionPipeline) -> None:
        self._pipeline = pipeline
        self._engine = ThreadPoolExecutor(max_workers=1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept until the client closes it."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                path = head.split(" ", 2)[1]
                length = int(head.lower().partition("content-length:")[2].split("\r\n")[0])
                body = await reader.readexactly(length)
                answer = self._clip if path == CLIP else self._pipeline.detect
                text = json.dumps(await loop.run_in_executor(self._engine, answer, body)).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _clip(self, body: bytes) -> list[dict[str, Any]]:
        with av.open(io.BytesIO(body), format="mjpeg") as clip:
            return [self._pipeline.detect(bytes(packet)) for packet in clip.demux() if packet.size]


async def run(configuration: Configuration) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await asyncio.start_server(
        SendingServer(DetectionPipeline(configuration)).serve,
        FAR_ADDRESS,
        configuration.port,
        ssl=Certificate.from_token(TOKEN).server_context(),
    )
    async with server:
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(run(Configuration.from_env()))
