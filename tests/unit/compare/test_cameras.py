"""Cameras per dollar: the search on machines whose answer is known, and trials on a real server."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from visionstack.accuracy.inputs import open_inputs
from visionstack.accuracy.streaming import StreamedFrame, seen_at
from visionstack.cli.main import app
from visionstack.compare import cameras
from visionstack.compare.accuracy import default_labels
from visionstack.compare.cameras import (
    MOST_CAMERAS,
    Counted,
    Film,
    Search,
    SingleStream,
    Trial,
    Wanted,
    search,
)
from visionstack.compare.cameras_report import report, to_json, usd_a_month, why_off
from visionstack.errors import UsageError
from visionstack.report.sections import Note, Table

WANTED = Wanted(fps=5, within_s=0.5, accuracy=0.3)


def trial(number: int, *, holds: int, accuracy: float = 0.4) -> Trial:
    return Trial(
        cameras=number,
        frames=number * 150,
        in_time=1.0 if number <= holds else 0.7,
        p99_s=0.2,
        rate=min(number, holds) * 5.0,
        accuracy=accuracy,
    )


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def searched(holds: int, *, start: int, seconds: float = 1e9) -> tuple[Search, list[int]]:
    clock, tried = Clock(), []

    def attempt(number: int) -> Trial:
        tried.append(number)
        clock.now += 30
        return trial(number, holds=holds)

    found = search(attempt, WANTED, start=start, seconds=seconds, trial_seconds=30, clock=clock)
    return found, tried


@pytest.mark.parametrize("start", [0, 1, 7, 12, 60])
@pytest.mark.parametrize("holds", [0, 1, 2, 11, 12, 40, MOST_CAMERAS])
def test_the_search_finds_the_most_cameras_from_wherever_it_starts(holds: int, start: int) -> None:
    found, tried = searched(holds, start=start)
    assert found.most == holds
    assert found.in_time
    assert found.too_many == (holds + 1 if holds < MOST_CAMERAS else None)
    assert len(tried) == len(set(tried))


def test_a_right_prediction_takes_few_trials_and_a_short_time_gives_a_bound() -> None:
    assert len(searched(10, start=10)[1]) <= 5
    found, tried = searched(40, start=10, seconds=95)
    assert tried == [10, 15, 22]
    assert (found.most, found.too_many, found.in_time) == (22, None, False)


def test_cameras_whose_boxes_are_too_old_do_not_count() -> None:
    late = search(
        lambda number: trial(number, holds=9, accuracy=0.5 - 0.05 * number),
        WANTED,
        start=9,
        seconds=1e9,
        trial_seconds=0,
    )
    assert late.most == 4
    reason = why_off(counted(late, predicted=9), WANTED)
    assert "with 5, streaming AP50 was 0.250, 0.3 is wanted" in reason
    assert "accuracy bounds the number" in reason


def counted(found: Search, *, predicted: int, usd: float | None = 0.1, **other: Any) -> Counted:
    return Counted(
        model=other.get("model", "tiny"),
        version="v",
        engine="openvino fp32",
        trained=other.get("trained", True),
        single=SingleStream(one_by_one=40, full=predicted * 5.0),
        predicted=predicted,
        search=found,
        usd_per_hour=usd,
    )


def test_dollars_a_camera_and_month_and_how_far_the_prediction_was_off() -> None:
    found, _ = searched(20, start=24)
    one = counted(found, predicted=24)
    assert usd_a_month(one) == pytest.approx(0.1 * 730 / 20, rel=0.01)
    assert one.off == pytest.approx(-1 / 6)
    assert "with 21, 70.0% of the frames were answered within 500 ms" in why_off(one, WANTED)
    assert why_off(counted(found, predicted=21), WANTED) == "within 10% of the prediction"
    random = counted(searched(50, start=50)[0], predicted=50, trained=False, model="random")
    drawn = report([one, random], WANTED, clip="clip.avi")
    note, table = drawn.sections[0], drawn.sections[1]
    assert isinstance(note, Note)
    assert note.text.startswith("tiny serves 20 cameras at 5 frames/s within 500 ms")
    assert isinstance(table, Table)
    assert [row.cells[0] for row in table.rows] == ["tiny", "random (random weights)"]
    plain = json.loads(json.dumps(to_json([one], WANTED)))
    assert plain["models"][0]["cameras"] == 20
    assert plain["models"][0]["trials"][0]["cameras"] == 24


def test_no_camera_at_all_has_no_price() -> None:
    none = counted(searched(0, start=1)[0], predicted=0)
    assert usd_a_month(none) is None
    assert to_json([none], WANTED)["sentence"].startswith("No model serves one camera")
    assert to_json([none], WANTED)["models"][0]["off"] is None


def test_the_newest_that_has_arrived_is_seen_at_moments_between_captures() -> None:
    frames = [
        StreamedFrame(captured=0.0, arrived=0.3, found=("a",)),
        StreamedFrame(captured=0.5, arrived=None, found=()),
        StreamedFrame(captured=1.0, arrived=1.1, found=("b",)),
    ]
    assert seen_at([0.0, 0.29, 0.3, 1.05, 1.1], frames) == [(), (), ("a",), ("a",), ("b",)]


@pytest.fixture(scope="module")
def film() -> Film:
    labelled = default_labels("detect")
    assert labelled is not None
    return Film.of(open_inputs(labelled.source, labels=labelled.labels))


class Slow:
    """Instead of a stream client: answers each frame with its number after `delay` seconds."""

    delay = 0.0

    def __init__(self, *_: object, **__: object) -> None:
        self._due: list[tuple[float, int]] = []
        self.sent: list[Any] = []

    async def __aenter__(self) -> Slow:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def notify(self) -> None:
        return None

    async def send(self, picture: Any, *, context: int) -> None:
        self.sent.append(picture)
        self._due.append((asyncio.get_running_loop().time() + self.delay, context))

    async def until(self, sent: Any) -> Any:
        while self._due or not sent():
            await asyncio.sleep(0.005)
            while self._due and self._due[0][0] <= asyncio.get_running_loop().time():
                yield _result(self._due.pop(0)[1])


def _result(context: int) -> Any:
    from visionstack.stream.types import Latency, StreamResult

    latency = Latency(0, 0, 0, 0, 0, 0, 0, 0)
    return StreamResult(context, 1, 1, (), latency, 1, False, False, 0, "1", context)


def test_each_camera_sends_the_world_at_its_own_moments(
    film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cameras, "AsyncStreamClient", Slow)
    short = Film(inputs=film.inputs, pictures=film.pictures[:10], rate=film.rate)
    playing = cameras._play(SimpleNamespace(), short, 2, fps=4.0, options={})  # type: ignore[arg-type]
    played = asyncio.run(playing)
    moments = [[frame.captured for frame in camera] for camera in played]
    assert moments == [
        pytest.approx([0, 0.25, 0.5, 0.75]),
        pytest.approx([0.125, 0.375, 0.625, 0.875]),
    ]
    assert short.at(0.25) is film.pictures[2]
    assert all(frame.arrived is not None for camera in played for frame in camera)


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({}, {"gate": None, "track": False, "key_interval": 1}),
        ({"gate": 0.01}, {"gate": 0.01, "track": False, "key_interval": 1}),
        ({"key_interval": 3}, {"gate": None, "track": True, "key_interval": 3}),
    ],
)
def test_cameras_ask_for_the_gate_and_for_tracking_between_key_frames(
    film: Film, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], asked: dict[str, Any]
) -> None:
    seen: list[dict[str, object]] = []

    class Noting(Slow):
        def __init__(self, *_: object, **options: object) -> None:
            seen.append({name: options[name] for name in asked})
            super().__init__()

    monkeypatch.setattr(cameras, "AsyncStreamClient", Noting)
    short = Film(inputs=film.inputs, pictures=film.pictures[:3], rate=film.rate)
    wanted = Wanted(fps=10.0, within_s=1.0, accuracy=0.0)
    cameras.play_cameras(SimpleNamespace(), short, 2, wanted=wanted, **given)  # type: ignore[arg-type]
    assert seen == [asked, asked]


def test_a_clip_that_is_too_long_or_unlabelled_is_refused(film: Film) -> None:
    from dataclasses import replace

    assert film.inputs.clip is not None
    long = replace(film.inputs, clip=replace(film.inputs.clip, frames=6000))
    with pytest.raises(UsageError, match="lasts 600 s"):
        Film.of(long)
    with pytest.raises(UsageError, match="no labels"):
        Film.of(replace(film.inputs, labels=None))


def test_a_model_that_is_not_there_is_refused_before_anything_is_served() -> None:
    done = CliRunner().invoke(app, ["compare", "cameras", "--model", "nope"])
    assert isinstance(done.exception, UsageError)


@pytest.mark.slow
def test_a_real_server_serves_a_camera_and_not_ten_thousand_frames_a_second(
    film: Film, tmp_path: Path
) -> None:
    from visionstack.models.building import build
    from visionstack.models.catalog import find_recipe
    from visionstack.paths import MODELS

    build(find_recipe("yolov3-tiny"), root=MODELS)
    easy = Wanted(fps=1, within_s=10, accuracy=0.0)
    one = cameras.count_cameras(
        "yolov3-tiny", film, easy, seconds=60, usd_per_hour=None, models=MODELS
    )
    assert one.search.trials
    assert one.single.full > 0
    assert math.isfinite(one.search.trials[0].accuracy)
