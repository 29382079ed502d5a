"""bundle.json: everything that the controller must know, checked by hand so that no validation library is needed on the robot."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forerun_models.bundle.calibration import Calibration
from forerun_models.bundle.errors import BundleError
from forerun_models.bundle.ground import Ground
from forerun_sim.kinematics import Frame, check_frames

FORMAT = 2
"""Version of the bundle format that this code reads and writes."""

_UNITS = {"effort": "Nm or N", "velocity": "rad/s or m/s", "position": "rad or m"}
_SAFE = ("zero", "hold", "damp")
_RECOVERY = ("resume", "latch")

CAUSES = ("stale", "misses", "disagreement")
"""What may end in the safe action and has a choice of how that ends."""

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Manifest:
    """The content of bundle.json, SI units, joint order of robot.yaml.

    ``position_lower/upper``, ``velocity_limit`` and ``deceleration`` are per joint [J] (inf or nan where unknown);
    ``command_lower/upper``, ``slew`` [1/s] and ``damp_gain`` per action [A] (slew inf where unlimited). ``carry`` gives the shape
    and the initial value of each tensor that ``act.onnx`` hands to its next call. ``links`` is the robot's kinematic tree, empty
    for robots without a URDF. ``files`` maps a relative path to its sha256. ``calibration`` sets the model's variances right;
    bundles without one report them as they are. ``ground`` knows where the model has been.
    """

    robot: str
    task: str
    agent: str
    joints: tuple[str, ...]
    actions: tuple[str, ...]
    interfaces: tuple[str, ...]
    position_lower: Vector
    position_upper: Vector
    velocity_limit: Vector
    deceleration: Vector
    command_lower: Vector
    command_upper: Vector
    slew: Vector
    rate: float
    history: int
    horizon: int
    command_rate: float
    command_delay: float
    safe_action: str
    damp_gain: Vector
    stale_after: float
    max_misses: int
    velocity_margin: float
    disagreement_factor: float
    max_disagreeing: int
    recover_after: int
    recovery: Mapping[str, str]
    command_timeout: float
    goal_names: tuple[str, ...]
    goal_default: Vector
    noise_size: int
    carry: Mapping[str, tuple[tuple[int, ...], float]]
    thresholds: Mapping[str, float]
    joint_states_topic: str
    commands_topic: str
    links: tuple[Frame, ...]
    trained_on: Mapping[str, Any]
    metrics: Mapping[str, Any]
    parent: str | None
    files: Mapping[str, str]
    calibration: Calibration | None = None
    ground: Ground | None = None

    @property
    def period(self) -> float:
        """Control period [s]."""
        return 1.0 / self.rate

    @property
    def camera(self) -> str | None:
        """The camera by whose pictures the agent acts, None for agents that act by joint states."""
        options = self.trained_on.get("options")
        name = options.get("camera") if isinstance(options, dict) else None
        return name if isinstance(name, str) else None

    @property
    def commands_per_step(self) -> int:
        """Commands in one control period; a plan of H steps has H times as many rows."""
        return round(self.command_rate / self.rate)

    @property
    def tick_period(self) -> float:
        """Time from one command to the next [s]."""
        return 1.0 / self.command_rate

    @property
    def state_size(self) -> int:
        """S: positions, then velocities."""
        return 2 * len(self.joints)

    @property
    def action_size(self) -> int:
        return len(self.actions)

    @property
    def goal_size(self) -> int:
        return len(self.goal_names)

    def to_json(self) -> str:
        """The text of bundle.json."""
        joints = [
            {
                "name": name,
                "position": _pair(self.position_lower[i], self.position_upper[i]),
                "velocity": _finite(self.velocity_limit[i]),
                "deceleration": _finite(self.deceleration[i]),
            }
            for i, name in enumerate(self.joints)
        ]
        actions = [
            {
                "joint": name,
                "interface": self.interfaces[i],
                "unit": _UNITS[self.interfaces[i]],
                "scaling": [float(self.command_lower[i]), float(self.command_upper[i])],
                "slew": _finite(self.slew[i]),
            }
            for i, name in enumerate(self.actions)
        ]
        safety = {
            "action": self.safe_action,
            "damp_gain": self.damp_gain.tolist(),
            "stale_after": self.stale_after,
            "max_misses": self.max_misses,
            "velocity_margin": self.velocity_margin,
            "disagreement_factor": self.disagreement_factor,
            "max_disagreeing": self.max_disagreeing,
            "recover_after": self.recover_after,
            "recovery": {cause: self.recovery[cause] for cause in CAUSES},
            "command_timeout": self.command_timeout,
        }
        carry = {name: {"shape": list(shape), "initial": initial} for name, (shape, initial) in self.carry.items()}
        content = {
            "format": FORMAT,
            "robot": self.robot,
            "task": self.task,
            "agent": self.agent,
            "joints": joints,
            "actions": actions,
            "rate": self.rate,
            "history": self.history,
            "horizon": self.horizon,
            "command_rate": self.command_rate,
            "command_delay": self.command_delay,
            "safety": safety,
            "goal": {"names": list(self.goal_names), "default": [float(value) for value in self.goal_default]},
            "noise": self.noise_size,
            "carry": carry,
            "thresholds": dict(self.thresholds),
            "topics": {"joint_states": self.joint_states_topic, "commands": self.commands_topic},
            "links": [frame.as_data() for frame in self.links],
            "trained_on": dict(self.trained_on),
            "metrics": dict(self.metrics),
            "parent": self.parent,
            "files": dict(self.files),
        }
        if self.calibration is not None:
            content["calibration"] = self.calibration.as_data()
        if self.ground is not None:
            content["ground"] = self.ground.as_data()
        return json.dumps(content, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, source: str) -> Manifest:
        """The manifest in ``text``; ``source`` is named in errors.

        Raises:
            BundleError: not JSON, another format, or a key that is missing or has a wrong value.
        """
        try:
            content = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise BundleError(f"{source}: is not valid JSON: {error}") from error
        if not isinstance(content, dict):
            raise BundleError(f"{source}: expected a mapping of keys")
        version = content.get("format")
        if version != FORMAT:
            newer = isinstance(version, int) and version > FORMAT
            hint = "it was written by a newer Forerun; update this one" if newer else "export the bundle again"
            raise BundleError(f"{source}: bundle format {version!r} cannot be read here (this is format {FORMAT}); {hint}")
        try:
            manifest = cls._from_content(content)
        except KeyError as error:
            raise BundleError(f"{source}: key {error} is missing") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise BundleError(f"{source}: {error}") from error
        manifest._check(source)
        return manifest

    @classmethod
    def _from_content(cls, content: dict[str, Any]) -> Manifest:
        joints, actions, safety = content["joints"], content["actions"], content["safety"]
        position = [joint["position"] or (-math.inf, math.inf) for joint in joints]
        return cls(
            robot=str(content["robot"]),
            task=str(content["task"]),
            agent=str(content["agent"]),
            joints=tuple(str(joint["name"]) for joint in joints),
            actions=tuple(str(action["joint"]) for action in actions),
            interfaces=tuple(str(action["interface"]) for action in actions),
            position_lower=_vector([pair[0] for pair in position]),
            position_upper=_vector([pair[1] for pair in position]),
            velocity_limit=_vector([_or(joint["velocity"], math.inf) for joint in joints]),
            deceleration=_vector([_or(joint["deceleration"], math.nan) for joint in joints]),
            command_lower=_vector([action["scaling"][0] for action in actions]),
            command_upper=_vector([action["scaling"][1] for action in actions]),
            slew=_vector([_or(action["slew"], math.inf) for action in actions]),
            rate=float(content["rate"]),
            history=int(content["history"]),
            horizon=int(content["horizon"]),
            command_rate=float(content["command_rate"]),
            command_delay=float(content["command_delay"]),
            safe_action=str(safety["action"]),
            damp_gain=_per_action(safety["damp_gain"], len(actions), "safety.damp_gain"),
            stale_after=float(safety["stale_after"]),
            max_misses=int(safety["max_misses"]),
            velocity_margin=float(safety["velocity_margin"]),
            disagreement_factor=float(safety["disagreement_factor"]),
            max_disagreeing=int(safety["max_disagreeing"]),
            recover_after=int(safety["recover_after"]),
            recovery={cause: str(safety["recovery"][cause]) for cause in CAUSES},
            command_timeout=float(safety["command_timeout"]),
            goal_names=tuple(str(name) for name in content["goal"]["names"]),
            goal_default=_vector(content["goal"]["default"]),
            noise_size=int(content["noise"]),
            carry={
                str(name): (tuple(int(n) for n in entry["shape"]), float(entry["initial"]))
                for name, entry in content["carry"].items()
            },
            thresholds={str(name): float(value) for name, value in content["thresholds"].items()},
            joint_states_topic=str(content["topics"]["joint_states"]),
            commands_topic=str(content["topics"]["commands"]),
            links=tuple(Frame.from_data(data) for data in content["links"]),
            trained_on=dict(content["trained_on"]),
            metrics=dict(content["metrics"]),
            parent=content["parent"],
            files={str(name): str(digest) for name, digest in content["files"].items()},
            calibration=Calibration.from_data(content["calibration"], 2 * len(joints)) if content.get("calibration") else None,
            ground=Ground.from_data(content["ground"], 2 * len(joints)) if content.get("ground") else None,
        )

    def _check(self, source: str) -> None:
        """Values that would make the controller unsafe are refused here, once."""
        rules = [
            (bool(self.joints) and bool(self.actions), "joints and actions must not be empty"),
            (set(self.actions) <= set(self.joints), f"actions {self.actions} must be joints of {self.joints}"),
            (all(kind in _UNITS for kind in self.interfaces), f"interfaces must be of {sorted(_UNITS)}"),
            (bool(np.isfinite(self.command_lower).all() and np.isfinite(self.command_upper).all()), "scaling must be finite"),
            (bool((self.command_lower <= self.command_upper).all()), "scaling: lower above upper"),
            (bool((self.position_lower < self.position_upper).all()), "position limits are reversed"),
            (bool((self.slew > 0).all() and (self.velocity_limit > 0).all()), "slew and velocity limits must be above 0"),
            (self.safe_action in _SAFE, f"safety.action must be one of {_SAFE}"),
            (0 < self.rate <= 10_000, "rate must be within (0, 10000] Hz"),
            (
                _whole(self.command_rate / (self.rate or math.nan), 1000),
                "command_rate must be a whole multiple of rate, at most 1000 times it",
            ),
            (0 <= self.command_delay <= 1, "command_delay must be within [0, 1] s"),
            (1 <= self.history <= 1024 and 1 <= self.horizon <= 4096, "history or horizon out of range"),
            (0 <= self.noise_size <= 10_000_000, "noise out of range"),
            (0 < self.stale_after < math.inf and self.max_misses >= 1, "safety.stale_after and max_misses must be above 0"),
            (
                bool((self.damp_gain >= 0).all() and np.isfinite(self.damp_gain).all()) and 0 < self.velocity_margin < math.inf,
                "safety gains must be finite and positive",
            ),
            (not (self.deceleration <= 0).any(), "safety.deceleration must be above 0, or unknown"),
            (1 < self.rate * self.command_timeout < math.inf, "safety.command_timeout must exceed the control period"),
            (0 <= self.disagreement_factor < math.inf, "safety.disagreement_factor must be finite and not negative"),
            (min(self.max_disagreeing, self.recover_after) >= 1, "safety.max_disagreeing and recover_after must be above 0"),
            (set(self.recovery.values()) <= set(_RECOVERY), f"safety.recovery must be of {_RECOVERY}"),
            (len(self.goal_names) == len(self.goal_default), "goal names and default values differ in number"),
            (bool(np.isfinite(self.goal_default).all()), "goal default values must be finite"),
            (not (wrong := check_frames(self.links, len(self.joints))), f"links: {wrong}"),
            (self.ground is None or self.thresholds.get("distance", 0.0) > 0, "ground needs thresholds.distance, above 0"),
            ("parity.npz" in self.files, "files must list parity.npz"),
            ("act.onnx" in self.files or "dynamics.onnx" in self.files, "files must list act.onnx or dynamics.onnx"),
        ]
        for holds, message in rules:
            if not holds:
                raise BundleError(f"{source}: {message}")


def _vector(values: Any) -> Vector:
    return np.asarray(values, dtype=np.float64).reshape(-1)


def _per_action(values: Any, actions: int, key: str) -> Vector:
    """[A] numbers; in bundles of before, one for all."""
    found = _vector(values)
    if len(found) not in (1, actions):
        raise ValueError(f"{key}: {len(found)} numbers for {actions} actions")
    return np.broadcast_to(found, actions)


def _whole(ratio: float, most: int) -> bool:
    return math.isfinite(ratio) and 1 <= round(ratio) <= most and abs(ratio - round(ratio)) < 1e-6


def _or(value: Any, default: float) -> float:
    return default if value is None else float(value)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _pair(lower: float, upper: float) -> list[float] | None:
    return [float(lower), float(upper)] if math.isfinite(lower) and math.isfinite(upper) else None
