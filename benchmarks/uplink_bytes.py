"""Bytes of H.264 and of JPEG at the same streaming accuracy: the labelled clip, played live.

Each way of sending plays the clip in its own time to the real server, at several qualities, in
turns; the newest result that has arrived stands for the world. The bytes are those of the client's
own encoders for the same frames. "The same accuracy" is AP50 at most `TOLERANCE` below what both
ways reach: the fewest bytes with which each keeps to that are compared. A machine that is busy with
other work answers late, and that costs more accuracy than any quality: `AP50, 50 ms` is therefore
scored beside it, from a stream whose frames are all answered, as if each answer had come `DELAY_S`
after its frame, on whatever machine.
"""

from __future__ import annotations

import os
import statistics
from pathlib import Path
from typing import Any, Final

from benchmarks._inputs import labelled_clip, model_folder
from benchmarks._results import Results, table
from runtime.contract import StreamEncoding
from visionstack.accuracy.detection import Evaluation, Found
from visionstack.accuracy.inputs import Clip, Inputs, read_clip
from visionstack.accuracy.served import clip_of, play
from visionstack.accuracy.streaming import StreamedFrame, seen_at_each_frame
from visionstack.accuracy.variants import LEAST
from visionstack.server_process import served
from visionstack.stream import StreamClient, StreamResult
from visionstack.stream.h264 import H264Encoder
from visionstack.stream.pictures import encode_picture
from visionstack.stream.types import EndpointLike

QUALITIES: Final[dict[StreamEncoding, tuple[int, ...]]] = {
    "jpeg": (90, 70, 45, 25),
    "h264": (90, 70, 50, 30),
}
TOLERANCE: Final = 0.01
DELAY_S: Final = 0.05
ROUNDS: Final = 3
LIVE: Final = "AP50"
FIXED: Final = "AP50, 50 ms"


def main(out: Path, quick: bool) -> None:
    """Write `uplink_bytes.json` after every trial."""
    results = Results(out / "uplink_bytes.json", title="Bytes of an uplink", quick=quick)
    inputs, labels = labelled_clip()
    clip = clip_of(inputs)
    rows: list[dict[str, Any]] = [
        {"way": way, "quality": quality, "bytes a frame": _bytes(clip, way, quality), LIVE: []}
        for way, qualities in QUALITIES.items()
        for quality in qualities
    ]
    folder = model_folder("yolov3-tiny")
    results.values |= {"labels": labels, "model": folder.parent.name, "rows": rows}
    with served(folder) as endpoint:
        for row in rows:
            row[FIXED] = [_all_answered(endpoint, inputs, clip, row)]
            results.save()
        results.values["times fewer, 50 ms"] = _times_fewer(rows, FIXED, range(1))
        print(table([{**row, FIXED: row[FIXED][0]} for row in rows], [*list(rows[0])[:3], FIXED]))
        print(results.values["times fewer, 50 ms"], flush=True)
        for _ in range(1 if quick else ROUNDS):
            for row in rows:
                row.setdefault("answered", []).append(0.0)
                row[LIVE].append(_played(endpoint, inputs, clip, row))
                results.values["load_average"] = os.getloadavg()
                results.save()
            print(_told(rows), flush=True)
    rounds = range(len(rows[0][LIVE]))
    results.values["times fewer"] = {
        "together": _times_fewer(rows, LIVE, rounds),
        "each round": [_times_fewer(rows, LIVE, range(n, n + 1)) for n in rounds],
    }
    results.save()
    print(results.values["times fewer"])


def _bytes(clip: Clip, way: StreamEncoding, quality: int) -> float:
    """Mean of the clip's frames, key frames among them."""
    encoder = H264Encoder(quality=quality)
    sizes = [
        len(
            encoder.encode(image).data
            if way == "h264"
            else encode_picture(image, encoding=way, quality=quality).data
        )
        for image in read_clip(clip.path)
    ]
    return statistics.fmean(sizes)


def _played(endpoint: EndpointLike, inputs: Inputs, clip: Clip, row: dict[str, Any]) -> float:
    played = play(endpoint, clip, fps=clip.rate, encoding=row["way"], quality=row["quality"])
    row["answered"][-1] = played.answered
    assert inputs.labels is not None
    return Evaluation(inputs.labels, played.seen(inputs, delay=0.0)).score.overall.ap50


def _all_answered(endpoint: EndpointLike, inputs: Inputs, clip: Clip, row: dict[str, Any]) -> float:
    found: list[tuple[Found, ...]] = []
    with StreamClient(
        endpoint,
        policy="lossless",
        confidence=LEAST,
        encoding=row["way"],
        quality=row["quality"],
    ) as client:
        for answer in client.stream(read_clip(clip.path)):
            assert isinstance(answer, StreamResult), answer
            found.append(answer.detections)
    frames = [
        StreamedFrame(captured=n / clip.rate, arrived=n / clip.rate + DELAY_S, found=one)
        for n, one in enumerate(found)
    ]
    seen = seen_at_each_frame(frames)
    assert inputs.labels is not None
    return Evaluation(inputs.labels, [seen[n] for n in inputs.frames]).score.overall.ap50


def _times_fewer(rows: list[dict[str, Any]], what: str, rounds: range) -> float:
    """JPEG's fewest bytes over H.264's, of the qualities that keep the accuracy in these rounds."""
    scored = [(row, statistics.fmean(row[what][n] for n in rounds)) for row in rows]
    best = {way: max(ap50 for row, ap50 in scored if row["way"] == way) for way in QUALITIES}
    least = min(best.values()) - TOLERANCE
    fewest = {
        way: min(
            row["bytes a frame"] for row, ap50 in scored if row["way"] == way and ap50 >= least
        )
        for way in QUALITIES
    }
    return float(fewest["jpeg"] / fewest["h264"])


def _told(rows: list[dict[str, Any]]) -> str:
    shown = [
        {
            "way": row["way"],
            "quality": row["quality"],
            "bytes a frame": row["bytes a frame"],
            "AP50": statistics.fmean(row[LIVE]),
            "lowest": min(row[LIVE]),
            "highest": max(row[LIVE]),
            "answered": min(row["answered"]),
        }
        for row in rows
    ]
    return table(shown)
