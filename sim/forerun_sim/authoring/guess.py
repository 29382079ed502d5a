"""Numbers that a URDF may leave out, guessed from what it does say: masses, lengths, limits."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from forerun_sim.engines.mass_matrix import MassMatrix
from forerun_sim.kinematics import Kinematics
from forerun_sim.urdf import Urdf, UrdfJoint

Array = NDArray[np.float64]

GRAVITY = 9.81
GENTLE = 0.25
"""Seconds to full speed that a first task allows."""
_CROSSING = 2.0
"""Seconds from one position limit to the other that a first task takes at least."""
GENTLY = f"from limit to limit in {_CROSSING:g} s"
_POSTURES = 64
_LEAST = 1e-9
"""Inertia [kg m^2 or kg] of a joint at whose end there are only links without mass."""
_DAMPED = 0.3
"""Share of its speed that a joint may lose a period in a stop. Two periods of delay bear .62, three .45."""
_FINGER = re.compile(r"finger|gripper|jaw|knuckle", re.IGNORECASE)
_INTERFACES = ("effort", "velocity", "position")


@dataclass(frozen=True)
class Load:
    """What a joint moves at most: ``inertia`` [kg m^2 or kg] about its axis, and the ``weight`` [N m or N] that it may have to
    hold, stretched out."""

    inertia: float
    weight: float


@dataclass(frozen=True)
class Drives:
    """Which joints are driven, by what, and which are left out of robot.yaml, each with the reason."""

    interface: dict[str, str]
    passive: dict[str, str]
    left_out: dict[str, str]


def loads(urdf: Urdf) -> dict[str, Load]:
    """The load of each joint that moves."""
    kinematics, zeros = Kinematics(urdf.frames(urdf.movable)), np.zeros(len(urdf.movable))
    inertias = np.diagonal(np.linalg.inv(_inverse_masses(urdf)), axis1=1, axis2=2).max(axis=0)
    found = {}
    for name, inertia in zip(urdf.movable, inertias, strict=True):
        joint = urdf.joints[name]
        origin = kinematics.point(np, zeros, joint.child)
        weight = 0.0
        for link in urdf.links.values():
            if joint in urdf.branch(link.name):
                arm = kinematics.point(np, zeros, link.name, link.com) - origin
                weight += GRAVITY * link.mass * (1.0 if joint.type == "prismatic" else float(np.linalg.norm(arm)))
        found[name] = Load(float(inertia), weight)
    return found


def _inverse_masses(urdf: Urdf) -> Array:
    """Inverse mass matrices [N, J, J] of the joints that move, all at 0 and in postures drawn within their limits."""
    limits = np.array([position_limits(urdf.joints[name]) or (-math.pi, math.pi) for name in urdf.movable]).reshape(-1, 2)
    drawn = np.random.default_rng(0).uniform(limits[:, 0], limits[:, 1], (_POSTURES, len(limits)))
    matrix = MassMatrix(urdf, urdf.movable)
    matrix.load({}, {}, {}, [_LEAST] * len(limits))
    return np.stack([matrix.inverse(position) for position in (np.zeros(len(limits)), *drawn)])


def drives(urdf: Urdf, tree: ElementTree.Element, interface: str | None) -> Drives:
    """Which joints are driven: those of ros2_control or transmissions where the URDF has some, else those with an effort limit,
    else all. Gears (mimic) and joints with no room to move are left out; the engine holds these at 0."""
    stated = stated_interfaces(tree)
    by_effort = any(urdf.joints[name].effort for name in urdf.movable)
    chosen: dict[str, str] = {}
    passive: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for name in urdf.movable:
        joint = urdf.joints[name]
        if joint.mimics is not None:
            left_out[name] = f"follows '{joint.mimics}' by a gear (mimic), which PyBullet does not simulate: held at 0"
        elif joint.type != "continuous" and joint.lower is not None and joint.lower == joint.upper:
            left_out[name] = "has limits that leave no room to move: held at 0"
        elif stated and name not in stated:
            passive[name] = "has no transmission: taken as free"
        elif not stated and by_effort and not joint.effort:
            passive[name] = "has no effort limit, and others have: taken as free, without a drive"
        else:
            chosen[name] = _interface(joint, interface or stated.get(name) or "effort")
    return Drives(chosen, passive, left_out)


def stated_interfaces(tree: ElementTree.Element) -> dict[str, str]:
    """Joint -> interface, by ``<ros2_control>`` and ``<transmission>``: the first named of effort, velocity, position."""
    found: dict[str, str] = {}
    for joint in tree.findall("ros2_control/joint"):
        offered = {item.get("name") for item in joint.findall("command_interface")}
        if joint.get("name") and offered:
            found[joint.get("name", "")] = next((kind for kind in _INTERFACES if kind in offered), "effort")
    for joint in tree.findall("transmission/joint"):
        words = " ".join(item.text or "" for item in joint.findall("hardwareInterface")).lower()
        found.setdefault(joint.get("name", ""), next((kind for kind in _INTERFACES if kind in words), "effort"))
    return {name: kind for name, kind in found.items() if name}


def _interface(joint: UrdfJoint, wanted: str) -> str:
    """Position commands need position limits; a wheel turns without."""
    return "velocity" if wanted == "position" and position_limits(joint) is None else wanted


def position_limits(joint: UrdfJoint) -> tuple[float, float] | None:
    """Lower and upper position limit of ``joint``; None where it has none."""
    if joint.type == "continuous" or joint.lower is None or joint.upper is None or joint.lower >= joint.upper:
        return None
    return joint.lower, joint.upper


def is_finger(name: str) -> bool:
    """Whether a joint or link is a gripper's, by its name."""
    return _FINGER.search(name) is not None


