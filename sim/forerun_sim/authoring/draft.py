"""The text of a robot.yaml for a URDF, with a comment at every line that is a guess."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from xml.etree import ElementTree

from forerun_sim.authoring.first_tasks import FirstTasks
from forerun_sim.authoring.guess import (
    GENTLY,
    Drives,
    Load,
    ample_effort,
    damp_gains,
    drives,
    effort_guess,
    gains,
    gentle,
    is_finger,
    loads,
    position_limits,
    rounded,
    tip,
    velocity_guess,
)
from forerun_sim.authoring.yaml_text import mapping, text
from forerun_sim.spec.scene import PARTS, SHIFTS
from forerun_sim.urdf import Urdf, UrdfJoint
from forerun_sim.urdf_checks import inertia_about

_RATE, _PHYSICS = 50, 1000
_WHOLE_ARM = 6
_UNITS = {"prismatic": ("m", "N"), "revolute": ("rad", "N m"), "continuous": ("rad", "N m")}
GUESS = "GUESS"


@dataclass
class Draft:
    """robot.yaml in the making. ``notes`` say what the URDF did not, one a line with a guess."""

    name: str
    urdf: Urdf
    file: str
    base: str
    tree: ElementTree.Element
    interface: str | None = None
    physics_rate: int = _PHYSICS
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._loads = loads(self.urdf)
        self._drives = drives(self.urdf, self.tree, self.interface)
        self._efforts: dict[str, float] = {}
        self._velocities: dict[str, float] = {}

    @property
    def drives(self) -> Drives:
        """Which joints are driven, and which are left out."""
        return self._drives

    def hastiest(self) -> str:
        """The driven joint whose effort is largest for what it moves, in words."""
        moved = {name: max(inertia_about(self.urdf, self.urdf.joints[name])[1], 1e-12) for name in self._efforts}
        name = max(self._efforts, key=lambda joint: self._efforts[joint] / moved[joint], default="")
        return f"joint '{name}' has {self._efforts[name]:g} N m for {moved[name]:.2g} kg m^2" if name else "no joint is driven"

    def text(self) -> str:
        """robot.yaml. ``notes`` are complete afterwards."""
        self.notes.clear()
        joints = self._joints()
        parts = [self._head(), joints, self._control(), _SENSORS, self._actuators(), self._randomization(), self._safety()]
        return "\n".join([*parts, self._tasks()])

    def _note(self, where: str, text: str) -> str:
        """Remembers a guess, and gives the comment for its line."""
        self.notes.append(f"{where}: {text}")
        return f"{GUESS}: {text}"

    def _head(self) -> str:
        lines = [
            f"# {self.name}, drafted from {self.file} by `forerun new-robot`. What the URDF does not say is guessed;",
            f"# every guess carries the word {GUESS}: look at each, put the true figure in, and take the word out.",
            "format: 1",
            f"name: {self.name}",
            f"description: {text(f'{self.urdf.name}, drafted from its URDF.')}",
            f"urdf: {text(self.file)}",
        ]
        if self.base != "fixed":
            lines += [f"base: {self.base} # its coordinates are the joints base_...", "ground: true"]
        elif self._looks_mobile():
            note = self._note("base", "fixed, yet several limbs leave the root link; does the robot move about?")
            lines.append(f"base: fixed # {note} Then begin again with --base floating or planar")
        return "\n".join(lines) + "\n"

    def _looks_mobile(self) -> bool:
        root = self.urdf.links[self.urdf.carrier]
        limbs = sum(joint.movable and joint.parent in self.urdf.rigid for joint in self.urdf.joints.values())
        return limbs >= 3 and root.mass > 0

    def _joints(self) -> str:
        lines = ["joints: # in the order of the URDF; rad, rad/s, N m (m, m/s, N where prismatic), slew in command units per s"]
        for part in PARTS[self.base]:
            kind = "prismatic" if part in SHIFTS else "continuous"
            lines.append(f"  - {{ name: base_{part}, type: {kind} }}")
        for name in self.urdf.movable:
            if name in self._drives.left_out:
                lines.append(f"  # '{name}' {self._note(name, self._drives.left_out[name]).removeprefix(f'{GUESS}: ')}")
            else:
                lines += self._joint(self.urdf.joints[name])
        return "\n".join(lines) + "\n"

    def _joint(self, joint: UrdfJoint) -> list[str]:
        name, (unit, force) = joint.name, _UNITS[joint.type]
        interface = self._drives.interface.get(name, "none")
        lines = [f"  - name: {text(name)}", f"    type: {joint.type}"]
        why = ""
        if name in self._drives.passive:
            why = f" # {self._note(name, self._drives.passive[name])}"
        elif self.interface == "position" and interface == "velocity":
            why = f" # {self._note(name, 'has no position limits, which position commands need: driven by velocity')}"
        elif is_finger(name):
            why = f" # {self._note(name, 'looks like a gripper; take it out and it is held at 0')}"
        lines.append(f"    interface: {interface}{why}")
        limits = position_limits(joint)
        if limits is not None:
            lines.append(f"    position: [{limits[0]:.6g}, {limits[1]:.6g}] # {unit}")
        elif joint.type != "continuous":
            lines.append(f"    # position: {self._note(name, 'the URDF gives no position limits: unlimited')}")
        given = joint.velocity is not None and joint.velocity > 0
        velocity = float(joint.velocity or 0) if given else velocity_guess(joint)
        comment = f"{unit}/s" if given else f"{unit}/s; {self._note(name, f'no velocity limit; {velocity:g} {unit}/s assumed')}"
        lines.append(f"    velocity: {velocity:.6g} # {comment}")
        self._velocities[name] = velocity
        if interface == "none":
            return lines
        given = joint.effort is not None and joint.effort > 0
        effort = float(joint.effort or 0) if given else effort_guess(self._held(name))
        assumed = f"no effort limit; {effort:g} {force} assumed, twice what its weight asks for"
        lines.append(f"    effort: {effort:.6g} # {force if given else f'{force}; {self._note(name, assumed)}'}")
        self._efforts[name] = effort
        full = {"effort": 10.0 * effort, "velocity": 5.0 * velocity, "position": gentle(joint, velocity)}[interface]
        said = {"effort": "full effort in 0.1 s", "velocity": "full speed in 0.2 s", "position": GENTLY}[interface]
        lines.append(f"    slew: {rounded(full):g} # {GUESS}: {said}")
        return lines

    def _control(self) -> str:
        self.notes.append(f"slew: full effort in 0.1 s, full speed in 0.2 s; position commands {GENTLY}")
        self.notes.append(f"control: {_RATE} Hz; physics at {self.physics_rate} Hz, the slowest at which a trial stayed stable")
        return (
            "control:\n"
            f"  rate: {_RATE} # Hz; {GUESS}: of most torque and servo interfaces; yours may be higher\n"
            f"  physics_rate: {self.physics_rate} # Hz; tried: randomized episodes stay stable\n"
            "  history: 6 # steps: 120 ms, longer than delay and lag of the drives\n"
        )

    def _actuators(self) -> str:
        self.notes.append(
            "actuators, sensors: lag, delay, friction, no-load speed, noise are common drives'; measure, or `forerun identify`"
        )
        lines = [f"actuators: # {GUESS}: common drives; times in s", "  lag: 0.01", "  delay: 0.01"]
        viscous, coulomb = {}, {}
        for name in self._drives.interface:
            joint = self.urdf.joints[name]
            # Many URDFs give every joint one effort, far above what the last joints of an arm move: they would only stick.
            strong = min(self._efforts[name], ample_effort(self._held(name), self._velocities[name]))
            viscous[name] = 0.0 if joint.damping > 0 else rounded(0.01 * strong / self._velocities[name])
            coulomb[name] = 0.0 if joint.friction > 0 else rounded(0.01 * strong)
        lines.append(f"  viscous: {mapping(viscous)} # N m s/rad or N s/m, beside the URDF's damping")
        lines.append(f"  coulomb: {mapping(coulomb)} # N m or N, beside the URDF's friction")
        fastest = {name: rounded(1.5 * self._velocities[name]) for name in self._drives.interface}
        lines.append(f"  no_load_speed: {mapping(fastest)} # rad/s or m/s; {GUESS}: half above the velocity limit")
        servos = {name: kind for name, kind in self._drives.interface.items() if kind != "effort"}
        if servos:
            found = {name: gains(self._held(name), kind, self._velocities[name]) for name, kind in servos.items()}
            stiffness = {name: pair[0] for name, pair in found.items() if pair[0] > 0}
            note = self._note("actuators", "gains of the servos, from the inertia that they move")
            lines += [f"  stiffness: {mapping(stiffness)} # N m/rad or N/m; {note}"] if stiffness else []
            lines.append(f"  damping: {mapping({name: pair[1] for name, pair in found.items()})} # N m s/rad or N s/m; {note}")
        if self._weightless():
            note = self._note("actuators", "the robot itself balances its weight, as controllers of arms do; else false")
            lines.append(f"  gravity_compensation: true # {note}")
        return "\n".join(lines) + "\n"

    def _weightless(self) -> bool:
        """Whether the robot's own controller may be taken to balance its weight: where it follows velocities, and where it is an
        arm of six joints or more, whose torque interfaces do so."""
        kinds = set(self._drives.interface.values())
        whole_arm = kinds == {"effort"} and len(tip(self.urdf, self._drives.interface)[1]) >= _WHOLE_ARM
        return self.base == "fixed" and ("velocity" in kinds or whole_arm) and not self._looks_mobile()

    def _held(self, name: str) -> Load:
        """What the drive of a joint holds; legs and wheels also carry the body, on a lever of a tenth of a metre, by fours."""
        load = self._loads[name]
        if self.base == "fixed":
            return load
        mass = sum(link.mass for link in self.urdf.links.values())
        return Load(load.inertia, load.weight + 0.25 * mass * 9.81 * 0.1)

    def _randomization(self) -> str:
        lines = [
            f"randomization: # drawn per episode; {GUESS}: as far off as a URDF and a drive usually are",
            "  mass: { uniform: [0.9, 1.1], relative: true }",
            "  inertia: { uniform: [0.8, 1.25], relative: true }",
            "  com: { uniform: [-0.005, 0.005] } # m",
            "  viscous: { uniform: [0.3, 3.0], relative: true }",
            "  coulomb: { uniform: [0.0, 3.0], relative: true }",
        ]
        if any(self.urdf.joints[name].damping > 0 for name in self._drives.interface):
            lines.append("  damping: { log_uniform: [0.3, 3.0], relative: true }")
        kinds = set(self._drives.interface.values())
        if "position" in kinds:
            lines.append("  stiffness: { log_uniform: [0.7, 1.4], relative: true }")
        if kinds & {"position", "velocity"}:
            lines.append("  servo_damping: { log_uniform: [0.6, 1.6], relative: true }")
        lines += [
            "  strength: { uniform: [0.85, 1.15] }",
            "  lag: { uniform: [0.002, 0.03] } # s",
            "  delay: { uniform: [0.0, 0.03] }",
            "  observation_delay: { uniform: [0.0, 0.01] }",
            "  position_noise: { uniform: [0.0, 0.001] }",
            "  velocity_noise: { uniform: [0.0, 0.05] }",
        ]
        if self.base != "fixed":
            lines.append("  link_friction: { uniform: [0.6, 1.3], relative: true }")
        return "\n".join(lines) + "\n"

    def _safety(self) -> str:
        kinds = set(self._drives.interface.values())
        lines = ["safety: # conservative: widen what stops the robot for no reason"]
        if kinds == {"position"}:
            lines.append("  action: hold # the commanded position")
        elif kinds == {"effort"}:
            found = damp_gains(self.urdf, self._drives.interface, _RATE)
            sinking = max(self._held(name).weight / max(gain, 1e-12) for name, gain in found.items())
            falls = "" if self._weightless() else f"; what is held up sinks, at up to {sinking:.2g} rad/s or m/s"
            note = self._note("safety", f"damp_gain: as strong as {_RATE} Hz of commands bear{falls}")
            lines.append("  action: damp # what must not sink needs a brake, or faster commands")
            lines.append(f"  damp_gain: {mapping(found)} # N m s/rad or N s/m; {note}")
        else:
            lines.append("  action: zero # effort and velocity 0")
        lines += [
            "  stale_after: 0.06 # s: three periods",
            "  max_misses: 3",
            "  velocity_margin: 1.1 # a tenth above a joint's velocity limit stops the robot",
            "  command_timeout: 0.1 # s",
        ]
        return "\n".join(lines) + "\n"

    def _tasks(self) -> str:
        parts = self.urdf, self.base, self._drives, self._loads, self._velocities, self._efforts
        return FirstTasks(*parts, self._weightless(), self._looks_mobile(), self._note).text()


_SENSORS = f"""sensors: # {GUESS}: common encoders
  position_noise: 0.0005 # rad or m
  velocity_source: measured
  velocity_noise: 0.02 # rad/s or m/s
"""


def robot_name(text: str) -> str:
    """``text`` as the name of a robot: small letters, digits and underscores, a letter first."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return name if re.match(r"[a-z]", name) else f"robot_{name}".rstrip("_")
