"""Limits, watch and safe action, as functions of their inputs.

What is published has passed ``limit_command``: finite, within the command limits, and no further from the last command than
the slew limit allows in the time since then. What the robot does is watched by ``breach``. What happens when the plan may not
be executed is ``safe_target``, approached through ``limit_command`` as well.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forerun.control.limits import Limits, Vector


@dataclass(frozen=True)
class Breach:
    """A limit that the robot has left (``outside``) or can no longer keep by braking."""

    reason: str
    outside: bool


def limit_command(limits: Limits, wanted: Vector, last: Vector, elapsed: float = math.inf) -> Vector:
    """The admissible command nearest to ``wanted`` [A], given the one sent ``last`` [A], ``elapsed`` seconds ago.

    The slew limit holds per second: ticks that come early may change the command by less. More than a period since ``last``
    counts as one, and so does nan (nothing was sent yet).

    The slew limit comes first: from outside the command limits (a bundle with narrower ones took over) the command walks back
    in, it does not jump. ``wanted`` must be finite.
    """
    inside = np.clip(wanted, limits.command_lower, limits.command_upper)
    # The rounding of last + step must not make the step larger than the limit.
    step = limits.step(elapsed) * (1 - 1e-9)
    return np.asarray(np.clip(inside, last - step, last + step))


def safe_target(limits: Limits, last: Vector | None, velocity: Vector | None) -> Vector | None:
    """Where the safe action leads [A]; None when there is nothing to say (a position joint that was never commanded).

    A stop is anchored to the command sent ``last``, not to the measured position: a joint under load sags, and a stop at the
    measured position would let it sag further with every stop.

    Args:
        limits: with ``safe_action``: ``zero`` effort or velocity, ``hold`` the last position, ``damp`` against ``velocity``.
        last: [A] the last command sent.
        velocity: [J] measured and fresh, or None; damping without it is zero effort.
    """
    held = limits.position_commanded
    if held.any() and last is None:
        return None
    target = np.zeros(len(limits.actions))
    if limits.safe_action == "damp" and velocity is not None:
        effort = np.array([kind == "effort" for kind in limits.interfaces])
        target[effort] = -limits.damp_gain[effort] * velocity[limits.acting[effort]]
    if last is not None:
        target[held] = last[held]
    return np.clip(target, limits.command_lower, limits.command_upper)


def start_command(limits: Limits, position: Vector | None) -> Vector | None:
    """The command that the first one is compared with [A]: none for effort and velocity, the measured position for servos."""
    held = limits.position_commanded
    if held.any() and position is None:
        return None
    command = np.zeros(len(limits.actions))
    if position is not None:
        command[held] = position[limits.acting[held]]
    return command


def breach(limits: Limits, position: Vector, velocity: Vector, what: str = "is") -> Breach | None:
    """The first limit that a state ([J], [J]) breaks, braking distance included; None if it keeps all.

    ``what`` is the verb of the message (``is``, ``is predicted``).
    """
    watched = limits.watched
    outside = watched & ((position < limits.position_lower) | (position > limits.position_upper))
    if outside.any():
        i = int(np.argmax(outside))
        allowed = f"[{limits.position_lower[i]:g}, {limits.position_upper[i]:g}]"
        return Breach(f"joint '{limits.joints[i]}' {what} at {position[i]:.4g}, outside {allowed}", True)
    fast = watched & (np.abs(velocity) > limits.velocity)
    if fast.any():
        i = int(np.argmax(fast))
        return Breach(f"joint '{limits.joints[i]}' {what} moving at {velocity[i]:.4g}, above {limits.velocity[i]:.4g}", True)
    return _braking(limits, position, velocity, what)


def _braking(limits: Limits, position: Vector, velocity: Vector, what: str) -> Breach | None:
    """Whether a joint would leave its limits even if it braked from now on."""
    stop = _standstill(limits, position, velocity)
    beyond = limits.watched & ((stop < limits.position_lower) | (stop > limits.position_upper))
    if not beyond.any():
        return None
    i = int(np.argmax(beyond))
    limit = limits.position_upper[i] if velocity[i] > 0 else limits.position_lower[i]
    return Breach(
        f"joint '{limits.joints[i]}' {what} at {position[i]:.4g} moving at {velocity[i]:.4g} and cannot stop before {limit:g} "
        f"(braking distance {abs(stop[i] - position[i]):.3g})",
        False,
    )


def _standstill(limits: Limits, position: Vector, velocity: Vector) -> Vector:
    """Where joints [..., J] come to rest if they brake from now on; where they are, if nobody knows how well they brake."""
    distance = np.where(np.isnan(limits.deceleration), 0.0, velocity * np.abs(velocity) / (2 * limits.deceleration))
    return np.asarray(position + distance)


def predicted_breach(limits: Limits, predicted: NDArray[np.float32]) -> Breach | None:
    """The first limit that the predicted states [n, S] break; None if they keep all."""
    size = len(limits.joints)
    states = predicted.astype(np.float64)
    position, velocity = states[:, :size], states[:, size:]
    stop = _standstill(limits, position, velocity)
    low, high = np.minimum(position, stop), np.maximum(position, stop)
    broken = (low < limits.position_lower) | (high > limits.position_upper) | (np.abs(velocity) > limits.velocity)
    rows = (broken & limits.watched).any(axis=1)
    if not rows.any():
        return None
    first = int(np.argmax(rows))
    return breach(limits, position[first], velocity[first], "is predicted")


class EmergencyStop:
    """A latch. ``press`` stops at once; only ``release`` and then ``reset`` let the robot move again. For any thread."""

    def __init__(self) -> None:
        self.pressed = False
        self.latched = False
        self._changing = threading.Lock()

    def press(self) -> None:
        """Stops, and stays stopped."""
        with self._changing:
            self.pressed = self.latched = True

    def release(self) -> None:
        """Allows a reset; the robot stays stopped until then."""
        self.pressed = False

    def reset(self) -> bool:
        """Whether the robot may move again: false while the stop is pressed."""
        with self._changing:  # a press in between must not be undone
            if not self.pressed:
                self.latched = False
            return not self.latched
