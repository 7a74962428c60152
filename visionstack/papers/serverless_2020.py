"""Lee, Lee and Kim 2020: tables 1, 3 and 6 to 9, figures 3 and 8 to 13."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any, Final

from visionstack.compare.record import Record, Row
from visionstack.compare.targets import FunctionSetting
from visionstack.cost.inputs import question
from visionstack.cost.prices import PriceBook, load
from visionstack.cost.report import Question, recalculated_rows
from visionstack.cost.serverless import Function, function_bill
from visionstack.paper_reference import reference
from visionstack.papers.evidence import Evidence
from visionstack.papers.exhibit import Exhibit, Line
from visionstack.report.figures import Absent, Cell, computed, measured, paper
from visionstack.training.comparing import NAMES, amount, top1_figure

_NO_VALUES: Final = "a plot; its values are not in the text"
_COMPARE: Final = "visionstack compare run --lambda 768 --lambda 3008::snapstart --model resnet50"


def exhibits(evidence: Evidence) -> list[Exhibit]:
    """In the paper's order."""
    return [
        _table_1(evidence),
        _figure_3(evidence),
        _table_3(),
        _table_6(),
        _figure_8(),
        _figure_9(),
        _tables_7_to_9(evidence),
        _figure_10(evidence),
        _figure_11(evidence),
        _figure_12(evidence),
        _figure_13(evidence),
    ]


def _paper() -> dict[str, Any]:
    value: dict[str, Any] = reference()["serverless_2020"]
    return value


def _table_1(evidence: Evidence) -> Exhibit:
    training = evidence.documents.get("training/compare", {})
    counted = {item["model"]: item for item in training.get("table1", [])}
    rows: list[Line] = []
    for item in _paper()["resnet_imagenet"]:
        name, size = item["model"], item["megabytes"]
        error = f"{item['top1_error']}%, {item['top5_error']}"
        ours: Cell = Absent("run `visionstack train compare`")
        errors = ""
        if name in counted:
            megabytes = float(counted[name]["computed"]["megabytes"])
            ours = computed(megabytes, "MB", source="the network's own numbers, float32, MiB")
            published = counted[name]["published"]
            errors = (
                f"{published['top1_error']}%, {published['top5_error']}% "
                f"({published['by']}, as published)"
            )
        rows += [
            (
                f"{name}, size",
                paper(size, "MB", source="table 1", printed=str(size)),
                ours,
                "float32 weights, counted" if name in counted else "",
            ),
            (
                f"{name}, top-1 and top-5 error",
                paper(item["top1_error"], "%", source="table 1", printed=error),
                Absent("not measured"),
                errors,
            ),
        ]
    return Exhibit(
        "2020, table 1: ResNets on ImageNet",
        rows,
        missing="the errors, which need ImageNet's 50,000 validation pictures; none is in a "
        "package registry, and neither are torchvision's ResNet weights.",
    )


def _figure_3(evidence: Evidence) -> Exhibit:
    compared = evidence.documents.get("training/compare", {})
    found = compared.get("rows", [])
    runs: list[str] = _paper()["fine_tuning_runs"]
    most = max((row["pictures"] for row in found), default=0)
    rows: list[Line] = []
    for place, name in enumerate(runs):
        mine = [row for row in found if row["name"] == NAMES[place]]
        if not mine:
            rows.append((name, _NO_VALUES, Absent("run `visionstack train compare`"), ""))
        for row in mine:
            many = row["pictures"] == most
            printed = _NO_VALUES if many else "the paper has about 100"
            words = f"test top 1, {compared['seeds']} seeds" + (
                "" if place == 0 else f"; {compared['network']}, only its last layer trained"
            )
            label = f"{name}; {amount(row)} pictures a product"
            rows.append((label, printed, top1_figure(row, compared), words))
    return Exhibit(
        "2020, figure 3: three ways of training",
        rows,
        intro=_figure_3_intro(compared),
        labels=rf"({'|'.join(map(re.escape, runs))}); "
        r"\d+( \(down to \d+ where there are no more\))? pictures a product",
    )


