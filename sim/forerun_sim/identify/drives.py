"""The actuators of many robots at once: ``forerun_sim.actuators`` in numpy, robots in the last axis of every array."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forerun_sim.actuators.model import COMPENSATION
from forerun_sim.actuators.parts import CREEP
from forerun_sim.gravity import GravityCompensation
from forerun_sim.randomization import Parameters
from forerun_sim.spec import RobotSpec
from forerun_sim.urdf import robot_urdf

Array = NDArray[np.float64]
GRAVITY = 9.81
"""What robots in the engines take gravity to be [m/s^2]."""


class Drives:
    """Delay, interface, saturation, lag, gear and losses of all robots' driven joints. ``load`` says which, ``effort`` is asked
    once for each physics step, in turn."""

    def __init__(self, spec: RobotSpec) -> None:
        self._joints = spec.joint_names
        self._driven = [joint.name for joint in spec.actuated]
        self._places = [self._joints.index(name) for name in self._driven]
        self._step, self._substeps = 1.0 / spec.control.physics_rate, spec.control.substeps
        self._servos = [joint.interface == "position" for joint in spec.actuated]
        self._governs = [joint.interface == "velocity" for joint in spec.actuated]
        self._lower, self._upper = (np.array([joint.command_limits[side] for joint in spec.actuated])[:, None] for side in (0, 1))
        self._weight: GravityCompensation | None = None
        if spec.actuators.gravity_compensation:
            self._weight = GravityCompensation(robot_urdf(spec), spec.joint_names, GRAVITY)
        self._reach = max(1, round(COMPENSATION / self._step))
        self._held: Array | None = None
        self._limit = np.array([np.inf if joint.effort is None else joint.effort for joint in spec.actuated])[:, None]

    def load(self, parameters: Sequence[Parameters], of: NDArray[np.int64], position: Array, commands: Array) -> None:
        """Robot n has ``parameters[of[n]]``, begins without effort at ``position`` [J, N], and is given ``commands`` [T, A, N] in
        turn, one a control step from physics step 0 on."""

        def each(key: str) -> Array:
            return np.array([[getattr(one, key)[name] for one in parameters] for name in self._driven])[:, of]

        stiffness, damping = each("stiffness"), each("servo_damping")
        servo, governs = np.array(self._servos)[:, None], np.array(self._governs)[:, None]
        self._forward = np.where(servo, stiffness, np.where(governs, damping, 1.0))
        self._stiffness, self._damping = np.where(servo, stiffness, 0.0), np.where(servo | governs, damping, 0.0)
        lag = each("lag")
        self._keep = np.where(lag > 0, np.exp(-self._step / np.maximum(lag, 1e-12)), 0.0)
        self._strength, self._no_load = each("strength"), each("no_load_speed")
        self._half = 0.5 * each("backlash")
        self._rotor = each("armature") + self._step * self._damping + self._step**2 * self._stiffness
        self._stiction, self._creep, self._share = each("stiction"), np.maximum(each("stiction_speed"), 1e-6), each("gear_loss")
        self._plays, self._curves = bool((self._half > 0).any()), bool((self._no_load > 0).any())
        self._loses = bool((self._stiction > 0).any() or (self._share > 0).any())
        late = np.array([one.delay + one.observation_delay for one in parameters])[of] / self._step
        near = np.round(late)
        self._late = np.where(np.abs(late - near) < 1e-6, near, late)
        idle = np.where(np.array(self._servos)[:, None], position[self._places], 0.0)
        self._commands = np.concatenate([idle[None], commands])
        np.clip(self._commands, self._lower, self._upper, out=self._commands)
        self._output = np.zeros((len(self._driven), len(of)))
        self._lead = np.zeros_like(self._output)
        self._loose = np.full_like(self._output, np.nan)
        """The rotors' own speed while they cross their play, not a number while they touch a flank."""
        self._robots = np.arange(len(of))
        self._held = None

    def _demand(self, step: int) -> Array:
        """The commands [A, N] that count in physics step ``step``: the mean of two where one takes over within it."""
        last, most = len(self._commands) - 1, self._substeps
        row = np.floor((step - self._late) / most)
        share = np.clip((row + 1.0) * most + self._late - step, 0.0, 1.0)
        place = np.clip(row.astype(int) + 1, 0, last)
        now, then = self._commands[place, :, self._robots].T, self._commands[np.minimum(place + 1, last), :, self._robots].T
        starts = row < -1.0  # no command counts yet, nor within this step
        return np.asarray(np.where(starts, now, share * now + (1.0 - share) * then))

    def effort(self, step: int, position: Array, velocity: Array) -> Array:
        """Efforts [J, N] on the joints during physics step ``step``, from the joints' states [J, N] at its beginning."""
        at, speed = position[self._places], velocity[self._places]
        own, own_speed = at, speed
        if self._plays:
            own = at + self._lead
            own_speed = np.where(np.isnan(self._loose), speed, self._loose)
        demand = self._forward * self._demand(step) - self._stiffness * own - self._damping * own_speed
        limit = self._limit
        if self._curves:
            slowed = self._limit * np.maximum(0.0, 1.0 - np.abs(own_speed) / np.where(self._no_load > 0, self._no_load, np.inf))
            limit = np.where((self._no_load > 0) & (demand * own_speed > 0), slowed, self._limit)
        demand = np.minimum(np.maximum(demand, -limit), limit)
        self._output = demand + self._keep * (self._output - demand)
        passed = self._strength * self._output
        if self._plays:
            passed = self._passed(passed, speed)
        if self._loses:
            slowness = speed / self._creep
            lost = self._share * np.abs(passed) + self._stiction * np.exp(-np.minimum(slowness * slowness, 700.0))
            passed = passed - lost * np.tanh(speed / CREEP)
        effort = self._holding(step, position, velocity)
        effort[self._places] += passed
        return effort

    def _holding(self, step: int, position: Array, velocity: Array) -> Array:
        """What the robots do against their own weight [J, N], as ``ActuatorModel`` does."""
        held = np.zeros_like(position)
        if self._weight is None:
            return held
        if self._held is None or step % self._reach == 0:
            efforts = self._weight.of_many(position + 0.5 * self._reach * self._step * velocity)
            for place in self._places:
                held[place] = efforts[place]
            self._held = held
        return self._held.copy()

    def _passed(self, effort: Array, speed: Array) -> Array:
        """What the gears pass on, as ``actuators.parts.Gear`` does."""
        plays, lead, rotor = self._half > 0, self._lead, self._rotor
        touches = (effort * lead > 0) & (np.abs(lead) >= self._half)
        weightless = plays & ~touches & (rotor <= 0)
        crosses = plays & ~touches & ~weightless
        own = np.where(np.isnan(self._loose), speed, self._loose) + self._step * effort / np.maximum(rotor, 1e-12)
        ahead = lead + self._step * (own - speed)
        arrived = np.abs(ahead) >= self._half
        self._loose = np.where(crosses & ~arrived, own, np.nan)
        self._lead = np.where(crosses, np.clip(ahead, -self._half, self._half), lead)
        self._lead = np.where(weightless & (effort != 0), np.copysign(self._half, effort), self._lead)
        return np.asarray(np.where(crosses, 0.0, effort))
