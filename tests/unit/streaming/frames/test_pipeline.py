"""What the pipeline's threads tell of their work."""

from __future__ import annotations

import numpy as np

from runtime.protocol.messages import Encoding, Frame
from runtime.streaming.frames.pipeline import Pipeline
from runtime.streaming.frames.scheduler import Infer
from runtime.streaming.models import LoadedModel, ModelHost
from tests.unit.streaming.conftest import FakeDetector, make_session, offer


def test_engines_side_by_side_are_occupied_by_their_share_of_the_time() -> None:
    class Observer:
        def batch_inferred(self, *, model: str, frames: int, microseconds: int) -> None:
            occupied.append(microseconds)

    occupied: list[int] = []
    detector = FakeDetector(seconds=0.02)
    model = LoadedModel(offer(), detector, parallel=detector, streams=4)
    session = make_session(host=ModelHost(model))
    pipeline = Pipeline(done=lambda jobs: None, observer=Observer(), frame_pixels=10**6, threads=1)
    jobs = []
    for sequence, parallel in enumerate((False, True)):
        job = session.take(Frame(sequence, 0, Encoding.PNG, b""), received=0)
        job.prepared = np.zeros((8, 8, 3), np.uint8)
        pipeline._infer(Infer(model, (job,), parallel=parallel))
        jobs.append(job)
    assert occupied == [jobs[0].inference, jobs[1].inference // 4]
