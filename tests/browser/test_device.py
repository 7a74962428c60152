"""The server's model in the browser itself, by onnxruntime-web."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.inference.detector import Detector
from runtime.streaming.server import Server
from runtime.streaming.transports.page.serving import runtime_folder
from tests.browser.conftest import Browser, address, until
from visionstack.compare.devices import with_device
from visionstack.compare.record import Record
from visionstack.compare.summary import figures
from visionstack.cost.prices import load
from visionstack.paths import IMPORT_ROOT

DOG = IMPORT_ROOT / "samples" / "dog.jpg"


def _comparison(*, version: str) -> Record:
    return Record(
        run="r",
        cloud="none",
        region="none",
        model="yolov3-tiny",
        version=version,
        task="detect",
        weights_trained=True,
        weights="",
        picture="dog.jpg",
        picture_sha256="0",
        scenarios=["single-stream"],
        scopes=["picture"],
        seconds=1,
    )


async def test_a_tab_that_is_first_opened_without_a_network_works_when_it_is_back(
    browser: Browser, detector: Server
) -> None:
    if runtime_folder() is None:
        pytest.skip("no onnxruntime-web: run `npm ci`")
    async with browser() as page:
        await page.goto(address(detector))
        await page.wait_for_selector("html[data-ready]")
        await page.context.set_offline(True)
        await page.click("#tab-device")
        await page.click("#measure")
        await until(page, "document.getElementById('device-status').matches('.error')")
        await page.context.set_offline(False)
        await page.click("#measure")
        await until(page, "!document.getElementById('download').disabled")
        assert "This device: W" in await page.inner_text("#rows")


async def test_this_device_finds_what_python_finds_and_gives_its_row(
    browser: Browser, detector: Server, tmp_path: Path
) -> None:
    if runtime_folder() is None:
        pytest.skip("no onnxruntime-web: run `npm ci`")
    async with browser() as page:
        await page.goto(address(detector, more="&tab=device"))
        await page.wait_for_selector("html[data-ready]")
        await until(page, "document.getElementById('model').options.length > 1")
        await page.evaluate(
            """() => document.getElementById("device-canvas").addEventListener("drawn",
              ({ detail }) => { window.found = detail.detections; })"""
        )
        await page.set_input_files("#device-file", DOG)
        await until(page, "!document.getElementById('download').disabled", seconds=60)
        found = await page.evaluate("window.found")
        assert "This device: W" in await page.inner_text("#rows")
        row = tmp_path / "row.json"
        async with page.expect_download() as downloading:
            await page.click("#download")
            await (await downloading.value).save_as(row)
    models = detector.settings.models_folder / "yolov3-tiny"
    (wanted,) = Detector.load(models / (models / "current").read_text().strip()).detect(
        [cv2.imread(str(DOG))]
    )
    assert sorted(one["classId"] for one in found) == sorted(one.class_id for one in wanted)
    for one in wanted:
        same = [np.array(other["box"]) for other in found if other["classId"] == one.class_id]
        # The browser scales pictures by another filter than OpenCV.
        assert min(float(np.abs(box - np.array(one.box)).max()) for box in same) < 25
    measured = json.loads(row.read_text())
    record = _comparison(version=measured["version"])
    beside = with_device(record, row)
    assert record.rows == []
    shown = figures(beside, beside.rows[0], book=load())
    assert shown is not None
    assert shown.latency.p50 * 1000 == pytest.approx(measured["latency_ms"]["median"], abs=0.01)
    assert beside.rows[0].name == "this browser"
    assert measured["model"] == "yolov3-tiny"
    assert measured["pictures"] == len(measured["raw_ms"]) > 0
    assert measured["latency_ms"]["median"] == pytest.approx(
        np.median(measured["raw_ms"]), abs=0.01
    )
