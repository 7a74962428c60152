"""Reports in a browser: wide tables and pictures do not make a phone's page wider."""

from __future__ import annotations

from pathlib import Path

from tests.browser.conftest import Browser
from visionstack.paths import IMPORT_ROOT
from visionstack.report import html
from visionstack.report.figures import measured
from visionstack.report.sections import Box, Picture, Pictures, Report, Row, Table


async def test_a_report_does_not_overflow_a_phone_and_labels_stay_apart(
    browser: Browser, tmp_path: Path
) -> None:
    columns = [f"column {n}" for n in range(12)]
    cells = ["a machine", *(measured(n * 100.5, "ms") for n in range(11))]
    photo = (IMPORT_ROOT / "samples" / "dog.jpg").read_bytes()
    boxes = [Box("bicycle", 700, 20, 767, 300, 0.9), Box("dog", 690, 30, 760, 290, 0.8)]
    report = Report(
        title="Accuracy on samples/ground_truth_pictures_of_a_long_name.json",
        sections=[
            Table(title="Many columns", columns=columns, rows=[Row(cells=cells)]),
            Pictures(title="Pictures", pictures=[Picture(data=photo, alt="a dog", boxes=boxes)]),
        ],
    )
    path = tmp_path / "report.html"
    path.write_text(html.render(report), encoding="utf-8")
    async with browser(size=(390, 844)) as page:
        await page.goto(path.as_uri())
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        frame, *labels = await page.evaluate(
            "[...document.querySelectorAll('.shot svg, .shot text')].map(one => "
            "{ const box = one.getBoundingClientRect(); return [box.left, box.right, box.top, "
            "box.bottom]; })"
        )
    assert len(labels) == 2
    for left, right, top, bottom in labels:
        assert frame[0] <= left < right <= frame[1]
        assert frame[2] <= top + 2 < bottom <= frame[3] + 2
    one, other = labels
    apart = one[1] <= other[0] or other[1] <= one[0]
    assert apart or one[3] <= other[2] + 2 or other[3] <= one[2] + 2