def _figure_3_intro(compared: dict[str, Any]) -> str:
    intro = (
        "The paper's 30 product classes are not published; ours are the 10 of Fashion-MNIST, and "
        "the curve over pictures a product tells more than 100 of them. A seed draws the pictures "
        "and the starting weights; the test pictures are the same for all."
    )
    orders = compared.get("order", [])
    if not orders:
        return intro
    known = [str(one["pictures"]) for one in orders if one["established"]]
    verdict = f"at {', '.join(known)} pictures a product" if known else "at none of these amounts"
    means = "; ".join(
        f"{one['pictures']}: {' < '.join(_short(way) for way in one['ways'])}" for one in orders
    )
    machine, torch = compared["machine"], compared["versions"].get("torch", "")
    return (
        f"{intro} Intervals: {compared['interval']}. **The order of the three is established "
        f"{verdict}** (each step's difference, over the same pictures and seeds, with an interval "
        f"that holds no zero); by the means alone, {means}. "
        f"Measured on {machine['cpu']}, {machine['cores']} cores, torch {torch}."
    )


def _short(way: str) -> str:
    return {"scratch": "own CNN", "head": "pre-trained", "head-augmented": "augmented"}[way]


def _table_3() -> Exhibit:
    return Exhibit(
        "2020, tables 2 to 5 and figures 6 and 7: requests and responses",
        [
            ("POST /classification, request", "method, file_path", "the same keys", "docs/api"),
            (
                "POST /classification, response (table 3)",
                "method, TOP1 to TOP5 with ID and softmax, time",
                "the same keys, and label names, environment, cold flag, timings",
                "docs/api; the tests hold the service to it",
            ),
            ("POST /wakeup", "method, sleep_time; method, time", "the same keys", "docs/api"),
        ],
        intro="The paper prints the process time's unit as ms in table 3 and uses seconds in "
        "figure 6; ours is seconds.",
    )


def _table_6() -> Exhibit:
    book = load()
    date = book["lambda.x86_64.gb_second"].date
    rows: list[Line] = [
        (
            f"{memory} MB, 100 ms",
            paper(usd, "USD", source="table 6", printed=f"{usd:.9f}"),
            computed(_hundred_ms(book, int(memory)), "USD", source=book.name),
            f"x86_64, prices of {date}; billed by the millisecond now",
        )
        for memory, usd in _paper()["usd_per_100ms"].items()
    ]
    return Exhibit("2020, table 6: Lambda's price", rows)


def _hundred_ms(book: PriceBook, memory: int) -> float:
    bill = function_bill(Function(memory_mb=memory, seconds=0.1), requests_per_month=1, book=book)
    return bill.item("duration")


def _papers_question(book: str) -> Question:
    """The paper's function (and its server) at the prices of a book."""
    return question(book_name=book, seconds=0.5, images_per_second=1e6, memory=768)


def _figure_8() -> Exhibit:
    old = _papers_question("2019")
    rows: list[Line] = [
        *recalculated_rows(),
        *(
            (
                f"{requests:,} requests a day: Lambda, and a server",
                _NO_VALUES,
                computed(old.function_usd(requests), "USD", source="the paper's own prices"),
                f"a server costs ${old.fleet_usd(requests):.2f} a day",
            )
            for requests in (1_000, 10_000, 100_000, 1_000_000)
        ),
    ]
    return Exhibit(
        "2020, figure 8: cost of a day's requests",
        rows,
        intro="Two printed figures do not follow from the printed prices; `visionstack cost "
        "--prices 2019` shows the whole calculation.",
    )


def _figure_9() -> Exhibit:
    rows: list[Line] = []
    for book, prices in (("2019", "the paper's prices"), ("today", "today's prices")):
        asked = _papers_question(book)
        for burst in (10, 100, 1000):
            # Two pictures a second, and half a second to answer: a server for each connection.
            fleet = replace(
                asked.fleet,
                images_per_second=2.0,
                burst=burst,
                deadline_seconds=0.5,
                load_balancer=False,
            )
            served = replace(asked, fleet=fleet)
            today = f"{fleet.instance_type} with disk and address"
            name = "servers" if asked.book.historical else today
            rows.append(
                (
                    f"{burst:,} at once, {prices}: EC2 a day",
                    "rises in a line",
                    computed(served.fleet_usd(10_000), "USD", source=asked.book.name),
                    f"{burst:,} {name}, each 2 pictures a second, to answer all within 0.5 s; "
                    f"Lambda stays at ${served.function_usd(10_000):.4f} for 10,000 requests a day",
                )
            )
    return Exhibit("2020, figure 9: cost against connections at once", rows)


