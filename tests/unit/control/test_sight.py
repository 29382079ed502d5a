"""Agents that act by pictures: the newest one counts, and without one the robot stops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from forerun.control.loading import warm_up
from forerun.control.sight import picture_of
from forerun.control.ticks import Verdict
from forerun_models.bundle import Bundle
from forerun_sim.errors import InputError
from support.bench import Bench
from support.tiny_bundle import PICTURE, Law

SEEING = Law(bias=(0.0,), sight=0.01)
OPTIONS = {"trained_on": {"options": {"camera": "front"}}, "slew": [1e6]}
Make = Callable[..., Bench]


def grey(brightness: int) -> np.ndarray:
    return np.full(PICTURE, brightness, np.uint8)


def test_the_plan_follows_the_newest_picture(bench: Make) -> None:
    table = bench(SEEING, **OPTIONS)
    for brightness in (100, 200):
        table.controller.sight.see(table.now, grey(brightness))
        assert table.run(1).verdict is Verdict.PLAN
    assert table.sent == pytest.approx([1.0, 2.0])


def test_without_a_picture_the_robot_waits_and_with_an_old_one_it_stops(bench: Make) -> None:
    table = bench(SEEING, recovery={"stale": "resume", "misses": "resume", "disagreement": "resume"}, **OPTIONS)
    tick = table.run(1)
    assert tick.verdict is not Verdict.PLAN and "no picture of camera 'front'" in tick.reason
    table.controller.sight.see(table.now, grey(100))
    assert table.run(3).verdict is Verdict.PLAN
    tick = table.run(8)  # the states go on, the camera does not
    assert tick.verdict is not Verdict.PLAN and "the newest picture is" in tick.reason and table.sent[-1] == 0.0


def test_pictures_of_another_size_are_told(bench: Make) -> None:
    table = bench(SEEING, **OPTIONS)
    table.controller.sight.see(table.now, np.zeros((4, 4, 3), np.uint8))
    assert "pictures are [4, 4, 3], the bundle takes [8, 8, 3]" in table.run(1).reason


def test_a_bundle_that_sees_is_warmed_up_and_follows_only_one_that_sees(bench: Make, make_bundle: Callable[..., Bundle]) -> None:
    seeing = make_bundle(SEEING, **OPTIONS)
    warm_up(seeing)
    bench(SEEING, **OPTIONS).controller.offer(seeing)
    with pytest.raises(InputError, match="acts by pictures of camera 'front'"):
        bench(Law()).controller.offer(seeing)


def test_messages_become_pictures() -> None:
    rows = np.arange(2 * 8, dtype=np.uint8).reshape(2, 8)  # two pixels and two bytes of padding a row
    picture = picture_of("rgb8", 2, 2, 8, rows.tobytes())
    assert picture.shape == (2, 2, 3) and picture[1, 0].tolist() == [8, 9, 10]
    assert picture_of("bgr8", 2, 2, 8, rows.tobytes())[1, 0].tolist() == [10, 9, 8]
    with pytest.raises(InputError, match="encoded as 'mono8'; allowed: rgb8, bgr8"):
        picture_of("mono8", 2, 2, 2, b"1234")
    with pytest.raises(InputError, match="has 3 bytes"):
        picture_of("rgb8", 2, 2, 6, b"123")
