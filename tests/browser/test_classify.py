"""Classify, against a stand-in of the API that answers as docs/api/openapi.json says."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from runtime.streaming.server import Server
from tests.browser.conftest import Browser, address, until
from tests.unit.streaming.conftest import make_server
from visionstack.paths import IMPORT_ROOT

KEY = "a key"
DOG = IMPORT_ROOT / "samples" / "dog.jpg"
DESCRIPTION = json.loads(
    (IMPORT_ROOT / "docs" / "api" / "openapi.json").read_text(encoding="utf-8")
)


class Api:
    """POST /recognitions, /images and /classification, and a bucket at /bucket; cold once."""

    def __init__(self, *, cors_origin: str = "*") -> None:
        self.calls: list[tuple[str, bytes]] = []
        self.cors = True
        api = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def answer(self, status: int, body: dict[str, Any] | None) -> None:
                data = b"" if body is None else json.dumps(body).encode()
                self.send_response(status)
                if api.cors:
                    self.send_header("Access-Control-Allow-Origin", cors_origin)
                    self.send_header("Access-Control-Allow-Headers", "content-type,x-api-key")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_OPTIONS(self) -> None:
                self.answer(204, None)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/bucket":
                    api.calls.append((self.path, body))
                    self.answer(204, None)
                elif self.headers.get("x-api-key") != KEY:
                    self.answer(403, {"code": "forbidden", "message": "Forbidden"})
                else:
                    api.calls.append((self.path, body))
                    self.answer(200, api.reply(self.path))

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def reply(self, path: str) -> dict[str, Any]:
        if path == "/images":
            return self.held(
                "Upload",
                {
                    "method": "images",
                    "file_path": "uploads/one.jpg",
                    "max_bytes": 10_000_000,
                    "expires_in": 300,
                    "upload": {"url": f"{self.address}/bucket", "fields": {"key": "one"}},
                },
            )
        cold = len([1 for called, _ in self.calls if called not in ("/images", "/bucket")]) == 1
        timings = {"download": 2.0, "decode": 8.0, "inference": 21.5}
        answer: dict[str, Any] = {
            "method": path[1:].rstrip("s"),
            "time": 0.04,
            "file_path": "uploads/one.jpg",
            "model": {"name": "efficientnet-lite0", "version": "1", "trained": True},
            "engine": {"name": "onnxruntime", "precision": "fp32"},
            "environment": "0" * 32,
            "cold": cold,
            "timings": {"init": 900.0, "model_load": 300.0, **timings} if cold else timings,
        }
        for place, (label, share) in enumerate(
            [("Pug", 0.71), ("Boxer", 0.12), ("Mastiff", 0.05), ("Beagle", 0.03), ("Cat", 0.01)], 1
        ):
            answer |= {f"TOP{place}_ID": str(place), f"TOP{place}_label": label}
            answer[f"TOP{place}_softmax"] = share
        return self.held("Recognition" if path == "/recognitions" else "Classification", answer)

    @staticmethod
    def held(name: str, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer, which must be what the API's description allows."""
        schema = {"$ref": f"#/components/schemas/{name}", "components": DESCRIPTION["components"]}
        jsonschema_rs.Draft202012Validator(schema).validate(answer)
        return answer


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    thread = threading.Thread(target=api.server.serve_forever)
    thread.start()
    yield api
    api.server.shutdown()
    thread.join()
    api.server.server_close()


@pytest.fixture
async def fake(tmp_path: Path) -> Any:
    server = make_server(tmp_path)
    await server.start()
    yield server
    await server.stop()


@pytest.mark.parametrize("way", ["direct", "upload"])
async def test_a_photo_is_classified_cold_and_then_warm(
    browser: Browser, fake: Server, api: Api, way: str
) -> None:
    async with browser(size=(390, 844)) as page:
        await page.goto(address(fake, more=f"&api={api.address}&key=a%20key&tab=classify"))
        await page.wait_for_selector("html[data-ready]")
        assert "key" not in page.url
        await page.select_option("#way", way)
        await page.set_input_files("#choose", DOG)
        await until(page, "document.getElementById('temperature').textContent === 'Cold start'")
        assert "Environment starts" in await page.inner_text("#stages")
        await page.click("#again")
        await until(page, "document.getElementById('temperature').textContent === 'Warm'")
        stages = await page.inner_text("#stages")
        assert "Inference" in stages
        assert "Environment starts" not in stages
        rows = await page.locator("#top li").all_inner_texts()
        assert len(rows) == 5
        assert "Pug" in rows[0]
        assert "71.0%" in rows[0]
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    paths = [path for path, _ in api.calls]
    once = ["/recognitions"] if way == "direct" else ["/images", "/bucket", "/classification"]
    assert paths == once * 2
    assert any(DOG.read_bytes() in body for _, body in api.calls)


async def test_what_is_wrong_is_said_with_what_to_do(
    browser: Browser, fake: Server, api: Api
) -> None:
    async with browser() as page:
        await page.goto(address(fake, more=f"&api={api.address}&key=wrong&tab=classify"))
        await page.wait_for_selector("html[data-ready]")
        await page.set_input_files("#choose", DOG)
        status = "document.getElementById('classify-status').textContent"
        await until(page, f"{status}.includes('API key is missing or wrong')")
        api.cors = False
        await page.click("#again")
        await until(page, f"{status}.includes('-c cors_origin=http://127.0.0.1:')")


async def test_nothing_of_another_photo_stands_beside_one_that_cannot_be_read(
    browser: Browser, fake: Server, api: Api, tmp_path: Path
) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no picture", encoding="utf-8")
    async with browser() as page:
        await page.goto(address(fake, more=f"&api={api.address}&key=a%20key&tab=classify"))
        await page.wait_for_selector("html[data-ready]")
        assert await page.inner_text("#classify-status") == "Take or choose a photo."
        await page.set_input_files("#choose", DOG)
        await page.wait_for_selector("#classes:not([hidden])")
        await page.set_input_files("#choose", text)
        status = "document.getElementById('classify-status').textContent"
        await until(page, f"{status}.includes('cannot read text.jpg')")
        assert not await page.is_visible("#classes")
        assert not await page.is_visible("#photo")
        assert await page.is_visible("#photo-empty")
        assert await page.is_disabled("#again")
