"""Yun, Kim and Jeong 2019: tables 1 to 3, figures 1 to 4, section 4.2 and the streaming claim."""

from __future__ import annotations

from typing import Any, Final

from runtime.measurement.results import RunResult
from visionstack.compare.targets import Kind
from visionstack.cost.prices import LIST_DATE, list_prices
from visionstack.paper_reference import reference
from visionstack.papers.evidence import Evidence, single_stream
from visionstack.papers.exhibit import Exhibit, Line, conditions, seconds
from visionstack.report.figures import NOT_HERE, Absent, Cell, computed, measured, paper

_RETIRED: Final = Absent("AWS starts no P2 or P3 any more")
_RUN: Final = "visionstack papers --measure"
MICRO: Final = (1, 700)
"""Processors, and MiB that a t2.micro's 1 GiB leaves beside the system."""


def exhibits(evidence: Evidence) -> list[Exhibit]:
    """In the paper's order."""
    return [
        _conceptual(),
        _tiny(evidence),
        _table_1(evidence),
        _table_2(),
        _table_3(evidence),
        _sending(evidence),
    ]


def _conceptual() -> Exhibit:
    return Exhibit(
        "2019, figures 1 to 4 (drawings)",
        [
            ("figure 1: TCP's three-way handshake", "drawing", "the same, by the kernel",
             "then TLS and this project's own handshake: protocol.md"),
            ("figure 2: TCP's four-way close", "drawing", "the same, by the kernel",
             "before it, a draining server sends goaway: protocol.md"),
            ("figure 3: PC, streaming server, AWS", "drawing", "the streaming lane",
             "one connection, detections on the way back: architecture.md"),
            ("figure 4: the sample picture", "darknet's dog.jpg", "samples/dog.jpg", "same file"),
        ],
    )  # fmt: skip


def _tiny(evidence: Evidence) -> Exhibit:
    ours = evidence.machine("yolov3-tiny")
    darknet = evidence.machine("yolov3-tiny", kind=Kind.DARKNET)
    micro = evidence.machine("yolov3-tiny", within=MICRO)
    missing = Absent(f"run `{_RUN}`")
    printed = paper(1.76, "s", source="section 4.2", printed="1.76")
    held = f"this machine held to {MICRO[0]} CPU and {MICRO[1]} MiB"
    unheld = Absent("run `visionstack compare run --local --within 1:700 --scope …`")
    no_darknet = Absent("darknet is not installed, or was not run")
    rows: list[Line] = [
        ("t2.micro, YOLOv3-tiny, one picture", printed, NOT_HERE, ""),
        _ours(f"{held}, network only", micro, "network", unheld),
        _ours(f"{held}, picture to detections", micro, "picture", unheld),
        _ours(f"{held}, frame sent to detections received", micro, "stream", unheld),
        _ours("this machine, network only", ours, "network", missing),
        _ours("this machine, picture to detections", ours, "picture", missing),
        _ours("this machine, darknet's own program", darknet, "network", no_darknet),
    ]
    return Exhibit(
        "2019, section 4.2: YOLOv3-tiny without a GPU",
        rows,
        missing="a t2.micro itself: its processor is another, and is its own only while it has "
        "credits. Its size does hold the streaming server: in the held rows the server and what "
        "measures it share one processor, and the program that infers is in a control group with "
        "what 1 GiB leaves beside the system.",
        intro="darknet prints the time of its network alone; the paper's times are taken to be "
        "that, and both depths are given.",
    )


def _ours(name: str, result: RunResult | None, scope: str, otherwise: Absent) -> Line:
    return (name, "", seconds(single_stream(result, scope), otherwise), conditions(result))


def _host_rows(evidence: Evidence, hosts: tuple[str, ...]) -> list[Line]:
    times = {
        item["host"]: item
        for item in reference()["streaming_2019"]["seconds_per_image"]
        if item["model"] == "yolov3"
    }
    rows: list[Line] = []
    for host in hosts:
        item = times[host]
        text = f"{item['seconds']:.6f}"
        name = f"{host} ({item['accelerator']})"
        absent = NOT_HERE if host == "local PC" else _RETIRED
        rows.append((name, paper(item["seconds"], "s", source="table", printed=text), absent, ""))
    ours = evidence.machine("yolov3")
    missing = Absent(f"run `{_RUN}`")
    return [
        *rows,
        _ours("this machine, network only", ours, "network", missing),
        _ours("this machine, picture to detections", ours, "picture", missing),
    ]


def _table_1(evidence: Evidence) -> Exhibit:
    return Exhibit(
        "2019, table 1: YOLOv3 on P2 instances",
        _host_rows(evidence, ("p2.xlarge", "p2.8xlarge", "p2.16xlarge")),
        missing="P2 instances are retired; their successors are measured by "
        "`visionstack compare run -i g4dn.xlarge -i g6.xlarge --model yolov3` on AWS. That further "
        "GPUs of one instance do not shorten one picture's time needs an instance with several.",
    )


def _table_2() -> Exhibit:
    listed = {
        name: computed(price.usd, "USD", source="the list price")
        for name, price in list_prices().items()
    }
    rows: list[Line] = []
    for name, usd in reference()["streaming_2019"]["usd_per_hour_2019"].items():
        printed = paper(usd, "USD", source="table 2", printed=f"{usd:g}")
        ours = listed.get(name, Absent("not in the list"))
        rows.append(
            (f"{name}, an hour", printed, ours, f"us-east-1, {LIST_DATE}; no longer started")
        )
    for name in ("g4dn.xlarge", "g6.xlarge", "c7i.xlarge"):
        if name in listed:
            rows.append((f"{name}, an hour", "", listed[name], f"us-east-1, {LIST_DATE}"))
    return Exhibit(
        "2019, table 2: the price of an hour",
        rows,
        intro="The paper names no region, and its prices are not those of us-east-1: the two "
        "columns differ by more than time.",
    )


def _table_3(evidence: Evidence) -> Exhibit:
    return Exhibit(
        "2019, table 3: P2, P3 and a PC with a GTX 1080",
        _host_rows(evidence, ("p2.xlarge", "p3.2xlarge", "local PC")),
        missing="a GPU: this machine has none. `visionstack compare run --local --model yolov3` "
        "measures the row on a machine with one.",
    )


def _sending(evidence: Evidence) -> Exhibit:
    found = evidence.documents.get("bench/sending", {})
    rows = [_sending_row(item) for item in found.get("summary", [])]
    not_run = Absent("run `python -m benchmarks sending`")
    return Exhibit(
        "2019, the claim: streaming is nearer to real time than sending pictures or clips",
        rows
        or [("one by one, as a clip, streamed", "streaming is nearest to real time", not_run, "")],
        intro="The paper states it without figures.",
        labels=r"\S+, \S+ ms round trip",
    )


def _sending_row(item: dict[str, Any]) -> Line:
    name = f"{item.get('way', '?')}, {item.get('round_trip_ms', '?')} ms round trip"
    delay: Cell = Absent("no delay recorded")
    if isinstance(item.get("p50_ms"), int | float):
        delay = measured(float(item["p50_ms"]), "ms")
    rate = item.get("frames_per_second")
    words = f"capture to result, p50; {rate:.1f} frames/s" if isinstance(rate, float) else ""
    return (name, "no figure", delay, words)
