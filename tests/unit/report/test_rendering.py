"""One report in every rendering."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from runtime.measurement.statistics import Mark
from visionstack.errors import VisionstackError
from visionstack.files import replace_file
from visionstack.report import csv_text, lines, markdown, terminal
from visionstack.report import html as page
from visionstack.report.figures import Absent, Kind, computed, measured, paper
from visionstack.report.plots import draw, efficient
from visionstack.report.sections import (
    Bar,
    Bars,
    Box,
    Entry,
    Fact,
    Facts,
    Frontier,
    Headline,
    Headlines,
    Latency,
    Line,
    Lines,
    Note,
    Picture,
    Pictures,
    Point,
    Ranking,
    Rankings,
    Report,
    Row,
    Samples,
    Table,
    Tile,
    TileRow,
    Tiles,
)
from visionstack.report.write import write

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Checker(HTMLParser):
    """Collects identifiers, references and what is left open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []
        self.images_without_words = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [str(values["id"])] if "id" in values else []
        self.links += [str(values[name]) for name in ("src", "href") if name in values]
        self.images_without_words += tag == "img" and not values.get("alt")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def jpeg(width: int = 64, height: int = 48, kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def report() -> Report:
    picture = Picture(jpeg(), alt="a test", caption="seen", boxes=[Box("dog", 0.8, 5, 6, 30, 40)])
    return Report(
        title="A report <of> one & all",
        subtitle="every section",
        machine="Test CPU",
        versions={"python": "3.11"},
        sections=[
            Headlines(
                [Headline("rate", measured(71.8, "frames/s")), Headline("x", Absent("none"))]
            ),
            Note("weights are random", "warning", title="Careful"),
            Pictures("Pictures", [picture, Picture(jpeg(kind="PNG"), alt="png")]),
            Rankings("Top five", [Ranking("dog.jpg", [Entry("malamute", 0.71)], picture)]),
            Tiles("Pool", [TileRow("warm", [Tile("a1", "good"), Tile("b2", "bad", "cold")])]),
            Latency(
                "Latency",
                [Samples("live", [10.0, 11.0, 12.0] * 40), Samples("none", [])],
                bounds={"33 ms": 33.0},
            ),
            Table(
                "Where | what",
                ["machine", "p50", "price", "a million"],
                [
                    Row(
                        [
                            "here",
                            measured(13.9, "ms", samples=9, marks=[Mark.FEW_SAMPLES]),
                            "a|b",
                            computed(2.5, "USD", source="2026-07-20"),
                        ],
                        winner=True,
                    ),
                    Row(
                        [
                            "V100",
                            paper(23.444, "ms", printed="23.444", source="table 3"),
                            Absent("not run: not available on this machine"),
                            "",
                        ],
                        kind=Kind.PAPER,
                    ),
                ],
                note="a note",
            ),
            Frontier(
                "Frontier", [Point("a", 1, 5), Point("b", 2, 1), Point("c", 3, 4)], "USD", "s"
            ),
            Lines(
                "Lines",
                [Line("Lambda", [(1, 1), (100, 100)]), Line("EC2", [(1, 3), (100, 3)])],
                "requests",
                "USD",
                log_x=True,
                log_y=True,
                points=[Point("break-even", 3, 3)],
            ),
            Bars(
                "Bars", [Bar("cold", {"init": 3, "run": 1}), Bar("p", {"all": 9}, Kind.PAPER)], "s"
            ),
            Facts("Facts", [Fact("engine", "openvino")]),
        ],
    )


@pytest.fixture(scope="module")
def html(report: Report) -> str:
    return page.render(report)


def test_the_page_is_well_formed_and_every_identifier_is_its_own(html: str) -> None:
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))
    inner = [link[1:] for link in checker.links if link.startswith("#")]
    assert set(inner) <= set(checker.ids)


def test_the_page_fetches_nothing(html: str) -> None:
    checker = Checker()
    checker.feed(html)
    outer = [link for link in checker.links if not link.startswith(("#", "data:"))]
    assert outer == []
    assert not re.search(r"@import|url\((?!#)", html)


def test_every_picture_and_plot_has_words_for_those_who_do_not_see_it(html: str) -> None:
    checker = Checker()
    checker.feed(html)
    assert checker.images_without_words == 0
    assert html.count('role="img" aria-label="') >= 5
    assert 'lang="en"' in html
    assert "viewport" in html


def test_text_is_escaped(html: str) -> None:
    assert "A report &lt;of&gt; one &amp; all" in html


def test_the_kinds_of_figure_look_different_and_say_which_they_are(html: str) -> None:
    for kind in Kind:
        assert f'class="k {kind.value}"' in html
        assert f".k.{kind.value}::before" in html
    assert "not run: not available on this machine" in html
    assert 'class="mark"' in html
    assert "fewer than 20 samples." in html