def _tables_7_to_9(evidence: Evidence) -> Exhibit:
    functions = evidence.functions()
    told = (functions[0][1].function or {}) if functions else {}
    engine = str(told.get("engine", {}).get("name", "onnxruntime"))
    engine = {"onnxruntime": "ONNX Runtime", "torch": "PyTorch"}.get(engine, engine)
    return Exhibit(
        "2020, tables 7 to 9: environments",
        [
            ("table 7: language and libraries", "Python; JSON, PyTorch, CUDA, cuDNN",
             f"Python; {engine}, NumPy, Pillow", "torch only with packaging=s3-packages"),
            ("table 8: phone", "Galaxy Note 8, LTE", Absent("no phone and no LTE here"), ""),
            ("table 9: Lambda", "768 MB (128 to 3008), CPU by memory",
             "128 to 10,240 MB, one vCPU for each 1,769 MB", "AWS today"),
        ],
    )  # fmt: skip


def _figure_10(evidence: Evidence) -> Exhibit:
    times = _paper()["milliseconds"]
    printed: list[Line] = [
        (name, paper(times[key], "ms", source="section 4.2", printed=str(times[key])), "", words)
        for name, key, words in (
            ("first invocation", "first_invocation", "Lambda on AWS, 768 MB, PyTorch"),
            ("second invocation", "second_invocation", ""),
            ("after warming up", "after_warm_up", ""),
        )
    ]
    rows = [line for record, row in evidence.functions() for line in _call_rows(record, row)]
    demo = evidence.documents.get("demo/report", {}).get("classification", {})
    for key, name in (("cold_ms", "first call"), ("warm_ms", "warm call")):
        if isinstance(demo.get(key), int | float):
            figure = measured(float(demo[key]) / 1000, "s")
            rows.append((f"the demo: {name}", "", figure, "embedded cloud, efficientnet-lite0"))
    return Exhibit(
        "2020, figure 10: first and second invocation",
        [*printed, *(rows or [("ours", "", Absent(f"run `{_COMPARE}`"), "")])],
        missing="AWS's own placing of a new environment; the embedded cloud unpacks the package "
        "into a process instead, which takes longer than AWS's image cache.",
        labels=r"(the demo|[^ ,]+, Lambda \d+ MB, .+): (first|warm) call",
    )


def _call_rows(record: Record, row: Row) -> list[Line]:
    found = row.function or {}
    weights = "" if record.weights_trained else ", random weights"
    words = f"{row.where}{weights}; {record.picture}; as the desk waits"
    rows: list[Line] = []
    for key, name in (("first", "first call"), ("warm", "warm call")):
        calls = [float(call["seconds"]) for call in found.get(key, [])]
        if calls:
            figure = measured(median(calls), "s", samples=len(calls))
            rows.append((f"{record.model}, {row.name}: {name}", "", figure, words))
    return rows


def _figure_11(evidence: Evidence) -> Exhibit:
    rows: list[Line] = []
    for record, row in _one_of_each(evidence.functions()):
        found = row.function or {}
        weights = "" if record.weights_trained else ", random weights"
        for key, word in (("first", "first call"), ("warm", "warm call")):
            steps: dict[str, list[float]] = {}
            for call in found.get(key, []):
                for step, value in call["timings_ms"].items():
                    steps.setdefault(step, []).append(float(value))
            for step, values in steps.items():
                figure = measured(median(values), "ms", samples=len(values))
                name = f"{record.model}, {row.name}: {word}: {step.replace('_', ' ')}"
                words = f"{row.where}{weights}; median of {len(values)} calls"
                rows.append((name, _NO_VALUES, figure, words))
    return Exhibit(
        "2020, figure 11: where the time goes",
        rows or [("steps of a call", _NO_VALUES, Absent(f"run `{_COMPARE}`"), "")],
        missing="upload and download over LTE: the desk and the service are on one machine.",
        labels=r"[^ ,]+, Lambda \d+ MB, .+: (first|warm) call: [a-z ]+",
    )


