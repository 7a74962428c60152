"""What the pipeline's threads tell of their work."""

from __future__ import annotations

import numpy as np

from runtime.streaming.messages import Encoding, Frame
from runtime.streaming.models import ModelHost, Served
from runtime.streaming.pipeline import Pipeline
from runtime.streaming.scheduler import Infer
from tests.unit.streaming.conftest import FakeDetector, make_session, offer


def test_engines_side_by_side_are_occupied_by_their_share_of_the_time() -> None:
    class Observer:
        def batch_inferred(self, *, model: str, frames: int, microseconds: int) -> None:
            occupied.append(microseconds)

    occupied: list[int] = []
    detector = FakeDetector(seconds=0.02)
    served = Served(offer(), detector, abreast=detector, streams=4)
    session = make_session(host=ModelHost(served))
    pipeline = Pipeline(
        settled=lambda works: None, observer=Observer(), frame_pixels=10**6, threads=1
    )
    works = []
    for sequence, abreast in enumerate((False, True)):
        work = session.take(Frame(sequence, 0, Encoding.PNG, b""), received=0)
        work.prepared = np.zeros((8, 8, 3), np.uint8)
        pipeline._infer(Infer(served, (work,), abreast=abreast))
        works.append(work)
    assert occupied == [works[0].inference, works[1].inference // 4]
