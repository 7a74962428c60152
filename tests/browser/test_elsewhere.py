"""The page from another origin than its servers, as CloudFront serves it: files and headers.

What CloudFront itself does (HTTPS, the private bucket) is not here: a plain server on loopback has
the page's files, with the headers that the stack gives to CloudFront.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.async_api import Route

from runtime.page_headers import HEADERS, content_security_policy
from runtime.streaming.server import Server
from runtime.streaming.settings import Settings
from runtime.streaming.transports.page.serving import _TYPES
from stacks.page.files import PageFiles, find_runtime
from tests.browser.conftest import Browser, until
from tests.browser.test_classify import DOG, Api
from tests.browser.test_detect import COLLECT
from tests.unit.streaming.conftest import TOKEN

GIVEN = f"#token={TOKEN.replace(' ', '%20')}"


@dataclass
class Static:
    """Serves bytes by path from an origin of its own."""

    origin: str
    served: dict[str, tuple[str, bytes]]
    policy: str = ""

    def hold(self, files: PageFiles, *, connections: list[str]) -> None:
        """The page's files with the policy that admits these connections."""
        self.policy = content_security_policy(*connections)
        self.served["/"] = (_TYPES[".html"], files.document.encode())
        for prefix, chosen in (("", files.files), ("onnxruntime/", files.runtime_files)):
            for path in chosen:
                place = f"/{files.folder}/{prefix}{path.name}"
                self.served[place] = (_TYPES[path.suffix], path.read_bytes())


@contextmanager
def static_server() -> Iterator[Static]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            kind, body = held.served.get(self.path, ("text/plain", b""))
            self.send_response(200 if self.path in held.served else 404)
            headers = {**HEADERS, "Content-Security-Policy": held.policy, "Content-Type": kind}
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    held = Static(f"http://127.0.0.1:{server.server_port}", {})
    try:
        yield held
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def elsewhere() -> Iterator[Static]:
    with static_server() as static:
        yield static


@pytest.fixture
def api(elsewhere: Static) -> Iterator[Api]:
    """An API that lets in pages of that one origin."""
    api = Api(cors_origin=elsewhere.origin)
    thread = threading.Thread(target=api.server.serve_forever)
    thread.start()
    yield api
    api.server.shutdown()
    thread.join()
    api.server.server_close()


Start = Callable[[str], Any]


@pytest.fixture
async def start(detector_settings: dict[str, object]) -> Any:
    """Start the stream server that admits pages of an origin."""
    started: list[Server] = []

    async def starter(page_origin: str) -> Server:
        server = Server(
            Settings(port=0, http_port=0, page_origin=page_origin, **detector_settings)  # type: ignore[arg-type]
        )
        await server.start()
        started.append(server)
        return server

    yield starter
    for server in started:
        await server.stop()


def put_page(elsewhere: Static, server: Server | None, api: Api) -> None:
    """The page for this stream and API on the static server."""
    stream = None if server is None else f"127.0.0.1:{server.http_port}"
    files = PageFiles.of(
        stream=f"http://{stream}" if stream else None, runtime_folder=find_runtime()
    )
    connections = [api.address]
    if stream:
        connections += [f"http://{stream}", f"ws://{stream}"]
    elsewhere.hold(files, connections=connections)


