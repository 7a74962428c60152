"""The page of the deployed stream in a real browser, against the deployed API and bucket."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from visionstack import paths

if TYPE_CHECKING:
    from tests.cloud.conftest import EmbeddedCloud

pytestmark = pytest.mark.cloud
DOG = paths.SAMPLES / "dog.jpg"
CLASSIFIED = "() => document.getElementById('temperature').textContent"
BOXES = "() => Number(document.getElementById('rate').textContent) > 0"


async def test_what_open_prints_detects_and_classifies_in_a_browser(
    embedded_cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine")
    from playwright.async_api import async_playwright

    opened = await asyncio.to_thread(embedded_cloud.visionstack, "open", "--no-browser")
    assert opened.returncode == 0, opened.stderr
    address = opened.stdout.partition("page: ")[2].split()[0]
    assert urlsplit(address).scheme == "https"
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=program)
        # The certificate is the server's own: that is what the browser's warning is about.
        context = await chromium.new_context(ignore_https_errors=True)
        page = await context.new_page()
        page.set_default_timeout(60_000)
        await page.goto(address)
        await page.wait_for_selector("html[data-ready]")
        await page.select_option("#source", "sample")
        await page.click("#start")
        async with asyncio.timeout(60):
            while not await page.evaluate(BOXES):
                await asyncio.sleep(0.2)
        await page.screenshot(path=tmp_path / "detect.png")
        await page.click("#start")
        await page.click("#tab-classify")
        # Its module comes when the tab is first opened; a photo before that would go unnoticed.
        await page.wait_for_selector("html[data-ready]")
        for way in ("direct", "upload"):
            await page.select_option("#way", way)
            await page.evaluate("document.getElementById('temperature').textContent = ''")
            await page.set_input_files("#choose", [])
            await page.set_input_files("#choose", DOG)
            async with asyncio.timeout(120):
                while not await page.evaluate(CLASSIFIED):
                    status = page.locator("#classify-status")
                    assert "error" not in (await status.get_attribute("class") or ""), (
                        way,
                        await status.inner_text(),
                    )
                    await asyncio.sleep(0.2)
            assert await page.locator("#top li").count() == 5
            await page.screenshot(path=tmp_path / f"{way}.png")
        await page.fill("#key", "wrong")
        await page.click("#again")
        async with asyncio.timeout(60):
            # The gateway's own refusal is one that the page may read.
            while "API key" not in await page.inner_text("#classify-status"):
                await asyncio.sleep(0.2)
        await chromium.close()
