"""`visionstack accuracy`: models against labels, against one another, and as a stream sees."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from runtime.contract import DEFAULT_DETECTOR, StreamEncoding
from visionstack import extras, paths
from visionstack.cli.options import CutOption, OutOption
from visionstack.errors import UsageError


def accuracy(
    source: Annotated[
        Path,
        typer.Argument(
            help="Labels (COCO JSON, data.yaml), a folder of pictures for each class, or pictures "
            "or a clip with --labels."
        ),
    ],
    *,
    labels: Annotated[
        Path | None,
        typer.Option(help="Of the pictures or clip: COCO JSON, data.yaml, MOTChallenge's gt.txt."),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="MODEL or MODEL:ENGINE; may be repeated.")
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(help="auto, onnxruntime, openvino or torch, for each model; repeatable."),
    ] = None,
    precision: Annotated[
        list[str] | None, typer.Option(help="auto, fp32 or int8, for each engine; repeatable.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="MODEL[:ENGINE] to agree with; needs no labels."),
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Streaming accuracy: play the clip live to a server.")
    ] = False,
    fps: Annotated[
        list[float] | None,
        typer.Option(min=0.1, max=1000, help="With --stream: frames a second; repeatable."),
    ] = None,
    round_trip: Annotated[
        list[float] | None,
        typer.Option(min=0, help="With --stream: milliseconds more to every result; repeatable."),
    ] = None,
    encoding: Annotated[
        list[str] | None,
        typer.Option(
            help="With --stream: frames sent as jpeg (the default), png, webp, bgr or h264; "
            "repeatable."
        ),
    ] = None,
    track: Annotated[
        bool, typer.Option("--track", help="MOTA, IDF1 and HOTA of the served tracks.")
    ] = False,
    split: Annotated[str, typer.Option(help="Of a data.yaml: train, val or test.")] = "val",
    cut: CutOption = False,
    out: OutOption = paths.OUT / "accuracy",
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure how well models' answers fit labels, with intervals, beside the time they take."""
    from visionstack.accuracy.session import AccuracyOptions, run
    from visionstack.accuracy.variants import parse_variant, variants_of

    if (fps or round_trip or encoding) and not stream:
        raise UsageError(
            "--fps, --round-trip and --encoding need --stream.", remedy="Add --stream."
        )
    unknown = set(encoding or ()) - set(get_args(StreamEncoding))
    if unknown:
        raise UsageError(
            f"--encoding is {', '.join(get_args(StreamEncoding))},"
            f" not {', '.join(sorted(unknown))}."
        )
    extras.require(*extras.MEASURING)
    run(
        AccuracyOptions(
            source=source,
            labels=labels,
            split=split,
            cut=cut,
            variants=variants_of(model or [DEFAULT_DETECTOR], engine or [], precision or []),
            reference=None if reference is None else parse_variant(reference),
            stream=stream,
            rates=fps or [],
            round_trips=round_trip or [],
            encodings=cast("list[StreamEncoding]", list(dict.fromkeys(encoding or ["jpeg"]))),
            track=track,
        ),
        out=out,
        as_json=as_json,
    )
