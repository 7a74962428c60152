"""Figures, ratios, winners and the drawn table."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.unit.compare.conftest import BOOK, Fakes, Plan, call, result
from visionstack.compare import report as drawing
from visionstack.compare.record import Record, Status
from visionstack.compare.summary import figures, to_cheapest, winner
from visionstack.compare.targets import FunctionSetting
from visionstack.cost.serverless import Function, request_usd
from visionstack.report import html as page
from visionstack.report import markdown, terminal
from visionstack.report.figures import Absent, Figure, Kind
from visionstack.report.sections import Note, Table


def filled(plan: Plan) -> Record:
    """Here without a price; g6 fast and dear; c7i slow and cheap; a function between."""
    record = plan(
        local=True,
        instance_types=["g6.xlarge", "c7i.xlarge", "g5.xlarge"],
        functions=[FunctionSetting(1024)],
    )
    record.take(record.row("this machine"), result(record, latency=0.020))
    record.take(record.row("g6.xlarge"), result(record, latency=0.004))
    record.take(record.row("c7i.xlarge"), result(record, latency=0.012))
    gone = record.row("g5.xlarge")
    gone.refuse("this machine is not a g5.xlarge", other_hardware=True)
    function = record.rows[-1]
    function.function = Fakes(record).measure(FunctionSetting(1024), lambda _: None)
    function.status = Status.MEASURED
    return record


def test_a_machines_million_is_its_hour_over_its_rate(plan: Plan) -> None:
    record = filled(plan)
    found = figures(record, record.row("g6.xlarge"), book=BOOK)
    assert found is not None
    price = BOOK.instance("g6.xlarge").usd
    assert found.usd_per_million == pytest.approx(price / 3600 / found.images_per_second * 1e6)
    assert found.latency.p50 == pytest.approx(0.004, rel=0.05)
    # 5 GFLOP x about 240 a second over 1 TFLOP/s
    assert found.limit_share == pytest.approx(5e9 * found.images_per_second / 1e12)


def test_this_machine_has_times_and_no_price(plan: Plan) -> None:
    record = filled(plan)
    found = figures(record, record.row("this machine"), book=BOOK)
    assert found is not None
    assert found.usd_per_hour is None
    assert found.usd_per_million is None


def test_a_functions_million_is_the_models_price_of_each_call(plan: Plan) -> None:
    record = filled(plan)
    found = figures(record, record.rows[-1], book=BOOK)
    assert found is not None
    calls = [0.05 + 0.0001 * n for n in range(30)]
    costs = [
        request_usd(Function(memory_mb=1024, seconds=s, gateway="rest", puts_per_request=1), BOOK)
        for s in calls
    ]
    assert found.usd_per_million == pytest.approx(sum(costs) / 30 * 1e6)
    assert found.usd_per_hour == pytest.approx(0.0000166667 * 3600)
    assert found.first_s == [1.5]


def test_ratios_are_to_the_cheapest_and_carry_a_spread(plan: Plan) -> None:
    record = filled(plan)
    shown = [f for row in record.rows if (f := figures(record, row, book=BOOK))]
    ratios = to_cheapest(shown)
    assert "this machine" not in ratios
    cheapest = min(ratios, key=lambda name: ratios[name].value)
    assert ratios[cheapest].value == 1
    for name, found in ratios.items():
        assert found.low <= found.value <= found.high
        if name != cheapest:
            assert found.low < found.high


def test_each_strategy_names_its_winner_and_says_why(plan: Plan) -> None:
    record = filled(plan)
    shown = [f for row in record.rows if (f := figures(record, row, book=BOOK))]
    speed, cost, both = (winner(shown, name) for name in ("speed", "cost", "balanced"))  # type: ignore[arg-type]
    assert speed is not None
    assert cost is not None
    assert both is not None
    assert speed.name == "g6.xlarge"
    by_cost = {f.row.name: f.usd_per_million for f in shown if f.usd_per_million}
    assert cost.name == min(by_cost, key=lambda name: by_cost[name])
    assert both.name in by_cost
    assert "product" in both.why
    assert winner([], "cost") is None


def test_a_winner_that_is_first_on_both_sides_is_said_to_be(plan: Plan) -> None:
    record = plan(instance_types=["g6.xlarge", "c7i.xlarge"])
    record.take(record.row("g6.xlarge"), result(record, latency=0.050))
    record.take(record.row("c7i.xlarge"), result(record, latency=0.010))
    shown = [f for row in record.rows if (f := figures(record, row, book=BOOK))]
    best = winner(shown, "balanced")
    assert best is not None
    assert best.why == "both the cheapest and the fastest of the priced rows"
    alone = winner([f for f in shown if f.row.name == "g6.xlarge"], "balanced")
    assert alone is not None
    assert alone.why == "the only priced row"


def test_a_balanced_winner_says_what_it_gives_up(plan: Plan) -> None:
    record = plan(instance_types=["g6.xlarge", "c7i.xlarge"])
    record.take(record.row("g6.xlarge"), result(record, latency=0.004))
    record.take(record.row("c7i.xlarge"), result(record, latency=0.010))
    shown = [f for row in record.rows if (f := figures(record, row, book=BOOK))]
    best = winner(shown, "balanced")
    assert best is not None
    assert best.name == "g6.xlarge"
    assert "times as dear as the cheapest row and the fastest" in best.why


def test_speed_can_be_won_by_a_machine_without_a_price_and_cost_cannot(plan: Plan) -> None:
    record = plan(local=True)
    record.take(record.rows[0], result(record))
    shown = [f for row in record.rows if (f := figures(record, row, book=BOOK))]
    speed = winner(shown, "speed")
    assert speed is not None
    assert speed.name == "this machine"
    assert winner(shown, "cost") is None
    said = markdown.markdown(drawing.report(record, book=BOOK, strategy="cost"))
    assert "no row has a price to judge by" in said


def test_rows_that_were_not_run_stand_with_their_reason_and_no_figure(plan: Plan) -> None:
    table = drawing.table(filled(plan), book=BOOK)
    row = next(row for row in table.rows if row.cells[0] == "g5.xlarge")
    assert Absent("not run: not available on this machine") in row.cells
    kinds = [cell.kind for cell in row.cells if isinstance(cell, Figure)]
    assert Kind.MEASURED not in kinds
    assert row.absent


def test_a_long_reason_is_cut_in_the_table_and_kept_in_the_record(plan: Plan) -> None:
    record = plan(instance_types=["g6.xlarge"])
    row = record.rows[0]
    row.status, row.reason = Status.FAILED, "cdk deploy failed with exit code 1:\n" + "x" * 500
    (shown,) = drawing.table(record, book=BOOK).rows
    assert Absent("cdk deploy failed with exit code 1") in shown.cells
    assert len(record.to_json()["rows"][0]["reason"]) > 500


def test_the_winner_is_marked_in_the_table(plan: Plan) -> None:
    record = filled(plan)
    table = drawing.table(record, book=BOOK, strategy="speed")
    assert [row.cells[0] for row in table.rows if row.winner] == ["g6.xlarge"]


def test_a_table_can_be_drawn_at_every_moment_of_a_run(plan: Plan) -> None:
    record = plan(local=True, instance_types=["g6.xlarge"])
    record.row("g6.xlarge").status = Status.RUNNING
    table = drawing.table(record, book=BOOK)
    words = [cell.reason for row in table.rows for cell in row.cells if isinstance(cell, Absent)]
    assert "planned" in words
    assert "running" in words


def test_the_papers_rows_stand_beside_their_own_models(plan: Plan) -> None:
    record = plan(task="detect", local=True)
    record.model = "yolov3"
    table = drawing.table(record, book=BOOK)
    paper = [row for row in table.rows if row.kind is Kind.PAPER]
    assert [row.cells[0] for row in paper] == [
        "p2.xlarge (2019)",
        "p2.8xlarge (2019)",
        "p2.16xlarge (2019)",
        "p3.2xlarge (2019)",
        "local PC (2019)",
    ]
    assert not any(
        isinstance(cell, Figure) and cell.kind is Kind.MEASURED
        for row in paper
        for cell in row.cells
    )


def test_random_weights_are_announced(plan: Plan) -> None:
    record = plan(local=True, trained=False)
    record.take(record.rows[0], result(record))
    notes = [s for s in drawing.report(record, book=BOOK).sections if isinstance(s, Note)]
    assert any("random weights" in note.text for note in notes)


def test_the_report_is_drawn_in_every_form(plan: Plan, tmp_path: Path) -> None:
    report = drawing.report(filled(plan), book=BOOK)
    html = page.render(report)
    assert "not run: not available on this machine" in html
    assert "winner, by cost and speed: " in html
    assert "**" in markdown.markdown(report)
    console = Console(file=io.StringIO(), width=100, record=True)
    terminal.show(report, console)
    assert "g6.xlarge" in console.export_text()
    tables = [s for s in report.sections if isinstance(s, Table)]
    assert [t.title for t in tables][1:] == ["Every scenario", "Machines and versions"]


def test_cold_calls_are_not_counted_among_the_warm_ones(plan: Plan) -> None:
    from types import SimpleNamespace

    from visionstack.compare.errors import MixedResultsError
    from visionstack.compare.functions import StackFunctions

    record = plan(functions=[FunctionSetting(512)])
    functions = StackFunctions(
        SimpleNamespace(cloud="local"),  # type: ignore[arg-type]
        record,
        artifact=SimpleNamespace(),  # type: ignore[arg-type]
        picture=Path("dog.jpg"),
        calls=2,
        cold_calls=1,
    )

    def answered(*, cold: bool, version: str = record.version) -> object:
        value = call(0.05, cold=cold)
        return SimpleNamespace(
            seconds=value["seconds"],
            cold=cold,
            timings={},
            model={"name": "toy", "version": version},
            response={"time": 0.05, "engine": {"name": "onnxruntime"}},
        )

    found = functions.found(
        [answered(cold=True)],  # type: ignore[list-item]
        [answered(cold=False), answered(cold=True), answered(cold=False)],  # type: ignore[list-item]
    )
    assert len(found["warm"]) == 2
    assert found["cold_among_warm"] == 1
    assert found["first"][0]["cold"]
    with pytest.raises(MixedResultsError, match="ffff"):
        functions.found([], [answered(cold=False, version="ffff")])  # type: ignore[list-item]


def test_a_function_whose_libraries_lie_in_s3_gets_them_before_it_is_deployed(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from visionstack import paths
    from visionstack.compare.functions import StackFunctions
    from visionstack.packaging.build import settings_from

    monkeypatch.setattr(paths, "BUILD", tmp_path)
    setting = FunctionSetting(1769, packaging="s3-packages", engine="torch")
    record = plan(functions=[setting])
    functions = StackFunctions(
        SimpleNamespace(cloud="aws"),  # type: ignore[arg-type]
        record,
        artifact=SimpleNamespace(),  # type: ignore[arg-type]
        picture=Path("dog.jpg"),
        calls=1,
        cold_calls=0,
    )
    context = functions.context(setting)
    package = tmp_path / settings_from(context).classifier_package().folder
    package.mkdir(parents=True)
    manifest = {"key": "packages/abc.zip", "sha256": "abc", "bytes": 1}
    (package / "packages.json").write_text(json.dumps(manifest))
    asked: list[str] = []

    def listed(*, Bucket: str, Prefix: str) -> dict[str, int]:  # noqa: N803 - boto3's names
        asked.append(f"{Bucket}/{Prefix}")
        return {"KeyCount": 1}

    client = SimpleNamespace(list_objects_v2=listed)
    functions._publish_libraries(context, client, "artifacts")
    assert asked == ["artifacts/packages/abc.zip"]


def test_a_time_of_the_network_alone_wins_over_none_of_a_whole_picture(plan: Plan) -> None:
    record = plan(local=True, darknet=True)
    record.take(record.rows[0], result(record, latency=0.020))
    record.take(record.rows[1], result(record, latency=0.001, scope="network"))
    shown = [f for row in record.rows if (f := figures(record, row, book=BOOK))]
    best = winner(shown, "speed")
    assert best is not None
    assert best.name == "this machine"
    assert best.why == "the only row that was timed at this depth"


@pytest.mark.parametrize("scenario", ["camera:30", "server:30"])
def test_a_rate_that_was_only_offered_prices_nothing(plan: Plan, scenario: str) -> None:
    """By hand: 4 ms a picture are 250 a second, whatever the camera sends."""
    record = plan(instance_types=["g6.xlarge"])
    found = result(record, latency=0.004)
    found.measurements[0] = replace(
        found.measurements[0], scenario=scenario, raw_s=[0.004] * 200, seconds=200 / 30
    )
    record.take(record.rows[0], found)
    figure = figures(record, record.rows[0], book=BOOK)
    assert figure is not None
    assert figure.images_per_second == pytest.approx(250)
    usd = BOOK.instance("g6.xlarge").usd
    assert figure.usd_per_million == pytest.approx(usd / 3600 / 250 * 1e6)
