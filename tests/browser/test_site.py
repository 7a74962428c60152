"""The documents' site in a browser: diagrams drawn, nothing fetched from elsewhere, no overflow."""

from __future__ import annotations

import runpy
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.browser.conftest import Browser, until
from visionstack.paths import IMPORT_ROOT


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("scheme", ["dark", "light"])
async def test_pages_and_diagrams_are_shown_without_another_host(
    browser: Browser, tmp_path: Path, scheme: str
) -> None:
    runpy.run_path(str(IMPORT_ROOT / "scripts" / "build_site.py"))["build"](tmp_path / "site")
    handler = partial(Quiet, directory=str(tmp_path / "site"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    own = f"http://127.0.0.1:{server.server_port}"
    try:
        async with browser(size=(390, 844), scheme=scheme) as page:
            asked: list[str] = []
            page.on("request", lambda request: asked.append(request.url))
            await page.goto(f"{own}/architecture.html")
            await until(page, "document.querySelectorAll('.diagram svg').length === 3")
            for name in ("index", "troubleshooting", "performance"):
                await page.goto(f"{own}/{name}.html")
                assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert [url for url in asked if not url.startswith((own, "data:", "blob:"))] == []
    assert len(asked) > 10
