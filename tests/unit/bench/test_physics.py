"""The yardstick of the double pendulum's table, held against what mechanics says of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forerun.bench.physics import Parameters, Physics, advance, energy

FREE = replace(Parameters(), viscous=(0.0, 0.0), coulomb=(0.0, 0.0))
"""The published robot without friction."""


def test_energy_is_conserved_without_friction_and_commands() -> None:
    random = np.random.default_rng(0)
    state = random.normal(0, 2, (20, 4))
    before = energy(FREE, state)
    for _ in range(1000):
        state = advance(FREE, state, np.zeros((20, 2)), 1e-3)
    np.testing.assert_allclose(energy(FREE, state), before, rtol=1e-6)


def test_friction_takes_energy_and_a_motor_gives_what_it_works() -> None:
    state = np.array([[0.5, -0.3, 2.0, 1.0]])
    assert energy(Parameters(), advance(Parameters(), state, np.zeros((1, 2)), 1e-3)) < energy(FREE, state)
    torque, step = np.array([[0.7, -0.4]]), 1e-4
    after = advance(FREE, state, torque, step)
    work = ((after[:, :2] - state[:, :2]) * torque).sum()
    assert energy(FREE, after)[0] - energy(FREE, state)[0] == pytest.approx(work, rel=1e-6)


@pytest.mark.parametrize("mode", [0, 1])
def test_small_oscillations_have_the_frequencies_of_the_linear_chain(mode: int) -> None:
    p = replace(FREE, rotor=0.0)
    (m1, m2), (l1, _), (r1, r2), (i1, i2) = p.mass, p.length, p.centre, p.inertia
    mass = np.array([[i1 + i2 + m2 * l1**2 + 2 * m2 * l1 * r2, i2 + m2 * l1 * r2], [i2 + m2 * l1 * r2, i2]])
    lower = m2 * p.gravity * r2
    stiffness = np.array([[(m1 * r1 + m2 * l1) * p.gravity + lower, lower], [lower, lower]])
    squares, modes = np.linalg.eig(np.linalg.solve(mass, stiffness))
    period = 2 * np.pi / np.sqrt(squares[mode])
    start = np.concatenate([1e-4 * modes[:, mode], [0.0, 0.0]])[None]
    state = start
    for _ in range(2000):
        state = advance(p, state, np.zeros((1, 2)), period / 2000)
    np.testing.assert_allclose(state[:, :2], start[:, :2], rtol=1e-4)
    assert np.abs(state[:, 2:]).max() < 1e-3 * np.abs(start).max() * np.sqrt(squares[mode])


@pytest.mark.parametrize("rows", [1, 4])
def test_a_delay_of_one_step_is_the_command_of_the_step_before(rows: int) -> None:
    random = np.random.default_rng(1)
    past_states = random.normal(0, 1, (3, rows, 4)).astype(np.float32)
    past, actions = (random.normal(0, 1, (3, count, 2)).astype(np.float32) for count in (rows - 1, 6))
    before = past[:, -1:] if rows > 1 else actions[:, :1]
    late = Physics(delay=0.01)(past_states, past, actions)
    shifted = Physics()(past_states, past, np.concatenate([before, actions[:, :-1]], axis=1))
    np.testing.assert_allclose(late, shifted, atol=1e-6)
    between = Physics(delay=0.005)(past_states, past, actions)
    soon = Physics()(past_states, past, actions)
    assert np.abs(between - late).max() < np.abs(soon - late).max()
