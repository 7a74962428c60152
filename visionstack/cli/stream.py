"""Commands of `visionstack.stream`: `serve` and `stream`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.contract import (
    DEFAULT_DETECTOR,
    DETECT_CONFIDENCE,
    DETECT_IOU,
    MAX_KEY_INTERVAL,
    STREAM_HTTP_PORT,
    STREAM_PORT,
    EngineChoice,
    PrecisionChoice,
    StreamEncoding,
    StreamPolicy,
)
from visionstack.cli.options import CloudOption, HttpPortOption, PortOption, PrefixOption
from visionstack.errors import UsageError

if TYPE_CHECKING:
    from visionstack.stream.types import EndpointLike


def serve(
    *,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Model to serve; several may be given, the first is the default."),
    ] = None,
    engine: Annotated[
        EngineChoice,
        typer.Option(help="auto picks by what this machine has."),
    ] = "auto",
    precision: Annotated[
        PrecisionChoice,
        typer.Option(help="auto takes the fastest that was found accurate enough."),
    ] = "auto",
    host: Annotated[
        str, typer.Option(help="Address to listen on; TLS unless it is loopback.")
    ] = "127.0.0.1",
    port: PortOption = STREAM_PORT,
    http_port: HttpPortOption = STREAM_HTTP_PORT,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="VISIONSTACK_STREAM_TOKEN",
            show_envvar=True,
            help="What clients must show; made up when left out.",
        ),
    ] = None,
) -> None:
    """Serve models on this machine, without any cloud."""
    from visionstack.cli.serve_run import serve as run

    run(
        model or [DEFAULT_DETECTOR],
        engine=engine,
        precision=precision,
        host=host,
        port=port,
        http_port=http_port,
        token=token,
    )


def stream(
    source: Annotated[
        str, typer.Argument(help="Picture, folder, video file, camera number or rtsp:// address.")
    ],
    *,
    connect: Annotated[
        str | None, typer.Option(help="host:port of a server; else the deployed one is used.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="VISIONSTACK_STREAM_TOKEN",
            show_envvar=True,
            help="The server's, with --connect.",
        ),
    ] = None,
    fingerprint: Annotated[
        str | None, typer.Option(help="SHA-256 of the server's certificate, in hex.")
    ] = None,
    cloud: CloudOption = "auto",
    prefix: PrefixOption = None,
    policy: Annotated[
        StreamPolicy | None,
        typer.Option(
            help="live: the newest frame wins; lossless: every frame is answered. "
            "Default: live for cameras and rtsp, lossless for files."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="One of the server's models; default its first.")
    ] = None,
    confidence: Annotated[
        float, typer.Option(min=0, max=1, help="Boxes below it are left out.")
    ] = DETECT_CONFIDENCE,
    iou: Annotated[
        float, typer.Option(min=0, max=1, help="Overlap above which the lesser box goes.")
    ] = DETECT_IOU,
    gate: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Change gate: skip inference while no more than this share changed, as 0.001.",
        ),
    ] = None,
    track: Annotated[bool, typer.Option("--track", help="Stable ids for objects.")] = False,
    key_interval: Annotated[
        int,
        typer.Option(min=1, max=MAX_KEY_INTERVAL, help="With --track: infer every so many frames."),
    ] = 1,
    fps: Annotated[
        float | None, typer.Option(min=0.01, max=1000, help="Send no faster than this.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many frames.")] = None,
    encoding: Annotated[
        StreamEncoding,
        typer.Option(help="How frames of videos and cameras are sent; h264 for thin uplinks."),
    ] = "jpeg",
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON a frame.")] = False,
    save: Annotated[
        Path | None, typer.Option(help="Draw boxes into out.mp4, out.jpg or a folder.")
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Show them in a window; closing it ends the stream.")
    ] = False,
) -> None:
    """Stream frames to a server and get detections back; exit 1 if a frame failed."""
    from visionstack.cli.stream_run import StreamRequest, parse_address, run_stream

    if key_interval > 1 and not track:
        raise UsageError("--key-interval needs --track.", remedy="Add --track.")
    endpoint: EndpointLike
    if connect is not None:
        endpoint = parse_address(connect, token=token, fingerprint=fingerprint)
    else:
        from visionstack.cloud.deployment import connect as find

        endpoint = find(cloud=cloud, prefix=prefix).stream_endpoint()
    summary = run_stream(
        StreamRequest(
            source=source,
            endpoint=endpoint,
            policy=policy,
            options={
                "model": model,
                "confidence": confidence,
                "iou": iou,
                "gate": gate,
                "track": track,
                "key_interval": key_interval,
                "encoding": encoding,
            },
            fps=fps,
            limit=limit,
            as_json=as_json,
            save=save,
            show=show,
        )
    )
    if summary.failed:
        raise typer.Exit(1)
