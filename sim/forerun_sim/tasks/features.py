"""Named features of state and action: what reward terms, termination and success look at."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from forerun_sim.kinematics import Kinematics
from forerun_sim.spec import RobotSpec, parse_feature
from forerun_sim.urdf import robot_urdf

Reader = Callable[[Any, Any, Any], Any]
"""(xp, state [..., S], action [..., A]) -> feature [...]; ``xp`` is the module ``numpy`` or ``torch``."""


class Features:
    """Turns the names of features into functions of state and action, for one robot."""

    def __init__(self, spec: RobotSpec) -> None:
        self._joints = spec.joint_names
        self._actions = spec.action_names
        self._spec = spec

    @cached_property
    def _kinematics(self) -> Kinematics:
        """Made where a feature is of a link; robot.yaml's validation refuses those without a URDF."""
        return Kinematics(robot_urdf(self._spec).frames(self._joints))

    def reader(self, feature: str) -> Reader:
        """The function behind ``feature``, whose names robot.yaml's validation has checked."""
        kind, name = parse_feature(feature)
        if kind == "link":
            link, _, axes = name.rpartition(".")
            place = self.link(link) if len(axes) == 1 else self._direction(link, axes[0])
            column = "xyz".index(axes[-1])
            return lambda xp, state, action: place(xp, state, action)[..., column]
        if kind == "command":
            slot = self._actions.index(name)
            return lambda xp, state, action: action[..., slot]
        index = self._joints.index(name)
        if kind == "velocity":
            index += len(self._joints)
        if kind == "sin":
            return lambda xp, state, action: xp.sin(state[..., index])
        if kind == "cos":
            return lambda xp, state, action: xp.cos(state[..., index])
        return lambda xp, state, action: state[..., index]

    def link(self, name: str) -> Reader:
        """The origin of link ``name`` in the base frame [..., 3], in metres."""
        point, joints = self._kinematics.point, len(self._joints)
        return lambda xp, state, action: point(xp, state[..., :joints], name)

    def _direction(self, name: str, axis: str) -> Reader:
        """The unit vector of an axis of link ``name`` in the base frame [..., 3]."""
        point, joints = self._kinematics.point, len(self._joints)
        x, y, z = (float(axis == known) for known in "xyz")
        return lambda xp, state, action: point(xp, state[..., :joints], name, (x, y, z)) - point(xp, state[..., :joints], name)
