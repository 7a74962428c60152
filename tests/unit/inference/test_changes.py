import time

import cv2
import numpy as np
import pytest

from runtime.inference.changes import ChangeGate

ROWS, COLUMNS = 576, 768


def scene(seed: int = 0) -> np.ndarray:
    """Soft shapes with edges between them, as a street has, uint8 (576, 768, 3)."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(30, 220, (18, 24, 3), dtype=np.uint8)
    return cv2.resize(coarse, (COLUMNS, ROWS), interpolation=cv2.INTER_CUBIC)


def filmed(picture: np.ndarray, *, seed: int, noise: float = 6.0, quality: int = 70) -> np.ndarray:
    """The picture as a camera sends it: sensor noise, then JPEG."""
    generator = np.random.default_rng(seed)
    noisy = np.clip(picture + generator.normal(0, noise, picture.shape), 0, 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def with_walker(picture: np.ndarray, *, x: int, height: int = 60, level: int = 20) -> np.ndarray:
    walked = picture.copy()
    walked[300 : 300 + height, x : x + height // 3] = level
    return walked


def test_the_first_frame_is_always_inferred():
    assert not ChangeGate().unchanged(scene())


def test_the_same_frame_again_is_unchanged():
    gate = ChangeGate()
    gate.unchanged(scene())
    assert gate.unchanged(scene())
    assert gate.changed_share == 0


@pytest.mark.parametrize("quality", [30, 70, 95])
def test_sensor_noise_and_jpeg_artefacts_are_no_change(quality: int):
    gate = ChangeGate(max_age=1000)
    street = scene()
    gate.unchanged(filmed(street, seed=0, quality=quality))
    assert all(gate.unchanged(filmed(street, seed=n, quality=quality)) for n in range(1, 30))


def test_a_walker_who_comes_into_the_picture_is_a_change():
    gate = ChangeGate()
    gate.unchanged(filmed(scene(), seed=0))
    assert not gate.unchanged(filmed(with_walker(scene(), x=400), seed=1))


def test_a_walker_who_moves_by_half_his_width_is_a_change():
    gate = ChangeGate()
    street = np.full((ROWS, COLUMNS, 3), 150, np.uint8)
    gate.unchanged(filmed(with_walker(street, x=400), seed=0))
    assert not gate.unchanged(filmed(with_walker(street, x=410), seed=1))


def test_a_drift_too_slow_for_any_two_neighbouring_frames_is_seen_in_the_end():
    gate = ChangeGate(max_age=1000)
    street = scene()
    drifting = [np.clip(street.astype(int) + step, 0, 255).astype(np.uint8) for step in range(30)]
    inferred = [step for step, frame in enumerate(drifting) if not gate.unchanged(frame)]
    assert inferred == [0, 11, 22]


def test_a_frame_is_compared_with_the_last_inferred_one_not_with_the_one_before():
    gate = ChangeGate()
    street, walked = scene(), with_walker(scene(), x=400)
    gate.unchanged(street)
    gate.unchanged(walked)
    assert gate.unchanged(walked)
    assert not gate.unchanged(street)


def test_after_the_greatest_age_a_still_frame_is_inferred_anyway():
    gate = ChangeGate(max_age=3)
    answers = [gate.unchanged(scene()) for _ in range(9)]
    assert answers == [False, True, True, True, False, True, True, True, False]


def test_an_age_of_zero_infers_every_frame():
    gate = ChangeGate(max_age=0)
    assert not any(gate.unchanged(scene()) for _ in range(3))


def test_a_larger_share_lets_a_small_change_pass():
    gate = ChangeGate(share=0.05)
    gate.unchanged(scene())
    assert gate.unchanged(with_walker(scene(), x=400))


def test_a_share_of_zero_takes_one_changed_cell_for_a_change():
    gate = ChangeGate(share=0.0)
    street = np.full((ROWS, COLUMNS, 3), 150, np.uint8)
    gate.unchanged(street)
    spot = street.copy()
    spot[304:312, 400:408] = 0
    assert not gate.unchanged(spot)


def test_another_size_of_picture_is_a_change():
    gate = ChangeGate()
    street = np.full((ROWS, COLUMNS, 3), 150, np.uint8)
    gate.unchanged(street)
    assert not gate.unchanged(street[: ROWS // 2, : COLUMNS // 2])
    assert not gate.unchanged(street)


def test_forgetting_makes_the_next_frame_count_as_changed():
    gate = ChangeGate()
    gate.unchanged(scene())
    gate.forget()
    assert not gate.unchanged(scene())


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 2000, 3), (2000, 3, 3), (2160, 3840, 3)])
def test_pictures_of_any_proportions_are_compared(shape: tuple[int, int, int]):
    gate = ChangeGate()
    dark, light = np.zeros(shape, np.uint8), np.full(shape, 200, np.uint8)
    assert not gate.unchanged(dark)
    assert gate.unchanged(dark)
    assert not gate.unchanged(light)


def test_looking_at_a_frame_costs_a_small_part_of_decoding_it():
    street = scene()
    _, data = cv2.imencode(".jpg", street)
    gate = ChangeGate()
    looking, decoding = [], []
    for _ in range(40):
        began = time.perf_counter()
        frame = cv2.imdecode(data, cv2.IMREAD_COLOR)
        decoded = time.perf_counter()
        gate.unchanged(frame)
        looking.append(time.perf_counter() - decoded)
        decoding.append(decoded - began)
    assert min(looking) < min(decoding) / 2


@pytest.mark.parametrize(
    "wrong", [{"share": -0.1}, {"share": 1.1}, {"delta": 256}, {"max_age": -1}]
)
def test_a_setting_outside_its_range_is_refused_by_name(wrong: dict[str, float]):
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        ChangeGate(**wrong)