def test_plots_follow_the_pages_colours(html: str) -> None:
    svg = html[html.index("<svg") :]
    assert "var(--s1)" in svg
    assert "#0102" not in svg


def test_commands_in_backticks_are_set_as_code_and_nothing_else_is() -> None:
    notes = ["do `a <b>` and `c`", "one ` alone & <i>"]
    shown = page.render(Report(title="t", sections=[Note(text) for text in notes]))
    assert "do <code>a &lt;b&gt;</code> and <code>c</code></div>" in shown
    assert "one ` alone &amp; &lt;i&gt;</div>" in shown


def test_labels_of_any_colour_stand_out_from_their_black_edge() -> None:
    for number in range(200):
        colour = page._colour(f"label {number}")
        channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        luminance = sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
        assert (luminance + 0.05) / 0.05 > 4.5, colour  # WCAG 2.2, 1.4.3


def test_boxes_are_drawn_in_the_pictures_own_pixels(html: str) -> None:
    assert 'viewBox="0 0 64 48"' in html
    assert 'x="5" y="6" width="25" height="34"' in html


def test_points_beaten_on_both_axes_are_not_on_the_frontier() -> None:
    points = [Point("a", 1, 5), Point("b", 2, 1), Point("c", 3, 4), Point("d", 2, 2)]
    assert [p.name for p in efficient(points)] == ["a", "b"]


def test_one_outlier_makes_the_time_axis_logarithmic() -> None:
    drawings = draw(Latency("x", [Samples("s", [10.0] * 99 + [5000.0])]), key="k")
    assert len(drawings) == 2
    assert "p99" in drawings[0].svg


def test_markdown_tells_the_kinds_apart_and_escapes_pipes(report: Report) -> None:
    shown = markdown.markdown(report)
    assert "**13.9 ms** (!)" in shown
    assert "_23.444 ms_" in shown
    assert "ƒ $2.5" in shown
    assert "a\\|b" in shown
    assert "here ★" in shown
    assert "live: p50 11" in shown


def test_the_terminal_shows_every_section_and_fits_a_pipe(report: Report) -> None:
    console = Console(file=io.StringIO(), width=90, record=True)
    terminal.show(report, console)
    shown = console.export_text()
    for word in ("71.8 frames/s", "weights are random", "dog 80%", "1 of 2", "break-even", "★"):
        assert word in shown
    assert max(len(line) for line in shown.splitlines()) <= 90


def test_the_terminal_has_no_title_of_what_it_cannot_show() -> None:
    console = Console(file=io.StringIO(), width=80, record=True)
    curve = Lines("Precision and recall", [Line("m", [(0.0, 1.0), (1.0, 0.5)])], "recall", "p")
    empty = Table("Every scenario", ["row", "p50"], [])
    terminal.show(Report(title="t", sections=[curve, empty, Note("a note")]), console)
    shown = console.export_text()
    assert "a note" in shown
    assert "Precision and recall" not in shown
    assert "Every scenario" not in shown


def test_csv_holds_kind_samples_and_reason_of_every_cell(report: Report) -> None:
    tables = [s for s in report.sections if isinstance(s, Table)]
    rows = list(csv.DictReader(io.StringIO(csv_text.csv_tables(tables))))
    by_place = {(row["row"], row["column"]): row for row in rows}
    assert by_place["here", "p50"]["samples"] == "9"
    assert by_place["here", "p50"]["marks"] == "few-samples"
    assert by_place["V100", "p50"]["value"] == "23.444"
    assert by_place["V100", "p50"]["kind"] == "paper"
    assert by_place["V100", "price"]["kind"] == "absent"


def test_writing_makes_all_files_and_the_data_given_is_the_json(
    report: Report, tmp_path: Path
) -> None:
    paths = write(report, tmp_path / "new")
    assert sorted(paths) == ["csv", "html", "json", "md"]
    sections = json.loads(paths["json"].read_text())["sections"]
    assert [s["section"] for s in sections][:3] == ["headlines", "note", "pictures"]
    own = Report(title="t", sections=[], data={"fps": 3})
    assert json.loads(write(own, tmp_path, formats=["json"])["json"].read_text()) == {"fps": 3}
    assert not list(tmp_path.glob(".*"))


