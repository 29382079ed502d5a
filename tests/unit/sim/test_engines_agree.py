"""Two engines, one meaning: PyBullet and MuJoCo run a robot's URDF, actuators and friction to the same trajectory.

Over 1 s under the same commands, the engines' true states differ by no more than ``BOUNDS`` says, nominal and randomized, still
and under random commands; a chain without friction is the same to rounding. What is left has three causes: dry friction (each
solver ends its iterations somewhere; a stuck joint may creep by 0.5 mrad/s in PyBullet), damping (explicit in PyBullet, implicit
in MuJoCo), and stops; wheels and feet add contact, which each solver softens in its own way. A chaotic robot, as the double
pendulum at full torque, multiplies them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from forerun_sim import resources
from forerun_sim.collect import collect
from forerun_sim.plant import Plant
from forerun_sim.spec import RobotSpec, load_robot

BOUNDS = {
    **{"cartpole": (0.001, 0.006), "pendulum": (0.0005, 0.003), "double_pendulum": (0.05, 0.25), "so101": (0.03, 1.0)},
    **{"husky": (0.06, 0.7), "a1": (0.03, 2.0)},
}
"""Largest difference of a position [rad or m] and of a velocity [rad/s or m/s] within 1 s."""
ELSE = (0.01, 0.2)
STRONG = {"cartpole": 1.0, "pendulum": 1.0, "double_pendulum": 1.0, "so101": 0.3, "panda": 0.1}
"""Part of the command limits that random commands use: an arm at full torque is at its stops within a tenth of a second."""
SOME = 0.2
STANDING = ("a1",)
"""Robots that are compared at rest alone: where feet leave the ground and meet it again, engines part within a second."""


def robots() -> Iterator[str]:
    """The shipped robots that both engines run."""
    for name in resources.available("robots"):
        spec = load_robot(name)
        if spec.urdf is not None and not spec.objects:
            yield name


def without_cameras(name: str) -> RobotSpec:
    """The robot without what PyBullet alone can draw."""
    return load_robot(name).model_copy(update={"cameras": {}})


def trajectory(plant: Plant, episode: int, random: bool) -> np.ndarray:
    """True states [T + 1, S] over 1 s."""
    spec = plant.spec
    lower, upper = spec.action_limits()
    rng, size = np.random.default_rng(episode), STRONG.get(spec.name, SOME)
    plant.reset(episode)
    rows = [plant.true_state()]
    start = np.array([rows[0][spec.joint_names.index(joint.name)] for joint in spec.actuated])
    rest = np.where([joint.interface == "position" for joint in spec.actuated], start, 0.0)
    command = rest
    for step in range(round(spec.control.rate)):
        if random and step % 5 == 0:
            command = rest + size * rng.uniform(lower, upper)
        plant.step(command)
        rows.append(plant.true_state())
    return np.array(rows)


def difference(spec: RobotSpec, randomize: bool, random: bool) -> tuple[float, float]:
    """The largest differences of positions and velocities in three episodes."""
    bullet, mujoco = (Plant(spec, engine=engine, seed=3, randomize=randomize) for engine in ("bullet", "mujoco_urdf"))
    worst = np.zeros(len(spec.joints) * 2)
    for episode in range(3):
        apart = np.abs(trajectory(bullet, episode, random) - trajectory(mujoco, episode, random))
        assert bullet.parameters == mujoco.parameters
        worst = np.maximum(worst, apart.max(axis=0))
    bullet.close()
    return float(worst[: len(spec.joints)].max()), float(worst[len(spec.joints) :].max())


@pytest.mark.parametrize("randomize", [False, True], ids=["nominal", "randomized"])
@pytest.mark.parametrize("name", list(robots()))
def test_both_engines_agree_on_every_shipped_robot(name: str, randomize: bool) -> None:
    spec = without_cameras(name)
    position, velocity = BOUNDS.get(name, ELSE)
    for random in (False,) if name in STANDING else (False, True):
        apart = difference(spec, randomize, random)
        assert apart[0] < position and apart[1] < velocity, (random, apart)


@pytest.mark.parametrize("name", list(robots()))
def test_the_engines_know_the_same_robot(name: str) -> None:
    spec = without_cameras(name)
    bullet, mujoco = (Plant(spec, engine=engine).nominal.flat() for engine in ("bullet", "mujoco_urdf"))
    assert bullet == pytest.approx(mujoco, abs=1e-9)


def test_a_chain_without_friction_is_the_same_to_rounding() -> None:
    spec = load_robot("double_pendulum")
    free = {f"{kind}.{joint}": 0.0 for kind in ("coulomb", "viscous", "damping") for joint in ("shoulder", "elbow")}
    rows = []
    for engine in ("bullet", "mujoco_urdf"):
        plant = Plant(spec, engine=engine, randomize=False)
        plant.reset(0, initial=([1.0, 0.5], [0.0, 0.0]), parameters=free | {"com.lower.x": 0.02, "payload": 0.1})
        for _ in range(100):
            plant.step([1.0, -0.3])
        rows.append(plant.true_state())
    assert rows[0] == pytest.approx(rows[1], abs=1e-9)


def test_trials_can_be_collected_from_the_second_engine() -> None:
    trials = list(collect(load_robot("cartpole"), episodes=2, seed=1, steps=20, engine="mujoco_urdf"))
    assert len(trials) == 2 and all(len(trial.time) >= 20 for trial in trials)
