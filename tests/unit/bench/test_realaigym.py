"""The leaderboard's plant and its score, as the rules say them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from forerun.bench.realaigym import ROBOT, expected, scored
from forerun.bench.realaigym_robust import Case
from forerun.bench.realaigym_robust import attempt as attempt_at
from forerun.bench.realaigym_score import Score, score
from forerun.control.agent import BundlePolicy
from forerun_models.bundle import load
from forerun_models.export import Provenance, export_bundle
from forerun_models.recipe import load_recipe
from forerun_models.training.start import build
from forerun_sim.plant import Plant
from forerun_sim.spec import load_robot
from forerun_sim.trial import Trial

PERIOD = 0.002
MASSES, INERTIAS = (0.5235, 0.6256), (0.031887, 0.050870)
CENTRES, LENGTH, GRAVITY = (0.2, 0.25569), 0.2, 9.81


def acceleration(state: np.ndarray, torque: np.ndarray) -> np.ndarray:
    """Of the two links, from their equations (Spong 1995)."""
    (q1, q2, v1, v2), coupling = state, MASSES[1] * LENGTH * CENTRES[1]
    mixed = INERTIAS[1] + coupling * math.cos(q2)
    first = INERTIAS[0] + INERTIAS[1] + MASSES[1] * LENGTH**2 + 2 * coupling * math.cos(q2)
    spin = coupling * math.sin(q2)
    lower = GRAVITY * MASSES[1] * CENTRES[1] * math.sin(q1 + q2)
    upper = GRAVITY * (MASSES[0] * CENTRES[0] + MASSES[1] * LENGTH) * math.sin(q1)
    forces = torque - [-spin * v2 * (2 * v1 + v2) + upper + lower, spin * v1**2 + lower]
    return np.asarray(np.linalg.solve([[first, mixed], [mixed, INERTIAS[1]]], forces))


def runge_kutta(state: np.ndarray, torque: np.ndarray) -> np.ndarray:
    def slope(at: np.ndarray) -> np.ndarray:
        return np.concatenate([at[2:], acceleration(at, torque)])

    one = slope(state)
    two = slope(state + PERIOD / 2 * one)
    three = slope(state + PERIOD / 2 * two)
    four = slope(state + PERIOD * three)
    return np.asarray(state + PERIOD / 6 * (one + 2 * two + 2 * three + four))


def energy(state: np.ndarray) -> float:
    (q1, q2, v1, v2), coupling = state, MASSES[1] * LENGTH * CENTRES[1]
    kinetic = 0.5 * (INERTIAS[0] + MASSES[1] * LENGTH**2) * v1**2 + 0.5 * INERTIAS[1] * (v1 + v2) ** 2
    kinetic += coupling * v1 * (v1 + v2) * math.cos(q2)
    potential = -GRAVITY * (MASSES[0] * CENTRES[0] + MASSES[1] * LENGTH) * math.cos(q1)
    return float(kinetic + potential - GRAVITY * MASSES[1] * CENTRES[1] * math.cos(q1 + q2))


@pytest.fixture
def plant() -> Plant:
    return Plant(load_robot(ROBOT), engine="mujoco", task="acrobot", randomize=False)


def test_plant_follows_the_two_links_equations(plant: Plant) -> None:
    rng = np.random.default_rng(0)
    plant.reset(0, initial=([0.4, -0.9], [3.0, -5.0]))
    for _ in range(300):
        before, torque = plant.true_state(), rng.uniform(-6, 6, 2)
        plant.step(torque)
        assert plant.true_state() == pytest.approx(runge_kutta(before, torque), abs=1e-8)


def test_plant_keeps_its_energy(plant: Plant) -> None:
    plant.reset(0, initial=([1.5, 0.7], [0.0, 0.0]))
    first = energy(plant.true_state())
    for _ in range(500):
        plant.step([0.0, 0.0])
    assert energy(plant.true_state()) == pytest.approx(first, abs=1e-6)


def test_plant_hangs_at_rest_at_first_and_reads_exactly(plant: Plant) -> None:
    reading = plant.reset()
    assert plant.true_state() == pytest.approx(np.zeros(4), abs=0)
    assert [*reading.position, *reading.velocity] == [0.0] * 4
    seen = plant.step([0.0, 1.0])
    assert seen is not None and [*seen.position, *seen.velocity] == pytest.approx(plant.true_state(), abs=0)


def attempt(height: list[bool]) -> np.ndarray:
    """States that hang or stand, at rest."""
    return np.array([[math.pi if up else 0.0, 0.0, 0.0, 0.0] for up in height])


def test_success_is_to_be_up_at_the_end() -> None:
    still = np.zeros((4, 2))
    assert score(attempt([False, False, True, True]), still, PERIOD).success
    assert not score(attempt([False, True, True, False]), still, PERIOD).success
    assert score(attempt([False, True, True, False]), still, PERIOD).total == 0.0


def test_time_counts_until_the_end_effector_is_up_for_good() -> None:
    still = np.zeros((6, 2))
    assert score(attempt([False, False, True, True, True, True]), still, 0.5).time == 1.0
    assert score(attempt([False, True, False, True, True, True]), still, 0.5).time == 1.5
    assert score(attempt([False] * 6), still, 0.5).time == 3.0


def test_costs_of_a_hand_computed_attempt() -> None:
    states = np.array([[0.0, 0.0, 1.0, 0.0], [0.1, -0.2, 2.0, -3.0], [0.1, 0.3, 0.0, 1.0]])
    torques = np.array([[2.0, 0.0], [-1.0, 4.0], [0.0, 2.0]])
    found = score(states, torques, 0.5)
    assert found.energy == pytest.approx(0.1 * 2 + 0.5 * 4)
    assert found.torque == pytest.approx(0.5 * (4 + 1 + 16 + 4))
    assert found.velocity == pytest.approx(0.5 * (1 + 4 + 9 + 1))
    # Changes of -3 and 1 on the one joint, of 4 and -2 on the other.
    assert found.smoothness == pytest.approx(2.0 + 3.0)


def test_score_is_one_less_the_mean_of_five_saturating_terms() -> None:
    terms = [math.tanh(math.pi * share) for share in (0.1, 0.2, 0.3, 0.4, 0.5)]
    found = Score(True, time=2.0, energy=12.0, torque=6.0, smoothness=0.04, velocity=200.0)
    assert found.total == pytest.approx(1 - sum(terms) / 5)
    assert Score(True, 0.0, 0.0, 0.0, 0.0, 0.0).total == 1.0


def test_short_form_swings_the_pendubot_up_and_scores(tmp_path: Path) -> None:
    """Planned in the published physics, as the shipped recipe does after training; followed on the plant for 2.4 s."""
    torch.set_num_threads(1)
    spec, recipe = load_robot(ROBOT), load_recipe(ROBOT, ROBOT)
    model = build(spec, recipe.model.model_copy(update={"members": 1, "elites": 1}))
    model.reset_parameters(torch.Generator().manual_seed(0))
    course = recipe.planner.trajectory.model_copy(update={"starts": 3, "iterations": 12, "knot": 10, "seconds": 2.2})
    planner = recipe.planner.model_copy(update={"trajectory": course, "horizon": 1})
    rows = np.zeros((40, 6), np.float32)
    export_bundle(
        tmp_path / "bundle",
        model.eval(),
        spec,
        recipe.model_copy(update={"task": "pendubot", "planner": planner}),
        [Trial(rows[:, :4], rows[:, 4:], PERIOD, ROBOT)],
        Provenance({}, 0),
    )
    policy = BundlePolicy(load(tmp_path / "bundle", robot=ROBOT), 0, PERIOD)
    plant = Plant(spec, engine="mujoco", task="pendubot", randomize=False)
    reading, states, torques = plant.reset(0), [], []
    for step in range(1200):
        states.append(plant.true_state())
        torques.append(policy(step, reading))
        reading = plant.step(torques[-1]) or reading
    found = scored(Trial(np.array(states, np.float32), np.array(torques, np.float32), PERIOD, ROBOT))
    assert found["success"] and found["time"] < 2.0
    assert found["total"] == pytest.approx(expected(tmp_path / "bundle"), abs=0.05)
    assert found["total"] > 0.6
    bundle = load(tmp_path / "bundle", robot=ROBOT)
    assert attempt_at(bundle, ROBOT, "pendubot", Case(), 0, seconds=2.0)
    assert not attempt_at(bundle, ROBOT, "pendubot", Case(values={"strength.shoulder": 0.3}), 0, seconds=2.0)
