"""Exploration of an arm with effort drives: it follows smooth paths, so that it is seen at the speeds at which it will work.

Efforts by chance let an arm fall into its stops, and throw a light joint beyond its speed limit within a control period. A model
learned from that knows little of what a planner needs: postures that are held, and slow ways from one to another.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forerun_sim.engines.mass_matrix import MassMatrix
from forerun_sim.excitation import Excitation, Policy, coloured_noise
from forerun_sim.gravity import GravityCompensation
from forerun_sim.sensors import Reading
from forerun_sim.spec import RobotSpec
from forerun_sim.urdf import robot_urdf

Array = NDArray[np.float64]
_FOLLOWING = 0.5
"""Part of the episodes that follow a path; the others are of efforts by chance, as of any robot."""
_BANDWIDTH = 6.0
"""Of following [rad/s], critically damped: 80 ms of delay and lag bear it."""
_REACH = 0.9
"""Paths stay within this part of a joint's range of positions and speeds."""
_SHAKE = 0.1
_GRAVITY = 9.81
_LEAST = 1e-9
"""Rotor's inertia [kg m^2 or kg], so that a joint at whose end there are only links without mass has some."""


def explore(spec: RobotSpec, task: str | None, rng: np.random.Generator, steps: int) -> Policy:
    """The exploration of one episode: ``Excitation``, and every other time ``Tracking`` for a robot that can follow a path."""
    if follows(spec) and rng.random() < _FOLLOWING:
        return Tracking(spec, task, rng, steps)
    return Excitation(spec, task, rng, steps)


def follows(spec: RobotSpec) -> bool:
    """Whether the robot stands fast, and every joint has an effort drive and limits of position and speed."""
    return (
        spec.urdf is not None
        and spec.base == "fixed"
        and all(
            joint.actuated and joint.interface == "effort" and joint.position is not None and joint.velocity is not None
            for joint in spec.joints
        )
    )


class Tracking:
    """Efforts that lead each joint along a path drawn by chance, by the rigid-body model of the URDF (computed torque, Luh et al.
    1980, without the terms of speed), and some of an ``Excitation`` on top. They stay within limits and slew.

    The robot is not the URDF's: its parameters are drawn, its drives are late. It follows more or less, which is all it need do.
    """

    def __init__(self, spec: RobotSpec, task: str | None, rng: np.random.Generator, steps: int) -> None:
        urdf = robot_urdf(spec)
        self._mass = MassMatrix(urdf, spec.joint_names)
        self._mass.load({}, {}, {}, [_LEAST] * len(spec.joints))
        weighs = 0.0 if spec.actuators.gravity_compensation else _GRAVITY * rng.uniform(0.6, 1.2)
        self._weight = GravityCompensation(urdf, spec.joint_names, weighs)
        self._noise = Excitation(spec, task, rng, steps)
        self._lower, self._upper = spec.action_limits(task)
        self._change = np.array([joint.slew or np.inf for joint in spec.joints]) * spec.control.period
        self._period = spec.control.period
        low, high = np.array([joint.position for joint in spec.joints]).T
        self._speed = np.array([joint.velocity for joint in spec.joints], dtype=float)
        self._path = np.stack(
            [
                _path(rng, steps, self._period, bottom, top, speed)
                for bottom, top, speed in zip(low, high, self._speed, strict=True)
            ],
            axis=1,
        )
        self._moves = np.gradient(self._path, self._period, axis=0) if steps > 1 else np.zeros_like(self._path)
        self._shaken = float(rng.choice((0.0, 0.1, 0.3)))
        """Of what brings a joint to full speed in ``_SHAKE`` s, or of its whole range where that is less."""
        self._last = np.clip(np.zeros(len(spec.joints)), self._lower, self._upper)

    def __call__(self, step: int, reading: Reading) -> Array:
        position, velocity = np.asarray(reading.position), np.asarray(reading.velocity)
        if step == 0:
            self._away = position - self._path[0]
            self._approach = np.maximum(0.3, 2.0 * np.abs(self._away) / self._speed)
        left = self._away * np.exp(-step * self._period / self._approach)
        error = self._path[step] + left - position
        speed_error = self._moves[step] - left / self._approach - velocity
        wanted = _BANDWIDTH * (_BANDWIDTH * error + 2.0 * speed_error)
        inverse = np.asarray(self._mass.inverse(position.tolist()))
        noise = self._shaken * self._noise(step, reading)
        most = self._speed / (_SHAKE * np.diagonal(inverse) * np.maximum(self._upper - self._lower, 1e-9) / 2)
        efforts = np.linalg.solve(inverse, wanted) + self._weight.efforts(position.tolist()) + np.minimum(most, 1.0) * noise
        within = np.clip(efforts, self._lower, self._upper)
        self._last = np.clip(within, self._last - self._change, self._last + self._change)
        return self._last.copy()


def _path(rng: np.random.Generator, steps: int, period: float, low: float, high: float, speed: float) -> Array:
    """Positions [T] within ``low`` and ``high``, smooth, and no faster than a part of ``speed``."""
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    wave = coloured_noise(rng, steps, rng.uniform(2.0, 4.0))
    wave = half * rng.uniform(0.05, 0.8) * wave / max(float(np.abs(wave).max()), 1e-9)
    fastest = float(np.abs(np.diff(wave)).max(initial=0.0)) / period
    slowed = wave * min(1.0, speed * rng.uniform(0.05, _REACH) / max(fastest, 1e-9))
    return np.clip(middle + half * rng.uniform(-0.7, 0.7) + slowed, middle - _REACH * half, middle + _REACH * half)
