"""The verdict over accuracy, time and money: checked on candidates whose answer is plain."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from runtime.measurement.statistics import summarize
from tests.unit.compare.conftest import BOOK, Plan, result
from visionstack.accuracy.intervals import Estimate
from visionstack.compare import Strategy, accuracy
from visionstack.compare.record import Record, Row, Status, merge
from visionstack.compare.report import report_all
from visionstack.compare.summary import Figures
from visionstack.compare.targets import Kind
from visionstack.compare.verdict import Candidate, beaten, candidates, judge, to_json
from visionstack.report.sections import Headlines, Note, Table


def candidate(
    name: str, accuracy: float, milliseconds: float, usd: float | None, *, spread: float = 0.0
) -> Candidate:
    samples = [milliseconds / 1000 * (1 + 0.001 * (n % 5)) for n in range(50)]
    offsets = [spread * ((n % 21) - 10) / 10 for n in range(400)]
    return Candidate(
        name=name,
        figures=Figures(
            row=Row(name, Kind.MACHINE, status=Status.MEASURED),
            scope="picture",
            scenario="single-stream",
            latency=summarize(samples),
            samples_s=samples,
            images_per_second=1000 / milliseconds,
            rate_scenario="single-stream",
            usd_per_hour=1.0,
            usd_per_million=usd,
            engine="openvino fp32",
        ),
        metric="AP50",
        accuracy=Estimate(value=accuracy, low=accuracy - spread, high=accuracy + spread),
        resampled=[accuracy + offset for offset in offsets],
    )


ACCURATE = candidate("accurate", 0.80, 50, 40.0)
CHEAP = candidate("cheap", 0.78, 10, 5.0)
POOR = candidate("poor", 0.30, 1, 1.0)
WASTE = candidate("waste", 0.70, 60, 50.0)


def test_cheap_but_poor_boxes_do_not_win_and_dear_ones_that_are_no_better_do_not_either() -> None:
    verdict = judge([ACCURATE, CHEAP, POOR, WASTE], strategy="cost")
    assert verdict is not None
    assert verdict.winner is CHEAP
    assert verdict.sure
    assert verdict.shares == {"cheap": 1.0}
    assert verdict.sentence.startswith("cheap, the cheapest of those within 0.05 AP50 of the best")
    assert "100% of 400" in verdict.sentence


def test_who_may_lose_no_accuracy_pays_for_it_and_who_may_lose_all_takes_the_cheapest() -> None:
    every = [ACCURATE, CHEAP, POOR]
    assert judge(every, strategy="cost", loss=0.0).winner is ACCURATE  # type: ignore[union-attr]
    assert judge(every, strategy="cost", loss=1.0).winner is POOR  # type: ignore[union-attr]


def test_beaten_is_who_another_is_nowhere_worse_than_and_somewhere_better() -> None:
    assert beaten([ACCURATE, CHEAP, POOR, WASTE], priced=True) == {"waste": "accurate"}
    twins = [ACCURATE, candidate("twin", 0.80, 50, 40.0)]
    assert beaten(twins, priced=True) == {}


@pytest.mark.parametrize("strategy", ["cost", "speed", "balanced"])
@pytest.mark.parametrize("usd", [None, 5.0])
def test_whoever_is_beaten_does_not_win_though_its_median_is_the_shortest(
    strategy: Strategy, usd: float | None
) -> None:
    samples = [0.009] * 45 + [0.030] * 5
    steady = candidate("steady", 0.80, 10, usd)
    figures = dataclasses.replace(steady.figures, latency=summarize(samples), samples_s=samples)
    uneven = dataclasses.replace(steady, name="uneven", figures=figures)
    verdict = judge([uneven, steady], strategy=strategy)
    assert verdict is not None
    assert verdict.beaten == {"uneven": "steady"}
    assert verdict.winner is steady
    assert not verdict.sure


def test_without_a_price_for_each_time_is_judged() -> None:
    free = candidate("free", 0.79, 8, None)
    verdict = judge([ACCURATE, CHEAP, free], strategy="cost")
    assert verdict is not None
    assert verdict.winner is free
    assert not verdict.priced
    assert "the fastest" in verdict.sentence
    assert "$" not in verdict.sentence


def test_a_verdict_that_hangs_on_the_pictures_says_so() -> None:
    # Whether `cheap` is within 0.05 of the best depends on which pictures are drawn.
    close = candidate("close", 0.751, 10, 5.0, spread=0.05)
    verdict = judge([ACCURATE, close], strategy="cost")
    assert verdict is not None
    assert not verdict.sure
    assert sum(verdict.shares.values()) == pytest.approx(1.0)
    assert verdict.sentence.startswith("No clear winner. Ahead is close")
    assert "close 5" in verdict.sentence
    assert "accurate 4" in verdict.sentence


def test_too_few_pictures_give_a_winner_and_no_certainty() -> None:
    few = Candidate(
        **{
            **{key: getattr(CHEAP, key) for key in Candidate.__dataclass_fields__},
            "accuracy": Estimate(value=0.78, why_none="3 pictures are too few for an interval"),
            "resampled": (),
        }
    )
    verdict = judge([few, POOR], strategy="cost")
    assert verdict is not None
    assert "cannot be said: 3 pictures are too few" in verdict.sentence
    assert not verdict.sure


def scored(record: Record, engine: str, value: float) -> None:
    record.accuracy = {
        "source": "clip.avi",
        "labels": "truth.json",
        "metric": "AP50",
        "pictures": 12,
        "intervals": "95 % bootstrap intervals over 10 blocks of 3 s",
        "variants": {
            engine: {
                "figure": {"value": value, "low": value - 0.1, "high": value + 0.1},
                "resampled": [value] * 400,
            }
        },
    }


def measured(plan: Plan, *, latency: float, value: float, model: str) -> Record:
    record = plan(local=True, local_usd_per_hour=0.1, task="detect")
    record.model = model
    found = result(record, latency=latency)
    found.subject = {**(found.subject or {}), "engine": "openvino", "precision": "fp32"}
    record.take(record.rows[0], found)
    scored(record, "openvino fp32", value)
    return record


def test_several_models_stand_in_one_report_with_the_verdict_first(plan: Plan) -> None:
    small = measured(plan, latency=0.005, value=0.70, model="small")
    large = measured(plan, latency=0.050, value=0.72, model="large")
    report = report_all([small, large], book=BOOK)
    head, table = report.sections[0], report.sections[1]
    assert isinstance(head, Note)
    assert head.text.startswith("small on this machine")
    assert isinstance(table, Table)
    assert [row.cells[0] for row in table.rows] == [
        "large on this machine",
        "small on this machine",
    ]
    plain: dict[str, Any] = to_json(judge(candidates([small, large], book=BOOK))) or {}
    assert plain["winner"] == "small on this machine"
    assert plain["candidates"][1]["usd_per_million"] == pytest.approx(
        0.1 / 3600 * 0.05 * 1e6, rel=0.1
    )


def test_one_models_report_begins_with_the_verdict_and_names_no_other_winner(plan: Plan) -> None:
    record = measured(plan, latency=1.2, value=0.70, model="small")
    record.accuracy["source"] = "/home/someone/clips/clip.avi"
    report = report_all([record], book=BOOK)
    head, table = report.sections[:2]
    assert isinstance(head, Note)
    assert "p99 1," in head.text
    assert "e+" not in head.text
    assert isinstance(table, Table)
    assert "of clip.avi" in table.note
    assert not any(isinstance(section, Headlines) for section in report.sections)


def test_a_row_in_another_precision_has_no_accuracy_and_is_named(plan: Plan) -> None:
    record = measured(plan, latency=0.005, value=0.70, model="small")
    record.accuracy["variants"] = {
        "openvino fp32": {"reason": "this machine computes fp32 there, not bf16"}
    }
    (head, *_) = [s for s in report_all([record], book=BOOK).sections if isinstance(s, Note)]
    assert "No verdict" in head.text
    assert "small openvino fp32: this machine computes fp32 there, not bf16" in head.text


def test_accuracies_of_the_same_labels_are_merged_and_others_are_not(plan: Plan) -> None:
    one = measured(plan, latency=0.005, value=0.70, model="small")
    two = measured(plan, latency=0.005, value=0.71, model="small")
    scored(two, "onnxruntime fp32", 0.71)
    assert set(merge([one, two]).accuracy["variants"]) == {"openvino fp32", "onnxruntime fp32"}
    two.accuracy["source"] = "other.avi"
    assert set(merge([one, two]).accuracy["variants"]) == {"onnxruntime fp32"}


def test_random_weights_are_not_scored(plan: Plan) -> None:
    record = measured(plan, latency=0.005, value=0.70, model="small")
    record.weights_trained = False
    labels = accuracy.default_labels("detect")
    assert labels is not None
    accuracy.measure(record, labels)
    assert record.accuracy["variants"] == {
        "openvino fp32": {"reason": "random weights have no accuracy"}
    }
    assert accuracy.default_labels("classify") is None


@pytest.mark.parametrize("text", ["none", "openvino:int3", "openvino:fp32:x"])
def test_an_engine_or_precision_that_there_is_not_is_refused(plan: Plan, text: str) -> None:
    from visionstack.compare.errors import RowUsageError

    with pytest.raises(RowUsageError, match="--engine"):
        plan(local=True, engines=[text])


def test_each_engine_is_a_row_of_this_machine(plan: Plan) -> None:
    record = plan(local=True, engines=["auto", "onnxruntime", "torch:fp32", "torch:fp32"])
    assert [(row.name, row.setting) for row in record.rows] == [
        ("this machine", None),
        ("this machine, onnxruntime", {"engine": "onnxruntime", "precision": "auto"}),
        ("this machine, torch fp32", {"engine": "torch", "precision": "fp32"}),
    ]
