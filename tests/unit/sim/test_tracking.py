"""Arms with effort drives explore at the speeds and in the postures in which they will work, within what they are allowed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.support.urdfs import write_arm

from forerun_sim.authoring import new_robot
from forerun_sim.collect import collect
from forerun_sim.excitation import Excitation, PolicyFactory
from forerun_sim.spec import RobotSpec, load_robot
from forerun_sim.tracking import Tracking, explore, follows
from forerun_sim.trial import Trial


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> RobotSpec:
    """Two joints, drafted from a URDF."""
    folder = tmp_path_factory.mktemp("arm")
    new_robot(write_arm(folder / "source") / "arm.urdf", folder / "mine")
    return load_robot(folder / "mine")


def trials(spec: RobotSpec, policy: PolicyFactory, episodes: int = 12) -> list[Trial]:
    runs = collect(spec, episodes=episodes, steps=100, policy=policy)
    try:
        return [run.trial(spec) for run in runs]
    finally:
        runs.close()


def too_fast(spec: RobotSpec, found: list[Trial]) -> float:
    """Part of the rows in which a joint is faster than it may be."""
    speeds = np.concatenate([trial.states[:, len(spec.joints) :] for trial in found])
    return float((np.abs(speeds) > [joint.velocity for joint in spec.joints]).any(axis=1).mean())


def test_an_arm_is_seen_where_it_works(arm: RobotSpec) -> None:
    led, by_chance = (trials(arm, policy) for policy in (Tracking, Excitation))
    assert too_fast(arm, led) < 0.1 < 0.3 < too_fast(arm, by_chance)
    for number, joint in enumerate(arm.joints):
        assert joint.position is not None
        (low, high), seen = joint.position, np.concatenate([trial.states[:, number] for trial in led])
        edge = 0.02 * (high - low)
        assert ((seen < low + edge) | (seen > high - edge)).mean() < 0.05, joint.name
        assert np.ptp(np.quantile(seen, (0.05, 0.95))) > 0.5 * (high - low), joint.name


def test_efforts_stay_within_limits_and_slew(arm: RobotSpec) -> None:
    lower, upper = arm.action_limits("hold")
    for run in collect(arm, episodes=4, steps=100, task="hold", policy=Tracking):
        assert (run.command >= lower).all()
        assert (run.command <= upper).all()
        for column, joint in zip(run.command.T, arm.actuated, strict=True):
            assert joint.slew is not None
            assert np.abs(np.diff(column)).max() <= joint.slew * arm.control.period + 1e-9


def test_half_of_the_episodes_of_an_arm_follow_a_path_and_none_of_a_robot_that_cannot(arm: RobotSpec) -> None:
    rng = np.random.default_rng(0)
    kinds = [type(explore(arm, "hold", rng, 10)) for _ in range(200)]
    assert 80 < kinds.count(Tracking) < 120
    assert kinds.count(Excitation) == 200 - kinds.count(Tracking)
    assert follows(load_robot("panda"))
    for name in ("cartpole", "pendulum", "double_pendulum", "panda_velocity", "so101", "husky", "a1"):
        assert not follows(load_robot(name)), name


def test_a_robot_of_logs_alone_has_no_path_to_follow(arm: RobotSpec, tmp_path: Path) -> None:
    assert not follows(arm.model_copy(update={"urdf": None}).at(tmp_path))
