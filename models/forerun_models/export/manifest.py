"""bundle.json from a robot.yaml and a task."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from forerun_models.bundle import CAUSES, Calibration, Ground, Manifest
from forerun_sim.actuators import per_joint
from forerun_sim.spec import RobotSpec
from forerun_sim.urdf import robot_urdf


def manifest_of(
    robot: RobotSpec,
    task: str | None,
    *,
    agent: str,
    history: int,
    horizon: int,
    noise_size: int,
    carry: Mapping[str, tuple[int, ...]],
    thresholds: Mapping[str, float],
    trained_on: Mapping[str, Any],
    metrics: Mapping[str, Any],
    parent: str | None,
    calibration: Calibration | None = None,
    ground: Ground | None = None,
) -> Manifest:
    """The manifest of a bundle for ``robot`` and ``task`` (None: a model alone, no agent); ``files`` is still empty."""
    lower, upper = robot.action_limits(task)
    joints, safety = robot.joints, robot.safety
    goal = robot.task(task).goal if task is not None else None

    def limit(value: float | None) -> float:
        return math.inf if value is None else value

    return Manifest(
        robot=robot.name,
        task=task or "",
        agent=agent,
        joints=robot.joint_names,
        actions=robot.action_names,
        interfaces=tuple(joint.interface for joint in robot.actuated),
        position_lower=np.array([joint.position[0] if joint.position else -math.inf for joint in joints]),
        position_upper=np.array([joint.position[1] if joint.position else math.inf for joint in joints]),
        velocity_limit=np.array([limit(joint.velocity) for joint in joints]),
        deceleration=np.array([math.nan if joint.deceleration is None else joint.deceleration for joint in joints]),
        command_lower=lower,
        command_upper=upper,
        slew=np.array([limit(joint.slew) for joint in robot.actuated]),
        rate=robot.control.rate,
        history=history,
        horizon=horizon,
        command_rate=robot.control.command_rate or robot.control.rate,
        command_delay=robot.control.command_delay,
        safe_action=safety.action,
        damp_gain=np.array([*per_joint(safety.damp_gain, robot.actuated).values()]),
        stale_after=safety.stale_after,
        max_misses=safety.max_misses,
        velocity_margin=safety.velocity_margin,
        disagreement_factor=safety.disagreement_factor,
        max_disagreeing=safety.max_disagreeing,
        recover_after=safety.recover_after,
        recovery={cause: getattr(safety, f"on_{cause}") for cause in CAUSES},
        command_timeout=safety.command_timeout,
        goal_names=goal.names if goal else (),
        goal_default=np.array(goal.default if goal else (), dtype=float),
        noise_size=noise_size,
        carry={name: (shape, 0.0) for name, shape in carry.items()},
        thresholds=dict(thresholds),
        joint_states_topic=robot.topics.joint_states,
        commands_topic=robot.topics.commands,
        links=robot_urdf(robot).frames(robot.joint_names) if robot.has_urdf else (),
        trained_on=dict(trained_on),
        metrics=dict(metrics),
        parent=parent,
        files={},
        calibration=calibration,
        ground=ground,
    )