async def test_it_detects_and_classifies_from_there(
    browser: Browser, elsewhere: Static, start: Start, api: Api
) -> None:
    server = await start(elsewhere.origin)
    put_page(elsewhere, server, api)
    refused: list[str] = []
    async with browser() as page:
        page.on(
            "console",
            lambda message: refused.append(message.text) if message.type == "error" else None,
        )
        await page.goto(f"{elsewhere.origin}/{GIVEN}&api={api.address}&key=a%20key")
        await page.wait_for_selector("html[data-ready]")
        await page.evaluate(COLLECT)
        assert await page.evaluate("crossOriginIsolated")
        # The models' names come by a call to the other origin.
        await until(page, "document.getElementById('model').options.length > 1")
        for encoding in ("auto", "jpeg"):
            await page.evaluate("window.drawn.length = 0")
            await page.evaluate(f"document.getElementById('encoding').value = '{encoding}'")
            await page.click("#start")
            await until(page, "window.drawn.some(({ labels }) => labels.includes('person'))")
            await page.click("#start")
        await page.click("#tab-classify")
        await page.wait_for_selector("html[data-ready]")
        for way in ("direct", "upload"):
            await page.select_option("#way", way)
            await page.evaluate("document.getElementById('temperature').textContent = ''")
            await page.set_input_files("#choose", [])
            await page.set_input_files("#choose", DOG)
            await until(page, "document.getElementById('temperature').textContent !== ''")
            assert "Pug" in await page.inner_text("#top")
    assert refused == []
    assert [path for path, _ in api.calls] == [
        "/recognitions",
        "/images",
        "/bucket",
        "/classification",
    ]


async def test_the_model_runs_on_this_device_from_there(
    browser: Browser, elsewhere: Static, start: Start, api: Api
) -> None:
    if find_runtime() is None:
        pytest.skip("no onnxruntime-web: run `npm ci`")
    put_page(elsewhere, await start(elsewhere.origin), api)
    chosen = asyncio.Event()

    async def late(route: Route) -> None:
        await chosen.wait()
        await route.continue_()

    async with browser() as page:
        await page.route("**/device.js", late)
        await page.goto(f"{elsewhere.origin}/{GIVEN}&tab=device", wait_until="commit")
        # Before the page's code is there, as by a slow network.
        await page.set_input_files("#device-file", DOG)
        chosen.set()
        await until(page, "!document.getElementById('download').disabled", seconds=60)
        assert "This device: W" in await page.inner_text("#rows")


@pytest.mark.parametrize("admitted", ["", "http://127.0.0.1:1"])
async def test_a_stream_that_does_not_name_the_origin_stays_closed_to_it(
    browser: Browser, elsewhere: Static, start: Start, api: Api, admitted: str
) -> None:
    put_page(elsewhere, await start(admitted), api)
    async with browser() as page:
        await page.goto(f"{elsewhere.origin}/{GIVEN}")
        await page.wait_for_selector("html[data-ready]")
        await page.click("#start")
        await until(page, "document.getElementById('status').textContent.includes('No connection')")
        assert await page.evaluate("document.getElementById('model').options.length") == 1


async def test_the_policy_closes_every_other_address(
    browser: Browser, elsewhere: Static, start: Start, api: Api
) -> None:
    """As if somebody had made the page call an address of their own."""
    put_page(elsewhere, await start(elsewhere.origin), api)
    other = Api(cors_origin=elsewhere.origin)
    thread = threading.Thread(target=other.server.serve_forever)
    thread.start()
    try:
        async with browser() as page:
            await page.goto(
                f"{elsewhere.origin}/{GIVEN}&api={other.address}&key=a%20key&tab=classify"
            )
            await page.wait_for_selector("html[data-ready]")
            await page.set_input_files("#choose", DOG)
            await until(
                page,
                "document.getElementById('classify-status').textContent.includes('did not answer')",
            )
    finally:
        other.server.shutdown()
        thread.join()
        other.server.server_close()
    assert other.calls == []


async def test_without_a_trusted_stream_the_page_says_what_to_do(
    browser: Browser, elsewhere: Static, api: Api
) -> None:
    put_page(elsewhere, None, api)
    async with browser() as page:
        await page.goto(f"{elsewhere.origin}/{GIVEN}")
        await page.wait_for_selector("html[data-ready]")
        await page.click("#start")
        assert "certificate_arn" in await page.inner_text("#status")
        await page.click("#tab-device")
        await page.wait_for_selector("html[data-ready]")
        await page.click("#measure")
        await until(
            page, "document.getElementById('device-status').textContent.includes('own page')"
        )
