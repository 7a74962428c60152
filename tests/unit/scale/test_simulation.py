"""The simulated servers against queueing theory, and against what must hold of any queue."""

from __future__ import annotations

import random
from statistics import mean

import pytest

from visionstack.scale.simulation import Cameras, Machine, Outcome, Times, simulate

SERVICE = 0.1


def poisson(rate: float, *, frames: int, seed: int) -> Cameras:
    """Frames of one camera at random moments, none dropped, all under way at once."""
    draw = random.Random(seed)  # noqa: S311 - a simulation's draws guard nothing
    moments, now = [], 0.0
    for _ in range(frames):
        now += draw.expovariate(rate)
        moments.append(now)
    return Cameras(moments=[moments], policy="lossless", under_way=frames)


def latencies(outcome: Outcome) -> list[list[float]]:
    """Seconds from capture to result, by camera."""
    return [[came - captured for captured, came in one] for one in outcome.answers]


def answered(outcome: Outcome) -> int:
    return sum(map(len, outcome.answers))


def dropped(outcome: Outcome) -> int:
    return outcome.dropped_client + outcome.dropped_server


def waits(outcome: Outcome, service: float) -> float:
    return mean(latencies(outcome)[0]) - service


@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
def test_the_mean_wait_is_that_of_an_m_d_1_queue(share: float) -> None:
    """Pollaczek and Khinchine: share * service / (2 * (1 - share)) where all take the same time."""
    found = mean(
        waits(
            simulate(
                poisson(share / SERVICE, frames=2500, seed=seed),
                Times(inference={1: [SERVICE]}),
                Machine(threads=1),
            ),
            SERVICE,
        )
        for seed in range(3)
    )
    assert found == pytest.approx(share * SERVICE / (2 * (1 - share)), rel=0.1)


def test_the_mean_wait_is_that_of_an_m_g_1_queue_where_times_differ() -> None:
    """The same with two times: arrivals a second * E[S^2] / (2 * (1 - share))."""
    times, share = [0.02, 0.18], 0.6
    second_moment = mean(one**2 for one in times)
    found = mean(
        waits(
            simulate(
                poisson(share / SERVICE, frames=2500, seed=seed),
                Times(inference={1: times}),
                Machine(threads=1),
                seed=seed,
            ),
            SERVICE,
        )
        for seed in range(3)
    )
    assert found == pytest.approx(share / SERVICE * second_moment / (2 * (1 - share)), rel=0.12)


TIMES = Times(decode=[0.004, 0.006], inference={1: [0.07, 0.1]}, finish=[0.001])


@pytest.mark.parametrize("cameras", [1, 5, 9, 16, 40])
@pytest.mark.parametrize("machine", [Machine(), Machine(processors=2, streams=2)])
def test_every_frame_is_answered_once_and_in_order_or_dropped(
    cameras: int, machine: Machine
) -> None:
    times = Times(
        decode=TIMES.decode, inference=TIMES.inference, side_by_side=[0.15], finish=TIMES.finish
    )
    outcome = simulate(Cameras.evenly(cameras, fps=2, seconds=20), times, machine)

    assert answered(outcome) + dropped(outcome) == outcome.taken == cameras * 40
    for one in outcome.answers:
        captured = [moment for moment, _ in one]
        assert captured == sorted(set(captured))
    assert all(latency > 0 for one in latencies(outcome) for latency in one)
    assert max(outcome.processors_busy) <= 1 + 1e-9


def test_work_is_neither_lost_nor_made_up() -> None:
    """The utilisation law: share in use = frames a second * work of a frame."""
    times = Times(decode=[0.005], inference={1: [0.08]}, finish=[0.002])
    for cameras in (1, 4, 7, 30):
        outcome = simulate(Cameras.evenly(cameras, fps=1, seconds=60), times, Machine())
        work = answered(outcome) * 0.087 / outcome.seconds
        assert outcome.processors_busy[0] == pytest.approx(work, rel=1e-6)


def test_nothing_waits_where_frames_come_apart_from_each_other() -> None:
    times = Times(decode=[0.005], inference={1: [0.08]}, finish=[0.002], around=[0.001])
    outcome = simulate(Cameras.evenly(11, fps=1, seconds=20), times, Machine())
    for one in latencies(outcome):
        assert one == pytest.approx([0.088] * 20, abs=1e-6)


def test_a_server_beyond_its_limit_answers_as_much_as_it_can_and_drops_the_rest() -> None:
    times = Times(decode=[0.005], inference={1: [0.08]}, finish=[0.002])
    outcome = simulate(Cameras.evenly(64, fps=1, seconds=60), times, Machine(), until=60)
    assert answered(outcome) / outcome.seconds == pytest.approx(1 / 0.087, rel=0.05)
    assert dropped(outcome) > answered(outcome)
    assert outcome.engine_busy[0] > 0.95
    shares = [len(one) for one in latencies(outcome)]
    assert max(shares) - min(shares) <= 2, "streams take turns"
    # The newest frame of the stream whose turn it is: as old as chance has it, not the oldest.
    waited = [latency for one in latencies(outcome) for latency in one]
    assert mean(waited) < 0.8
    assert max(waited) < 1.5
    assert 0 <= outcome.taken - answered(outcome) - dropped(outcome) <= 64 * 3


def test_two_servers_answer_twice_as_much_and_a_batch_saves_what_it_was_measured_to_save() -> None:
    times = Times(inference={1: [0.1]})
    one, two = (
        simulate(Cameras.evenly(60, fps=1, seconds=40), times, Machine(), servers=servers, until=40)
        for servers in (1, 2)
    )
    assert answered(two) / two.seconds == pytest.approx(2 * answered(one) / one.seconds, rel=0.05)
    batches = Times(inference={size: [0.1] for size in range(1, 5)})
    many = simulate(Cameras.evenly(60, fps=1, seconds=40), batches, Machine(max_batch=4), until=40)
    assert answered(many) / many.seconds == pytest.approx(4 * answered(one) / one.seconds, rel=0.1)


def test_steps_share_a_processor_evenly() -> None:
    """A frame that comes while another is inferred is decoded beside it, and slows it down."""
    times = Times(decode=[0.02], inference={1: [0.1]})
    cameras = Cameras(moments=[[0.0], [0.05]])
    first, second = (one[0] for one in latencies(simulate(cameras, times, Machine())))
    # 20 ms decoding; 30 ms of the network; 20 + 20 ms beside the other's decoding; 50 ms alone.
    assert first == pytest.approx(0.14, abs=1e-5)
    assert second == pytest.approx(0.19, abs=1e-5)
