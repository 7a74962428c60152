"""`visionstack stream`: frames of a source to a server, detections to the terminal or a program."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import TaskID

from runtime.contract import StreamPolicy
from runtime.measurement.statistics import percentile
from visionstack import console
from visionstack.errors import UsageError, VisionstackError
from visionstack.stream.blocking import StreamClient
from visionstack.stream.client import StreamOptions
from visionstack.stream.errors import StreamError, WindowClosedError
from visionstack.stream.pictures import Picture, encode_picture
from visionstack.stream.sources import Source, SourceFrame, open_source, paced
from visionstack.stream.summary import SPLIT, StreamSummary, answer_json
from visionstack.stream.types import (
    Answer,
    EndpointLike,
    FailedFrame,
    ServerInfo,
    StreamAddress,
    StreamResult,
)

if TYPE_CHECKING:
    from visionstack.stream.saving import Saver
    from visionstack.stream.window import Window

_DEFAULT_RATE = 10.0
"""Frames a second of a saved video whose source has no rate of its own."""
_CUT_BELOW = 0.5
"""Share of the frames that a video announces; some containers only estimate their number."""


@dataclass(frozen=True, kw_only=True)
class StreamRequest:
    """The command's options."""

    source: str
    endpoint: EndpointLike
    policy: StreamPolicy | None
    """None: live for what comes in real time, lossless for files."""
    options: StreamOptions
    """The others that the client takes."""
    fps: float | None
    limit: int | None
    as_json: bool
    save: Path | None
    show: bool = False


