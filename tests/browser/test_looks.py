"""Phones, keyboards, screen readers, and how soon the page can be used."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from runtime.streaming.server import Server
from tests.browser.conftest import Browser, address
from tests.unit.streaming.conftest import make_server
from visionstack.paths import IMPORT_ROOT

AXE = IMPORT_ROOT / "node_modules" / "axe-core" / "axe.min.js"
TABS = ("detect", "classify", "device")


@pytest.fixture
async def fake(tmp_path: Path) -> Any:
    server = make_server(tmp_path)
    await server.start()
    yield server
    await server.stop()


@pytest.mark.parametrize("scheme", ["dark", "light"])
async def test_nothing_overflows_and_axe_finds_nothing_serious(
    browser: Browser, fake: Server, scheme: str
) -> None:
    async with browser(size=(390, 844), scheme=scheme) as page:
        await page.goto(address(fake))
        await page.wait_for_selector("html[data-ready]")
        await page.click("#start")
        await page.wait_for_selector("#figures:not([hidden])")
        for summary in await page.query_selector_all("summary"):
            await summary.click()
        for tab in TABS:
            await page.click(f"#tab-{tab}")
            assert await page.evaluate("document.documentElement.scrollWidth") <= 390
            # Through the debugger: the page's own policy admits no foreign script.
            await page.evaluate(AXE.read_text(encoding="utf-8"))
            found = await page.evaluate("axe.run()")
            serious = [
                (one["id"], [node["html"] for node in one["nodes"]])
                for one in found["violations"]
                if one["impact"] in {"serious", "critical"}
            ]
            assert serious == []
            assert len(found["passes"]) > 10


async def test_the_tabs_are_moved_between_by_the_arrows(browser: Browser, fake: Server) -> None:
    async with browser() as page:
        await page.goto(address(fake))
        await page.wait_for_selector("html[data-ready]")
        await page.focus("#tab-detect")
        await page.keyboard.press("ArrowRight")
        assert await page.is_visible("#classify")
        assert await page.evaluate("document.activeElement.id") == "tab-classify"
        await page.keyboard.press("End")
        assert await page.is_visible("#device")


async def test_every_control_has_a_name(browser: Browser, fake: Server) -> None:
    async with browser() as page:
        await page.goto(address(fake, token=""))
        await page.wait_for_selector("html[data-ready]")
        for summary in await page.query_selector_all("summary"):
            await summary.click()
        for tab in TABS:
            await page.click(f"#tab-{tab}")
            said = await page.locator(f"#{tab}").aria_snapshot()
            roles = "button|textbox|combobox|slider|checkbox"
            named = re.findall(rf"- (?:{roles})(?! \")[^\n]*", said)
            assert named == []
        await page.click("#tab-detect")
        assert await page.get_by_role("slider", name="Confidence").count() == 1


async def test_no_text_lies_over_another_on_the_smallest_phone(
    browser: Browser, fake: Server
) -> None:
    async with browser(size=(320, 568)) as page:
        await page.goto(address(fake))
        await page.wait_for_selector("html[data-ready]")
        await page.click("#start")
        await page.wait_for_selector("#figures:not([hidden])")
        await page.wait_for_selector("#chart li b")
        for figure in await page.query_selector_all("#chart li b"):
            await figure.evaluate("one => { one.textContent = '1410.0 ms' }")
            assert await figure.evaluate(
                "one => one.getBoundingClientRect().right"
                " <= one.closest('li').getBoundingClientRect().right + 1"
            )


async def test_all_that_opening_fetches_is_the_servers_and_small(
    browser: Browser, fake: Server
) -> None:
    async with browser() as page:
        addresses: list[str] = []
        page.on("request", lambda request: addresses.append(request.url))
        await page.goto(address(fake))
        await page.wait_for_selector("html[data-ready]")
        milliseconds = await page.evaluate(
            "performance.getEntriesByType('navigation')[0].domInteractive"
        )
        fetched = await page.evaluate(
            "performance.getEntriesByType('resource')"
            ".reduce((sum, one) => sum + one.decodedBodySize, 0)"
        )
    print("interactive after ms", milliseconds, "bytes", fetched)
    assert all(one.startswith(f"http://127.0.0.1:{fake.http_port}/") for one in addresses)
    assert 10_000 < fetched < 150_000
