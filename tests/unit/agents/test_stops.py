"""Stops are told from places beyond which a joint has merely not been, on joints of which it is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from forerun_models.agents.stops import find_stops, positions

_STEP = 0.02
Drive = Callable[[float, float, np.random.Generator], float]


def moved(force: Callable[[float, float], float], drive: Drive, stop: float | None = None, soft: bool = False) -> list[Tensor]:
    """Six trials of 200 steps of a joint under ``force`` (position, velocity) and a ``drive``, whose action is held for five
    steps: observation (position, velocity), action, following. Its ``stop`` at both sides takes all velocity, or is a stiff
    spring (``soft``)."""
    random = np.random.default_rng(0)
    rows = []
    for _ in range(6):
        position, velocity, action = random.uniform(-0.5, 0.5), 0.0, 0.0
        for step in range(200):
            action = drive(position, velocity, random) if step % 5 == 0 else action
            before = position, velocity
            for _ in range(4):
                push = 10 * action + force(position, velocity)
                if stop is not None and soft:
                    beyond = max(abs(position) - stop, 0.0) * np.sign(position)
                    push -= 4000 * beyond + (80 * velocity if beyond else 0.0)
                velocity += _STEP / 4 * push
                position += _STEP / 4 * velocity
                if stop is not None and not soft and abs(position) > stop:
                    position, velocity = float(np.clip(position, -stop, stop)), 0.0
            rows.append((*before, action, position, velocity))
    table = torch.tensor(np.array(rows), dtype=torch.float32)
    return [table[:, :2], table[:, 2:3], table[:, 3:]]


def at_random(position: float, velocity: float, random: np.random.Generator) -> float:
    return float(random.uniform(-1, 1))


def kept_within(position: float, velocity: float, random: np.random.Generator) -> float:
    """Goes to and fro, and turns round by itself before 1."""
    aim = 0.8 * np.sign(random.uniform(-1, 1))
    return float(np.clip(4 * (aim - position) - 1.2 * velocity, -1, 1))


def whirled(position: float, velocity: float, random: np.random.Generator) -> float:
    """Strong enough to turn all the way round."""
    return 4 * at_random(position, velocity, random)


def held_out(position: float, velocity: float, random: np.random.Generator) -> float:
    """Goes to one place, never beyond, and stays there."""
    return float(np.clip(4 * (1.0 - position) - 1.2 * velocity + 0.1 * random.normal(), -2, 2))


def damped(position: float, velocity: float) -> float:
    return -1.0 * velocity


def swinging(position: float, velocity: float) -> float:
    return -15 * float(np.sin(position)) - 0.5 * velocity


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("force", [damped, swinging])
def test_a_stop_is_found_where_it_is(force: Callable[[float, float], float], soft: bool) -> None:
    rows = moved(force, lambda *now: 2 * at_random(*now), stop=0.6, soft=soft)
    ends, blocked = find_stops(*rows)
    assert ends[:, 0].abs().tolist() == pytest.approx([0.6, 0.6], abs=0.08 if soft else 1e-6)
    assert ends[0, 0] < 0 < ends[1, 0]
    assert ends[:, 1].isinf().all(), "a velocity does not end at a stop"
    assert 10 < int(blocked.sum()) < 800
    assert (rows[2][blocked, 0].abs() > 0.45).all()


@pytest.mark.parametrize("force", [damped, swinging])
@pytest.mark.parametrize("drive", [at_random, kept_within, whirled, held_out])
def test_where_a_joint_has_merely_not_been_is_no_stop(force: Callable[[float, float], float], drive: Drive) -> None:
    rows = moved(force, drive)
    assert positions(rows[0], rows[2]).tolist() == [0]
    ends, blocked = find_stops(*rows)
    assert ends.isinf().all()
    assert not blocked.any()


def test_a_stop_on_one_side_leaves_the_other_open() -> None:
    observation, action, following = moved(damped, lambda *now: 0.3 + 2 * at_random(*now), stop=0.6)
    seen = observation[:, 0] > -0.3
    ends, _ = find_stops(observation[seen], action[seen], following[seen])
    assert ends[:, 0].tolist() == pytest.approx([-np.inf, 0.6])
