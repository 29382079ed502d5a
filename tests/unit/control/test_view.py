"""What is drawn of a tick: where the robot stands, where each member imagines it, and how alarming that is."""

from __future__ import annotations

import numpy as np
import pytest

from forerun.control.states import State
from forerun.control.ticks import Tick, Verdict
from forerun.control.view import View
from forerun_models.bundle import Decision, Manifest
from forerun_sim.kinematics import Frame
from forerun_sim.spec import load_robot
from forerun_sim.urdf import robot_urdf
from support.tiny_bundle import Body


def manifest(name: str, **overrides: object) -> Manifest:
    spec = load_robot(name)
    links = robot_urdf(spec).frames(spec.joint_names) if spec.urdf else ()
    body = Body(robot=name, joints=spec.joint_names, actions=spec.action_names, overrides={"links": links, **overrides})
    return body.manifest(10)


def tick(imagined: np.ndarray, position: np.ndarray, disagreement: float = 0.1, age: int = 0) -> Tick:
    plan = np.zeros((imagined.shape[1], 1), np.float32)
    decision = Decision(plan, imagined.mean(axis=0), 0.0, disagreement, imagined, {})
    state = State(0.0, position, np.zeros_like(position), 1)
    return Tick(0.0, plan[0].astype(float), Verdict.PLAN, state=state, decision=decision, age=age)


def test_paths_are_the_tip_of_each_member_from_where_the_robot_stands() -> None:
    view = View(manifest("double_pendulum"))
    angles = np.linspace(0.1, 1.0, 10, dtype=np.float32)
    imagined = np.zeros((3, 10, 4), np.float32)
    imagined[:, :, 0] = angles * np.array([0.5, 1.0, 1.5])[:, None]
    scene = view.scene(tick(imagined, np.zeros(2)))
    assert scene.imagined.shape == (1, 3, 11, 3) and scene.plan.shape == (1, 11, 3) and scene.alarm.shape == (11,)
    assert np.allclose(scene.imagined[0, :, 0], [0.0, 0.0, -0.5])
    assert np.allclose(np.linalg.norm(scene.imagined, axis=-1), 0.5)
    assert np.allclose(np.abs(scene.imagined[0, :, -1, 0]), 0.5 * np.sin([0.5, 1.0, 1.5]), atol=1e-6)
    assert np.allclose(scene.bones, [[[0, 0, 0], [0, 0, -0.2]], [[0, 0, -0.2], [0, 0, -0.5]]])
    assert view.scene(tick(imagined, np.zeros(2), age=4)).plan.shape == (1, 7, 3)


def test_alarm_grows_with_the_spread_of_the_members_up_to_twice_the_threshold() -> None:
    view = View(manifest("pendulum", thresholds={"disagreement": 0.5}, metrics={"state_std": [2.0, 4.0]}))
    spread = np.zeros((2, 10, 2), np.float32)
    spread[0] = np.linspace(0.0, 20.0, 10)[:, None] * [2.0, 4.0] / 4.0
    alarm = view.scene(tick(spread, np.zeros(1))).alarm
    assert alarm[0] == alarm[1] == 0.0 and alarm[-1] == 1.0 and (np.diff(alarm) >= 0).all()
    # Half of 20/9 standard deviations, divided by 2 (two members) and by twice the threshold.
    assert alarm[2] == pytest.approx(20.0 / 9 / 4 / 2 / 1.0, rel=1e-5)
    alone = view.scene(tick(spread[:1], np.zeros(1), disagreement=0.5)).alarm
    assert np.allclose(alone[1:], 0.5)


def test_robot_without_links_is_drawn_as_rows_over_time() -> None:
    view = View(manifest("panda", links=()))
    imagined = np.zeros((2, 10, 14), np.float32)
    imagined[1, :, 6] = 1.0
    scene = view.scene(tick(imagined, np.zeros(7)))
    assert scene.imagined.shape == (7, 2, 11, 3) and len(view.labels) == 7  # short enough to be drawn whole
    assert np.allclose(scene.imagined[6, 1, 1:, 2] - scene.imagined[6, 0, 1:, 2], 0.2)
    assert np.allclose(scene.imagined[0, 0, :, 0], np.linspace(0, 1, 11))


def test_nothing_is_imagined_without_a_plan_or_a_model() -> None:
    view = View(manifest("cartpole"))
    stopped = Tick(0.0, None, Verdict.STOPPED, "emergency stop", State(0.0, np.zeros(2), np.zeros(2), 1))
    scene = view.scene(stopped)
    assert len(scene.bones) and not scene.plan.size and not scene.imagined.size and scene.text == "stopped: emergency stop"
    blind = Decision(np.zeros((1, 1), np.float32), np.zeros((0, 4), np.float32), 0.0, np.nan, np.zeros((0, 0, 4), np.float32), {})
    scene = view.scene(Tick(0.0, np.zeros(1), Verdict.PLAN, decision=blind))
    assert not scene.bones.size and not scene.plan.size and scene.text == "plan"


def test_a_last_link_without_a_tip_is_followed_by_its_centre_of_mass_and_long_plans_are_thinned() -> None:
    links = (Frame("base"), Frame("rod", 0, 0, "continuous", (0.0, 1.0, 0.0), com=(0.0, 0.0, -0.4)))
    view = View(manifest("pendulum", links=links))
    scene = view.scene(tick(np.zeros((40, 500, 2), np.float32), np.zeros(1)))
    assert np.allclose(scene.plan[0], [0.0, 0.0, -0.4]) and np.allclose(scene.bones, [[[0, 0, 0], [0, 0, -0.4]]])
    assert scene.imagined.shape == (1, 10, 22, 3)
