"""The tasks of a drafted robot: to stay where it waits, and, for an arm, to bring its tip to a place; both gently."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from forerun_sim.authoring.guess import GENTLY, Drives, Load, ample_effort, gentle, home, position_limits, rounded, tip
from forerun_sim.authoring.yaml_text import text
from forerun_sim.kinematics import Kinematics
from forerun_sim.urdf import Urdf


@dataclass(frozen=True)
class FirstTasks:
    """What they are made of.

    Attributes:
        loads: what each joint moves.
        velocities: limit of each joint [rad/s or m/s].
        efforts: limit of each driven joint [N m or N].
        light: whether the robot itself balances its weight.
        mobile: whether it looks as if it moved about, however its base is.
        note: remembers a guess (where, text) and gives the comment for its line.
    """

    urdf: Urdf
    base: str
    drives: Drives
    loads: Mapping[str, Load]
    velocities: Mapping[str, float]
    efforts: Mapping[str, float]
    light: bool
    mobile: bool
    note: Callable[[str, str], str]

    def text(self) -> str:
        """The section ``tasks`` of robot.yaml."""
        joints = [self.urdf.joints[name] for name in self.urdf.movable if name not in self.drives.left_out]
        driven = [joint for joint in joints if joint.name in self.drives.interface]
        start = [f"      {text(joint.name)}: {{ normal: [{home(joint):g}, 0.05] }}" for joint in joints]
        speed = sum(self.velocities[joint.name] for joint in driven) / max(1, len(driven))
        still = [_term("quadratic", f"velocity:{joint.name}", weight=rounded(0.1 / speed)) for joint in driven]
        costs = ["      - { kind: action, weight: 0.02 }", "      - { kind: slew, weight: 0.02 }"]
        kept = [_term("quadratic", f"position:{joint.name}", target=home(joint), weight=1.0) for joint in driven]
        upright = [
            _term("quadratic", f"position:base_{part}", weight=2.0) for part in ("roll", "pitch") if self.base == "floating"
        ]
        gentle = self._command_limits()
        lines = [
            "tasks:",
            "  hold: # stay in the posture in which the joints wait",
            "    duration: 5.0 # s",
            *gentle,
            "    initial_position:",
        ]
        lines += [*start, "    terms:", *kept, *upright, *still, *costs, "    success:"]
        lines += [_held(f"position:{joint.name}", (home(joint) - 0.1, home(joint) + 0.1)) for joint in driven]
        if not driven:
            return "tasks: {} # no joint is driven\n"
        link, chain = tip(self.urdf, self.drives.interface)
        if self.base == "fixed" and len(chain) >= 3 and not self.mobile:
            lines += self._reach(link, chain, [*gentle, "    initial_position:", *start], still, costs)
        return "\n".join(lines) + "\n"

    def _command_limits(self) -> list[str]:
        """Drives are often much stronger, and faster, than a task needs; then trials and plans whirl the robot about."""
        wanted, said = {}, set()
        for name, kind in self.drives.interface.items():
            joint, most = self.urdf.joints[name], self.velocities[name]
            limits, speed, why = position_limits(joint), gentle(joint, self.velocities[joint.name]), GENTLY
            if kind == "effort" and self.base == "fixed":
                load, light = self.loads[name], self.light
                most = self.efforts[name]
                against = joint.damping * speed + joint.friction
                enough = rounded(ample_effort(Load(load.inertia, 0.0) if light else load, speed) + against)
                why += ", reached within a quarter of a second" + ("" if light else ", and 2.5 times the weight")
            elif kind == "velocity" and limits is not None:
                enough = rounded(speed)
            else:
                continue
            if 0.0 < enough < most:
                wanted[text(name)] = f"[{-enough:g}, {enough:g}]"
                said.add(why)
        if not wanted:
            return []
        note = self.note("tasks", f"command limits, {'; '.join(sorted(said))}")
        return [f"    command_limits: {{ {', '.join(f'{name}: {limits}' for name, limits in wanted.items())} }} # {note}"]

    def _reach(self, link: str, chain: tuple[str, ...], start: list[str], still: list[str], costs: list[str]) -> list[str]:
        """A goal for the tip that can be reached: where it is after each joint of its chain moved by a tenth of its range.
        ``start``: the lines of limits and initial positions."""
        names = self.urdf.movable
        position = np.array([home(self.urdf.joints[name]) for name in names])
        for name in chain:
            low, high = position_limits(self.urdf.joints[name]) or (-3.0, 3.0)
            position[names.index(name)] += 0.1 * (high - low) if position[names.index(name)] < 0.5 * (low + high) + 1e-9 else 0.0
        goal = Kinematics(self.urdf.frames(names)).point(np, position, link)
        shown = ", ".join(f"{value:.3f}" for value in goal)
        places = [f"link:{link}.{axis}" for axis in "xyz"]
        return [
            f"  reach: # bring link '{link}' to a place; a goal is an input of the planner and may change at any time",
            "    duration: 5.0 # s",
            f"    goal: {{ names: [x, y, z], default: [{shown}] }} # m, in the frame of the base",
            *start,
            "    terms:",
            f"      - {{ kind: distance, link: {text(link)}, goal: 0, weight: 1.0 }}",
            "      - kind: product # 1 at the goal",
            "        weight: 1.0",
            "        terms:",
            *(f"    {_term('tolerance', place, goal=k, margin=0.1)}" for k, place in enumerate(places)),
            *still,
            *costs,
            "    success: # within 2 cm along each axis",
            *(_held(place, (-0.02, 0.02), goal=k) for k, place in enumerate(places)),
        ]


def _held(feature: str, bounds: tuple[float, float], **values: int) -> str:
    given = "".join(f"{key}: {value}, " for key, value in values.items())
    return f"      - {{ feature: {json.dumps(feature)}, {given}bounds: [{bounds[0]:g}, {bounds[1]:g}] }}"


def _term(kind: str, feature: str, **values: float) -> str:
    given = ", ".join(f"{key}: {value:g}" for key, value in values.items())
    return f"      - {{ kind: {kind}, feature: {json.dumps(feature)}, {given} }}"
