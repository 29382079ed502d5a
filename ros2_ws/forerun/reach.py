"""How far a joint gets from one message to the next.

Beyond that its sensor is broken, it was carried elsewhere, or two publishers contradict each other.

The bound is generous: it tells a broken stream from a fast robot, it is no limit of motion (those are in ``control/safety.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # the controller reads no robot.yaml
    from forerun_sim.spec import RobotSpec

JITTER = 0.02
"""Stamps may be wrong by this much against each other [s], or by a control period where that is longer."""
_FACTOR = 3.0
"""Times the velocity limit: what no robot does by itself."""
SLACK = 0.02
"""Noise and backlash [rad or m]."""


@dataclass(frozen=True)
class Reach:
    """What each joint can do.

    Attributes:
        joints: names.
        velocity: [J] velocity limits (inf: unknown, the joint may be anywhere).
        turning: [J] joints without end, which may be measured within one turn.
    """

    joints: tuple[str, ...]
    velocity: NDArray[np.float64]
    turning: NDArray[np.bool_]

    @classmethod
    def of(cls, spec: RobotSpec) -> Reach:
        """That of a robot's joints."""
        velocity = np.array([np.inf if joint.velocity is None else joint.velocity for joint in spec.joints])
        return cls(spec.joint_names, velocity, np.array([joint.position is None for joint in spec.joints]))

    def beyond(self, moved: NDArray[np.float64], apart: NDArray[np.float64] | float) -> NDArray[np.bool_]:
        """Which of the differences ``moved`` [..., J] no joint makes in ``apart`` [...] seconds, their jitter included."""
        distance = np.abs(moved)
        whole = np.abs((distance + np.pi) % (2 * np.pi) - np.pi)
        distance = np.where(self.turning, whole, distance)
        return np.asarray(distance > _FACTOR * self.velocity * np.asarray(apart)[..., None] + SLACK)


def jump(topic: str, joint: str, before: float, after: float) -> str:
    """What happened, in words."""
    return (
        f"joint '{joint}' jumped from {before:.4g} to {after:.4g} between two messages; "
        f"its sensor is broken, or two publishers contradict each other on {topic}"
    )
