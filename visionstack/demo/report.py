"""The demo's record as a report: what was seen, how long it took, and what it would cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from visionstack.report.figures import Figure, computed, measured, paper
from visionstack.report.sections import (
    Entry,
    Fact,
    Facts,
    Headline,
    Headlines,
    Latency,
    Note,
    Picture,
    Pictures,
    Ranking,
    Rankings,
    Report,
    Row,
    Samples,
    Section,
    Table,
    Tile,
    TileRow,
    Tiles,
)


def build_report(record: Mapping[str, Any], *, seen: Sequence[Picture]) -> Report:
    """The report of a finished or broken-off run; `seen` are the pictures with their boxes."""
    return Report(
        title="visionstack demo",
        subtitle="Both lanes, deployed by cdk to the embedded cloud of this machine",
        machine=record["machine"]["line"],
        versions=record["versions"],
        sections=list(_sections(record, seen)),
        data=record,
    )


def _sections(record: Mapping[str, Any], seen: Sequence[Picture]) -> Iterator[Section]:
    streaming = record.get("streaming")
    classification = record.get("classification")
    pool = record.get("warm_pool")
    yield Headlines(list(_headlines(streaming, classification, pool)))
    yield Note(
        "EC2 and Lambda are emulated here: the speeds are this machine's, not AWS's. "
        "The same app deploys to AWS with `npx cdk deploy --all`.",
        title="Emulated",
    )
    for part in (streaming, *(classification or {}).get("requests", ())[:1]):
        if part and not part["trained"]:
            yield Note(f"{part['model']} has random weights.", level="warning", title="Weights")
    if streaming:
        yield Pictures("What the streaming lane saw", seen)
        yield _latency(streaming)
        yield _streaming_facts(streaming)
    if classification:
        yield _rankings(classification)
        yield _classification_table(classification)
    if pool:
        yield _warm_pool(pool)
    if "cost" in record:
        yield _cost(record["cost"])
    yield _paper_speed(record)
    if "deploy" in record:
        yield _deploy(record["deploy"])


def _headlines(
    streaming: Mapping[str, Any] | None,
    classification: Mapping[str, Any] | None,
    pool: Mapping[str, Any] | None,
) -> Iterator[Headline]:
    if streaming:
        rate = measured(streaming["fps"], "frames/s", samples=streaming["results"])
        yield Headline("detections streamed", rate, streaming["model"])
        delay = measured(streaming["latency_ms"]["p50"], "ms", samples=streaming["results"])
        yield Headline("capture to result, p50", delay, "over one TCP+TLS connection")
    if classification:
        warm = classification["warm_ms"]
        yield Headline("warm classification, p50", measured(warm, "ms"), "over HTTPS's emulator")
    if pool:
        yield Headline(
            f"of {pool['target']} environments held warm",
            measured(pool["reached"], ""),
            f"cold starts among {pool['target']} calls at once: "
            f"{pool['cold_calls_with']} with the warmer, {pool['cold_calls_without']} without",
        )


def _latency(streaming: Mapping[str, Any]) -> Latency:
    return Latency(
        "Capture to result",
        [Samples(streaming["model"], streaming["samples_ms"])],
        intro=f"Each frame of {streaming['source']}, from capture to the result's arrival.",
        bounds={f"{streaming['paced_fps']:g} frames/s": 1000 / streaming["paced_fps"]},
    )


def _streaming_facts(streaming: Mapping[str, Any]) -> Facts:
    labels = ", ".join(f"{name} {count}" for name, count in streaming["labels"].items())
    split = ", ".join(f"{name} {ms:.1f}" for name, ms in streaming["split_ms"].items())
    return Facts(
        "The stream",
        [
            Fact("source", streaming["source"]),
            Fact("model", f"{streaming['model']} ({streaming['weights']})"),
            Fact("engine", streaming["engine"]),
            Fact("policy", streaming["policy"]),
            Fact("frames sent", measured(streaming["frames"])),
            Fact("results", measured(streaming["results"])),
            Fact("dropped, and told so", measured(streaming["dropped"])),
            Fact("detections by label", labels),
            Fact("where the time goes (ms, p50)", split),
        ],
    )


def _rankings(classification: Mapping[str, Any]) -> Rankings:
    rankings = []
    # The first is called twice, cold and warm; the answer is the same.
    for request in {one["file"]: one for one in classification["requests"]}.values():
        picture = request.get("path")
        shown = Picture(Path(picture).read_bytes(), alt=request["file"]) if picture else None
        truth = request.get("truth")
        rankings.append(
            Ranking(
                request["file"],
                [Entry(entry["label"], entry["softmax"]) for entry in request["top"]],
                picture=shown,
                detail=_verdict(request["top"], truth) if truth else "",
            )
        )
    right, labelled = classification["top1_right"], classification["labelled"]
    return Rankings(
        "What the serverless lane recognised",
        rankings,
        intro=f"{right} of {labelled} labelled ImageNet pictures right at top 1.",
    )


def _verdict(top: Sequence[Mapping[str, Any]], truth: Mapping[str, str]) -> str:
    ids = [entry["id"] for entry in top]
    rank = ids.index(truth["id"]) + 1 if truth["id"] in ids else None
    where = "not among the five" if rank is None else f"rank {rank}"
    return f"{'✓' if rank == 1 else '✗'} labelled {truth['label']}: {where}"


def _classification_table(classification: Mapping[str, Any]) -> Table:
    rows = []
    for request in classification["requests"]:
        was = "cold" if request["cold"] else "warm"
        time = measured(request["seconds"] * 1000, "ms", samples=1)
        rows.append(Row([request["file"], was, time, request["environment"][:8]]))
    return Table("Each call", ["picture", "environment was", "answered in", "environment"], rows)


def _warm_pool(pool: Mapping[str, Any]) -> Tiles:
    def tiles(calls: Sequence[Mapping[str, Any]]) -> list[Tile]:
        return [
            Tile(
                call["environment"][:8],
                "bad" if call["cold"] else "good",
                f"{'cold' if call['cold'] else 'warm'}, {call['seconds'] * 1000:.0f} ms",
            )
            for call in calls
        ]

    return Tiles(
        "The warm pool, proven",
        [
            TileRow(f"{pool['target']} calls at once, warmer off", tiles(pool["calls_without"])),
            TileRow(
                "one warmer cycle",
                [Tile(name[:8], "good", "reached") for name in pool["environments"]],
                f"reached {pool['reached']} of {pool['target']}",
            ),
            TileRow(f"{pool['target']} calls at once, warmer on", tiles(pool["calls_with"])),
        ],
        intro="Each tile is one call, named after the execution environment that answered it.",
    )


def _cost(cost: Mapping[str, Any]) -> Table:
    times = [measured(row["seconds_per_image"], "s") for row in cost["rows"]]
    times += [
        paper(row["seconds_per_image"], "s", source=row["source"]) for row in cost["paper_rows"]
    ]
    rows = []
    for row, time in zip([*cost["rows"], *cost["paper_rows"]], times, strict=True):
        usd = computed(row["usd_per_million"], "USD", source=row["how"])
        rows.append(Row([row["where"], time, row["price"], usd]))
    return Table(
        "Dollars per million images",
        ["where", "seconds per image", "price", "USD per million images"],
        rows,
        intro=cost["assumption"],
        note="`visionstack compare` measures on the instance types themselves.",
    )


def _paper_speed(record: Mapping[str, Any]) -> Table:
    reference = record["paper"]
    rows = []
    streaming = record.get("streaming")
    if streaming:
        here = measured(
            streaming["split_ms"]["inference"] / 1000, "s", samples=streaming["results"]
        )
        rows.append(Row([f"this machine, {streaming['model']}, {streaming['engine']}", here]))
    for entry in reference["streaming_2019"]["seconds_per_image"]:
        name = f"{entry['host']} ({entry['accelerator'] or 'no GPU'}), {entry['model']}"
        rows.append(Row([name, _printed(entry["seconds"], "tables 1 and 3, section 4.2")]))
    times = reference["serverless_2020"]["milliseconds"]
    for name, key in (("first call", "first_invocation"), ("second call", "second_invocation")):
        figure = paper(times[key] / 1000, "s", source="2020 paper, figure 10")
        rows.append(Row([f"ResNet50 on Lambda, 768 MB, {name}", figure]))
    classification = record.get("classification")
    if classification:
        model = classification["requests"][0]["model"]
        for name, key in (("first call", "cold_ms"), ("warm call", "warm_ms")):
            figure = measured(classification[key] / 1000, "s")
            rows.append(Row([f"{model} here, {name}", figure]))
    return Table("Beside the papers: seconds per image", ["where", "seconds"], rows)


def _printed(seconds: float, source: str) -> Figure:
    # The tables print six decimals, the running text of section 4.2 two.
    printed = f"{seconds:.2f}" if seconds > 1 else f"{seconds:.6f}"
    return paper(seconds, "s", source=f"2019 paper, {source}", printed=printed)


def _deploy(deploy: Mapping[str, Any]) -> Table:
    rows = [Row([stack["name"], stack["status"]]) for stack in deploy["stacks"]]
    return Table("What cdk deployed", ["stack", "status"], rows)