def home(joint: UrdfJoint) -> float:
    """Where ``joint`` waits: 0 where that is well inside its limits, else their middle."""
    limits = position_limits(joint)
    if limits is None:
        return 0.0
    low, high = limits
    return 0.0 if low + 0.05 * (high - low) <= 0.0 <= high - 0.05 * (high - low) else rounded(0.5 * (low + high))


def effort_guess(load: Load) -> float:
    """Effort limit [N m or N]: twice the weight, and enough to accelerate by 10 rad/s^2 (or 2 m/s^2)."""
    return max(rounded(2.0 * load.weight + 10.0 * load.inertia), 0.001)


def ample_effort(load: Load, velocity: float) -> float:
    """Effort [N m or N] that is enough for anything gentle: 2.5 times the weight, and ``velocity`` within ``GENTLE``."""
    return 2.5 * load.weight + load.inertia * velocity / GENTLE


def velocity_guess(joint: UrdfJoint) -> float:
    """Velocity limit of a common drive: half a turn a second, 0.5 m/s."""
    return 0.5 if joint.type == "prismatic" else 3.14


def gains(load: Load, interface: str, velocity: float) -> tuple[float, float]:
    """Stiffness and damping of a servo that holds ``load``: 4 Hz, damped to 0.7, and 0.02 rad (or m) of sag at the most; of a
    velocity servo that follows within 0.05 s."""
    inertia = max(load.inertia, 1e-6)
    if interface == "velocity":
        return 0.0, rounded(max(inertia / 0.05, load.weight / (0.1 * velocity)))
    stiffness = max(inertia * (2.0 * math.pi * 4.0) ** 2, load.weight / 0.02)
    return rounded(stiffness), rounded(1.4 * math.sqrt(stiffness * inertia))


def gentle(joint: UrdfJoint, velocity: float) -> float:
    """The speed of a first task [rad/s or m/s], at most ``velocity``."""
    limits = position_limits(joint)
    return velocity if limits is None else min(velocity, (limits[1] - limits[0]) / _CROSSING)


def damp_gains(urdf: Urdf, driven: Collection[str], rate: float) -> dict[str, float]:
    """Effort per velocity [N m s/rad or N s/m] with which a stop damps each of ``driven``, as large as commands at ``rate`` [Hz]
    bear in any posture.

    A command holds for a control period, and acts late. Damping that is too strong for what a joint moves then overshoots, more
    with every period: a stop would shake the robot instead of bringing it to rest.
    """
    names = urdf.movable
    inverse = _inverse_masses(urdf)
    # What a joint moves while all others are free to give way; all of them together can overshoot sooner.
    moved = 1.0 / np.diagonal(inverse, axis1=1, axis2=2).max(axis=0)
    damped = np.array([name in driven for name in names])
    together = np.linalg.eigvals(inverse @ np.diag(np.where(damped, moved, 0.0))).real.max()
    gains = moved * (_DAMPED * rate / float(together))
    return {name: rounded(float(gains[names.index(name)])) for name in driven}


def tip(urdf: Urdf, driven: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    """The link at the end of the longest chain of driven joints that are no gripper's, and those joints, from the base on."""
    best: tuple[str, tuple[str, ...]] = (urdf.root, ())
    for link in urdf.links:
        if is_finger(link):
            continue
        chain = tuple(joint.name for joint in reversed(urdf.branch(link)) if joint.name in driven and not is_finger(joint.name))
        # Among the links of one chain the last one counts: the flange or tool frame behind the last joint.
        if len(chain) > len(best[1]) or (
            chain and len(chain) == len(best[1]) and best[0] in {j.parent for j in urdf.branch(link)}
        ):
            best = (link, chain)
    return best


def rounded(value: float) -> float:
    """``value`` with three digits."""
    return float(f"{value:.3g}")
