"""A camera: frames at a fixed rate, of which a slow machine drops some and answers others late.

MLPerf's MultiStream counted dropped and late queries at a fixed rate until version 1.1; a camera
still needs exactly that. The newest frame wins: when the machine is free it takes the frame that
is newest then, and those in between are dropped.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from runtime.measurement.clock import Clock
from runtime.measurement.workload import Workload


@dataclass
class CameraRun:
    """What became of the frames; latencies in seconds, from the frame's due time to its answer."""

    fps: float
    frames: int = 0
    dropped: int = 0
    late: int = 0
    """Answered after the next frame was due."""
    latencies_s: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def dropped_or_late_share(self) -> float:
        """Of all frames, 0 to 1."""
        return (self.dropped + self.late) / self.frames if self.frames else 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the raw latencies."""
        value = asdict(self)
        del value["latencies_s"]
        return {
            **value,
            "answered": len(self.latencies_s),
            "dropped_or_late_share": self.dropped_or_late_share,
        }


def run_camera(workload: Workload, *, fps: float, frames: int, clock: Clock) -> CameraRun:
    """Answer a camera's frames, one at a time, newest first; ends with its last frame.

    Raises:
        WorkloadError: the engine failed.
    """
    period = 1 / fps
    camera_run = CameraRun(fps=fps, frames=frames)
    start = clock.monotonic()
    last = -1
    while True:
        newest = min(int((clock.monotonic() - start) / period + 1e-9), frames - 1)
        if newest == last:
            if last == frames - 1:
                break
            clock.sleep_until(start + (last + 1) * period)
            continue
        camera_run.dropped += newest - last - 1
        due = start + newest * period
        workload.run(1)
        latency = clock.monotonic() - due
        camera_run.latencies_s.append(latency)
        camera_run.late += latency > period + 1e-9
        last = newest
    # The last frame's own period belongs to the run: 30 frames at 30 a second take one second.
    camera_run.seconds = max(clock.monotonic() - start, frames * period)
    return camera_run