def parse_address(text: str, *, token: str | None, fingerprint: str | None) -> StreamAddress:
    """`host:port`; raises UsageError."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or "/" in host or not port.isdecimal() or not 0 < int(port) <= 65_535:
        raise UsageError(f"--connect {text}: give host:port, as 127.0.0.1:7443.")
    if not token:
        raise UsageError(
            "--connect needs the server's token.",
            remedy="Give --token, or set VISIONSTACK_STREAM_TOKEN; `visionstack serve` prints it.",
        )
    return StreamAddress(host.strip("[]"), int(port), token, fingerprint)


def run_stream(request: StreamRequest) -> StreamSummary:
    """Stream the source and write answers as they come. Raises VisionstackError kinds."""
    source = open_source(request.source)
    if source.left_out:
        console.err.print(f"[yellow]{escape(source.left_out)}[/]", soft_wrap=True)
    policy: StreamPolicy = request.policy or ("live" if source.realtime else "lossless")
    options: StreamOptions = {**request.options, "policy": policy}
    summary = StreamSummary()
    unreadable: deque[tuple[str, StreamError]] = deque()
    with ExitStack() as stack:
        saver = _saver(request, source, stack)
        window = _window(source, stack) if request.show else None
        client = stack.enter_context(StreamClient(request.endpoint, **options))
        _introduce(client.server, policy)
        watch = _Watch(source.name, summary, client)
        progress = stack.enter_context(console.progress(watch.line))
        expected = [one for one in (source.total, request.limit) if one is not None]
        task = progress.add_task(source.name, total=min(expected, default=None))
        answers = stack.enter_context(
            closing(
                client.stream(
                    _frames(request, source, policy, unreadable),
                    idle=window.pump if window else None,
                )
            )
        )
        ended_by: KeyboardInterrupt | StreamError | None = None
        complete = False
        try:
            for answer in answers:
                _tell_unreadable(unreadable, summary, as_json=request.as_json)
                summary.add(answer)
                name, picture = answer.context
                if saver is not None and isinstance(answer, StreamResult):
                    saver.add(name, picture, answer)
                if window is not None and isinstance(answer, StreamResult):
                    window.show(picture, answer)
                _show(answer, name=name, as_json=request.as_json)
                progress.update(task, advance=1)
            complete = request.limit is None
        except WindowClosedError:
            pass  # the stream's end, as wanted
        except (KeyboardInterrupt, StreamError) as error:
            # A camera's usual end, or the server's: what was seen is told all the same.
            ended_by = error
        _tell_unreadable(unreadable, summary, as_json=request.as_json)
        _finish_progress(progress, task, summary)
    if ended_by is not None and not summary.results:
        raise ended_by
    if not summary.results and not summary.failed:
        raise VisionstackError(f"{source.name} gave no frame that was answered.")
    _conclude(summary, request)
    answered = summary.results + summary.failed + summary.dropped.total()
    if complete and source.total is not None and answered < _CUT_BELOW * source.total:
        told = f"{source.name} ended after {answered} of about {source.total} frames"
        console.err.print(f"[yellow]{escape(told)}: it may be cut or damaged.[/]", soft_wrap=True)
    if ended_by is not None:
        raise ended_by
    return summary


def _frames(
    request: StreamRequest,
    source: Source,
    policy: StreamPolicy,
    unreadable: deque[tuple[str, StreamError]],
) -> Iterator[tuple[Picture, tuple[str, Picture]]]:
    """Pictures to send. A file that is none goes to `unreadable`: the others are still wanted."""
    frames: Iterator[SourceFrame] = islice(source.frames, request.limit)
    rate = request.fps
    if rate is None and policy == "live" and not source.realtime:
        # A file played live is a camera: it has its own beat.
        rate = source.rate
    for frame in paced(frames, rate) if rate else frames:
        picture = frame.picture
        if isinstance(picture, Path):
            try:
                picture = encode_picture(picture)
            except StreamError as error:
                unreadable.append((frame.name, error))
                continue
        yield picture, (frame.name, frame.picture)


def _tell_unreadable(
    unreadable: deque[tuple[str, StreamError]], summary: StreamSummary, *, as_json: bool
) -> None:
    while unreadable:
        name, error = unreadable.popleft()
        summary.failed += 1
        if as_json:
            said = {"code": "unreadable", "message": error.message}
            console.print_json_line({"frame": None, "name": name, "error": said})
        else:
            console.err.print(f"[red]{escape(error.message)}[/]", soft_wrap=True)


def _saver(request: StreamRequest, source: Source, stack: ExitStack) -> Saver | None:
    if request.save is None:
        return None
    from visionstack.stream.saving import keeps_one_picture, open_saver

    if keeps_one_picture(request.save) and source.total != 1 and request.limit != 1:
        raise UsageError(
            f"--save {request.save} keeps one picture, and {source.name} has many.",
            remedy="Save a video (out.mp4) or a folder (out), or take one frame: --limit 1",
        )
    rate = request.fps or source.rate or _DEFAULT_RATE
    saver = open_saver(request.save, rate=rate, sources=source.files)
    stack.callback(saver.close)
    return saver


def _window(source: Source, stack: ExitStack) -> Window | None:
    """None, and why, where there is no screen: the stream is wanted all the same."""
    from visionstack.stream.window import Window

    try:
        window = Window(f"visionstack: {source.name}")
    except VisionstackError as error:
        console.err.print(f"[yellow]{escape(str(error))}[/]")
        return None
    stack.callback(window.close)
    return window


@dataclass
class _Watch:
    """The line under way. It tells of a lost connection too, when no answer changes anything."""

    name: str
    summary: StreamSummary
    client: StreamClient
    _lost: float | None = None

    def line(self) -> str:
        trouble = self.client.trouble
        if trouble is None:
            self._lost = None
            return _live_line(self.name, self.summary)
        now = time.monotonic()
        self._lost = now if self._lost is None else self._lost
        return (
            f"{escape(self.name)}, [yellow]no connection for {now - self._lost:.0f} s[/] "
            f"({escape(trouble)}), trying again; {self.summary.results} results so far"
        )


def _introduce(server: ServerInfo, policy: str) -> None:
    console.err.print(
        escape(
            f"{server.model} {server.version} on {server.engine} {server.precision} "
            f"({server.device}), {policy}"
        )
    )
    if not server.weights_trained:
        console.err.print(f"[yellow]The weights are random: {escape(server.weights)}[/]")


def _show(answer: Answer, *, name: str, as_json: bool) -> None:
    if as_json:
        console.print_json_line(answer_json(answer, name=name))
    elif isinstance(answer, FailedFrame):
        console.err.print(f"[red]{escape(name)}: {escape(answer.reason)}[/]")


def _live_line(name: str, summary: StreamSummary) -> str:
    told = [escape(name)]
    if summary.fps is not None:
        told.append(f"{summary.fps:.1f}/s")
    if summary.results:
        parts = ", ".join(f"{part} {summary.recent(part):.1f}" for part in SPLIT)
        told.append(f"{summary.recent('total'):.1f} ms ({parts})")
    if summary.failed:
        told.append(f"{summary.failed} failed")
    return ", ".join([*told, f"{summary.dropped.total()} dropped"])


def _finish_progress(progress: Any, task: TaskID, summary: StreamSummary) -> None:
    progress.update(task, total=summary.results + summary.failed + summary.dropped.total())


def _conclude(summary: StreamSummary, request: StreamRequest) -> None:
    results = f"{summary.results} result{'' if summary.results == 1 else 's'}"
    told = f"{results}, {summary.dropped.total()} dropped, {summary.failed} failed"
    if summary.fps is not None:
        told += f", {summary.fps:.1f} frames/s"
    if summary.results:
        p50, p90, p99 = (percentile(summary.latencies, q) for q in (50, 90, 99))
        told += f"; capture to result p50 {p50:.1f} ms, p90 {p90:.1f} ms, p99 {p99:.1f} ms"
    console.err.print(told)
    if not summary.results:
        console.err.print("[yellow]No frame was answered with a result.[/]")
        return
    if summary.unchanged or summary.predicted:
        console.err.print(
            f"inference skipped: {summary.unchanged} unchanged, {summary.predicted} predicted"
        )
    labels = ", ".join(f"{label} {count}" for label, count in summary.labels.most_common(6))
    console.err.print(f"seen: {escape(labels) or 'nothing'}")
    if request.save is not None:
        console.err.print(f"saved: {escape(str(request.save))}", soft_wrap=True)
