"""The page in a real browser: its camera (Chromium's own test picture) is streamed and answered."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from runtime.streaming.server import Server
from tests.unit.streaming.conftest import TOKEN, make_server

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--remote-debugging-port=0",
    "about:blank",
)


class Tab:
    """One page, driven by the DevTools protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    async def call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        await self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(await self._socket.recv())
            if answer.get("id") == number:
                return answer["result"]

    async def evaluate(self, expression: str) -> Any:
        answer = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, userGesture=True
        )
        return answer["result"].get("value")

    async def until(self, expression: str) -> None:
        async with asyncio.timeout(30):
            while not await self.evaluate(expression):
                await asyncio.sleep(0.05)


def _tabs(port: int) -> list[dict[str, str]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=10) as answer:
        return json.load(answer)


@asynccontextmanager
async def browser(profile: Path) -> AsyncIterator[Tab]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine")
    process = await asyncio.create_subprocess_exec(
        program,
        f"--user-data-dir={profile}",
        *FLAGS,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(30):
            while not (line := await process.stderr.readline()).startswith(b"DevTools listening"):
                assert line, "the browser ended"
        draining = asyncio.create_task(process.stderr.read())
        port = line.split(b":")[2].split(b"/")[0].decode()
        tabs = await asyncio.to_thread(_tabs, int(port))
        address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        async with connect(address, max_size=None) as socket:
            yield Tab(socket)
        draining.cancel()
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = make_server(tmp_path)
    await server.start()
    yield server
    await server.stop()


async def start(tab: Tab, server: Server, token: str) -> None:
    await tab.call("Page.navigate", url=f"http://127.0.0.1:{server.http_port}/")
    await tab.until("document.readyState === 'complete'")
    await tab.evaluate(
        f"document.getElementById('token').value = {json.dumps(token)};"
        "document.getElementById('form').requestSubmit()"
    )


async def test_the_cameras_pictures_are_answered_and_drawn(server: Server, tmp_path: Path) -> None:
    async with browser(tmp_path / "profile") as tab:
        await start(tab, server, TOKEN)
        await tab.until("document.getElementById('figures').textContent.includes('frames/s')")
        assert "random weights" in await tab.evaluate(
            "document.getElementById('status').textContent"
        )
        drawn = await tab.evaluate(
            "[...document.getElementById('overlay').getContext('2d').getImageData(0, 0, 4, 4).data]"
            ".some((value) => value > 0)"
        )
        assert drawn
        await tab.evaluate("document.getElementById('form').requestSubmit()")
        await tab.until("document.getElementById('status').textContent === 'stopped'")
    answered = server.metrics.answers.labels("fake", "found")
    assert answered._value.get() > 0


async def test_a_wrong_token_is_told_on_the_page(server: Server, tmp_path: Path) -> None:
    async with browser(tmp_path / "profile") as tab:
        await start(tab, server, "wrong")
        await tab.until(
            "document.getElementById('status').textContent.includes(\"not this server's\")"
        )