def test_a_folder_that_cannot_be_written_is_an_error_that_says_so(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("x")
    with pytest.raises(VisionstackError, match="could not be written"):
        replace_file(blocked / "report.md", "x")


def test_bytes_that_are_no_picture_are_refused() -> None:
    bad = Report(
        title="t", sections=[Pictures("p", [Picture(b"xx", "no", boxes=[Box("a", 1, 0, 0, 1, 1)])])]
    )
    with pytest.raises(ValueError, match="neither a PNG nor a JPEG"):
        page.render(bad)


@pytest.mark.parametrize("width", [80, 100, 160])
def test_a_table_loses_no_column_to_a_narrow_terminal(width: int) -> None:
    names = [f"Lambda {memory} MB, x86_64, package, snapstart" for memory in (1769, 3008)]
    table = Table(
        "Machines",
        ["row", "p50", "p90", "p99", "images/s", "per million", "ratio"],
        [Row([name, *(["12345.678"] * 5), "last"]) for name in names],
    )
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(terminal.rich_table(table, width=width))
    shown = console.export_text()
    assert "ratio" in shown
    assert shown.count("last") == 2


def test_names_of_rows_are_not_broken_where_a_narrow_terminal_has_room() -> None:
    names = ["visionstack-classifier", "local PC (GTX 1080), yolov3"]
    price = "$0.0000166667 a GB-s"
    table = Table(
        "t",
        ["stack", "seconds per image", "price"],
        [Row([n, "0.0628 s", price]) for n in names],
    )
    console = Console(file=io.StringIO(), width=80, record=True)
    console.print(terminal.rich_table(table, width=80))
    shown = console.export_text()
    for text in (*names, price, "0.0628 s"):
        assert text in shown


def test_points_and_bars_are_told_with_their_units() -> None:
    plot = Frontier("f", [Point("g6", 0.5, 4.0)], "USD an hour", "ms")
    assert lines.plain_lines(plot) == ["g6: 0.5 USD an hour, 4 ms"]
    assert lines.plain_lines(Bars("b", [Bar("cold", {"s": 1.5})], "seconds")) == [
        "cold: 1.5 seconds"
    ]


def test_names_of_points_on_the_right_are_written_to_their_left() -> None:
    name = "Lambda 3008 MB, x86_64, s3-packages, none, torch"
    for far in (0.2, 20.0):  # on a linear axis, and on a logarithmic one
        plot = Frontier("f", [Point("near", 0.1, 30), Point(name, far, 40)], "USD", "ms")
        (drawing,) = draw(plot, key="f")
        sides = {
            label: side
            for side, label in re.findall(r"text-anchor: (\w+)[^>]*>([^<]+)<", drawing.svg)
        }
        assert (sides["near"], sides[name]) == ("start", "end")


def test_names_of_neighbouring_points_do_not_lie_over_each_other() -> None:
    # A comparison of two networks on two engines: two pairs that hardly differ.
    plot = Frontier(
        "Errors against money",
        [
            Point("yolov3-tiny on this machine, openvino", 21.11, 0.305),
            Point("yolov3-tiny on this machine, onnxruntime", 28.23, 0.305),
            Point("klein on this machine, openvino", 10.56, 0.712),
            Point("klein on this machine, onnxruntime", 11.76, 0.712),
            Point("klein on this machine, torch", 11.77, 0.712),
        ],
        "USD a million pictures",
        "1 - AP50",
    )
    (drawing,) = draw(plot, key="f")
    words = {}
    for text in re.findall(r"<text [^>]*>[^<]* on this machine, [^<]*</text>", drawing.svg):
        name = re.sub("<[^>]*>", "", text)
        x, y = (float(re.search(rf' {axis}="([-0-9.]+)"', text)[1]) for axis in "xy")  # type: ignore[index]
        width = len(name) * 4.5  # a letter of 9 points is half as wide in a narrow font
        left = x - width if "text-anchor: end" in text else x
        words[name] = (left, y, left + width)
    assert len(words) == 5
    for one, (left, y, right) in words.items():
        for other, (other_left, other_y, other_right) in words.items():
            apart = abs(y - other_y) >= 9 or right < other_left or other_right < left
            assert one == other or apart, (one, other)


def test_a_terminal_says_what_its_exclamation_marks_mean() -> None:
    figure = measured(13.9, "ms", samples=9, marks=[Mark.FEW_SAMPLES])
    table = Table("t", ["row", "p50"], [Row(["here", figure])], note="A note.")
    console = Console(record=True, width=80, file=io.StringIO())
    console.print(terminal.rich_table(table, width=80))
    shown = " ".join(console.export_text().split())
    assert f"A note. ! {Mark.FEW_SAMPLES.meaning}" in shown


def test_a_name_is_no_formula() -> None:
    name, other = r"$\foo$", r"$x^2$"
    latency = Latency("l", [Samples(name, [1.0, 2.0]), Samples(other, [3.0])], bounds={name: 2.0})
    for plot in (
        latency,
        Frontier("f", [Point(name, 1, 2), Point(other, 2, 1)], name, name),
        Lines("l", [Line(name, [(0, 1), (1, 2)]), Line(other, [(0, 1)])], name, name),
        Bars("b", [Bar(name, {name: 1.0, other: 2.0})], name),
    ):
        for drawing in draw(plot, key="n"):
            assert f">{name}</text>" in drawing.svg