def _one_of_each(found: Sequence[tuple[Record, Row]]) -> list[tuple[Record, Row]]:
    """The first row of each model in each packaging and engine."""
    first: dict[tuple[str, str, str], tuple[Record, Row]] = {}
    for record, row in found:
        setting = FunctionSetting(**(row.setting or {"memory_mib": 0}))
        first.setdefault((record.model, setting.packaging, setting.engine), (record, row))
    return list(first.values())


def _load_steps(evidence: Evidence) -> list[tuple[str | None, dict[str, Any]]]:
    """(cloud, step) of `visionstack load`, whose reports lie in folders called load…"""
    return [
        (found.get("cloud"), step)
        for name, found in evidence.documents.items()
        if name.startswith("load") and name.endswith("/report")
        for step in found.get("steps", [])
        if "response" in step
    ]


def _response(step: dict[str, Any]) -> Cell:
    summary = step["response"]
    return measured(
        float(summary["p50"]),
        "s",
        samples=int(summary["samples"]),
        spread=(float(summary["p10"]), float(summary["p90"])),
    )


def _model(step: dict[str, Any]) -> str:
    model = step.get("model")
    if not model:  # a report of before they named it
        return ""
    return f"; {model['name']}{'' if model.get('trained', True) else ', random weights'}"


def _figure_12(evidence: Evidence) -> Exhibit:
    rows: list[Line] = []
    for cloud, step in _load_steps(evidence):
        if step.get("memory_mib") is None:
            where = "AWS" if cloud == "aws" else "embedded cloud"
            words = (
                f"{where}{_model(step)}; p50 of {step['calls']:,} calls, {step['lost']} lost, "
                f"{step['wrong']} wrong, {step['throughput']:.1f} answers/s"
            )
            rows.append((f"{step['concurrency']} at once", _NO_VALUES, _response(step), words))
    not_run = Absent("run `visionstack load --concurrency 100..1500 --repeats 10`")
    return Exhibit(
        "2020, figure 12: response time against connections at once",
        rows or [("100 to 1,500 at once, 10 times, 5 warm", "rises in a line", not_run, "")],
        missing="a thousand environments at once: the embedded cloud's all share this machine's "
        "processors, so that its times rise where AWS's need not. "
        "`visionstack load --cloud aws --concurrency 100..1500 --repeats 10` repeats the paper's "
        "test.",
        labels=r"\d+ at once",
    )


def _figure_13(evidence: Evidence) -> Exhibit:
    by_memory: dict[int, tuple[str | None, dict[str, Any]]] = {}
    for cloud, step in _load_steps(evidence):
        memory = step.get("memory_mib")
        if memory is not None and (cloud == "aws" or memory not in by_memory):
            by_memory[memory] = cloud, step
    rows: list[Line] = []
    for memory in _paper()["memory_sweep_mb"]:
        ours: Cell = Absent("not run")
        words = f"`visionstack load --memory {memory}`"
        if memory in by_memory:
            cloud, step = by_memory[memory]
            embedded = (
                "embedded cloud, one environment with the share of a processor that AWS gives to "
                "this size"
            )
            words = (
                f"{'AWS' if cloud == 'aws' else embedded}{_model(step)}; {step['concurrency']} at "
                f"once, p50 of {step['calls']:,} warm calls"
            )
            ours = _response(step)
        rows.append((f"{memory} MB", _NO_VALUES, ours, words))
    return Exhibit(
        "2020, figure 13: response time against memory",
        rows,
        missing="AWS's own processors: a control group holds the embedded cloud's environment to "
        "the same share of one of this machine's. Two processors' worth (3,538 MB) is the most "
        "that two can show.",
    )
