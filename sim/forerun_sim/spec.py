"""robot.yaml as data: what a robot is, what it may do, how it is simulated and what its tasks are.

Every error names the file, the key and what is allowed. ``load_robot`` is the only door.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from forerun_sim import resources
from forerun_sim.errors import InputError

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Interval = tuple[Finite, Finite]
Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """Base of all configuration: unknown keys are refused, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Distribution(Strict):
    """One of ``uniform: [low, high]``, ``log_uniform: [low, high]``, ``normal: [mean, std]``, ``value: x``.

    With ``relative: true`` the sample is a factor of the nominal value, else it is the value itself (SI).
    """

    uniform: Interval | None = None
    log_uniform: Interval | None = None
    normal: Interval | None = None
    value: Finite | None = None
    relative: bool = False

    @model_validator(mode="after")
    def _one_kind(self) -> Distribution:
        given = [kind for kind in ("uniform", "log_uniform", "normal", "value") if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of uniform, log_uniform, normal, value (given: {', '.join(given) or 'none'})")
        for kind in ("uniform", "log_uniform"):
            pair = getattr(self, kind)
            if pair is not None and pair[0] > pair[1]:
                raise ValueError(f"{kind}: the limits are reversed: [{pair[0]}, {pair[1]}]")
        if self.log_uniform is not None and self.log_uniform[0] <= 0:
            raise ValueError("log_uniform: both limits must be above 0")
        if self.normal is not None and self.normal[1] < 0:
            raise ValueError("normal: the standard deviation must not be negative")
        return self

    def sample(self, rng: np.random.Generator, nominal: float = 1.0) -> float:
        """One value, in SI units; ``nominal`` is used where the distribution is relative."""
        if self.uniform is not None:
            drawn = float(rng.uniform(*self.uniform))
        elif self.log_uniform is not None:
            drawn = math.exp(rng.uniform(math.log(self.log_uniform[0]), math.log(self.log_uniform[1])))
        elif self.normal is not None:
            drawn = float(rng.normal(*self.normal))
        else:
            assert self.value is not None
            drawn = self.value
        return drawn * nominal if self.relative else drawn


PerName = Distribution | dict[str, Distribution]
"""One distribution for all joints (or links), drawn for each of them, or a distribution per name."""


class Joint(Strict):
    """A joint, its command interface and its limits (SI: rad or m, rad/s or m/s, Nm or N).

    ``slew`` limits how fast the command may change, in command units per second. ``deceleration`` is what the actuator can
    brake with at least, for the braking distance of a joint with position limits.
    """

    name: str
    type: Literal["revolute", "continuous", "prismatic"]
    interface: Literal["effort", "velocity", "position", "none"] = "none"
    position: Interval | None = None
    velocity: Positive | None = None
    effort: Positive | None = None
    slew: Positive | None = None
    deceleration: Positive | None = None

    @field_validator("position")
    @classmethod
    def _ordered(cls, value: Interval | None) -> Interval | None:
        if value is not None and value[0] >= value[1]:
            raise ValueError(f"the limits are reversed or empty: [{value[0]}, {value[1]}]; write [lower, upper]")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Joint:
        needed = {"effort": "effort", "velocity": "velocity", "position": "position"}.get(self.interface)
        if needed is not None and getattr(self, needed) is None:
            raise ValueError(f"joint '{self.name}' is commanded by {self.interface} and needs a limit '{needed}'")
        if self.type == "continuous" and self.position is not None:
            raise ValueError(f"joint '{self.name}' is continuous and can have no position limits; make it revolute")
        return self

    @property
    def actuated(self) -> bool:
        return self.interface != "none"

    @property
    def command_limits(self) -> Interval:
        """Lower and upper limit of the command, in command units. Only for actuated joints."""
        if self.interface == "position":
            assert self.position is not None
            return self.position
        bound = self.effort if self.interface == "effort" else self.velocity
        assert bound is not None, f"joint '{self.name}' is not actuated"
        return (-bound, bound)


class Control(Strict):
    """Rates [Hz] and delays [s] of the control loop. ``physics_rate`` is a whole multiple of ``rate``."""

    rate: Positive
    physics_rate: Positive = 1000.0
    history: Annotated[int, Field(ge=1, le=64)] = 4
    command_delay: NonNegative = 0.0

    @model_validator(mode="after")
    def _multiple(self) -> Control:
        ratio = self.physics_rate / self.rate
        if ratio < 1 or abs(ratio - round(ratio)) > 1e-9:
            raise ValueError(f"physics_rate {self.physics_rate} must be a whole multiple of rate {self.rate}")
        return self

    @property
    def period(self) -> float:
        """Control period [s]."""
        return 1.0 / self.rate

    @property
    def substeps(self) -> int:
        """Physics steps in one control period."""
        return round(self.physics_rate / self.rate)


class Topics(Strict):
    """Relative names, so that remapping and namespaces work."""

    joint_states: str = "joint_states"
    commands: str = "commands"


class Sensors(Strict):
    """How positions and velocities are measured. Noise is the standard deviation of white noise.

    ``velocity_source``: ``measured`` (noise is added to the true velocity) or ``difference`` (backward difference of measured
    positions over one reading, as most encoders do). ``rate`` [Hz] of readings, the control rate if absent.
    """

    rate: Positive | None = None
    position_noise: NonNegative = 0.0
    position_quantum: NonNegative = 0.0
    velocity_source: Literal["measured", "difference"] = "measured"
    velocity_noise: NonNegative = 0.0
    velocity_quantum: NonNegative = 0.0
    delay: NonNegative = 0.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Actuators(Strict):
    """From command to joint torque. Times in s; friction opposes motion: ``viscous * dq + coulomb * tanh(dq / 0.01)``.

    ``strength`` is a factor on the produced effort, ``lag`` the time constant of a first-order lag, ``delay`` a pure delay.
    ``stiffness`` and ``damping`` are the servo's gains (position interface: effort = stiffness * error - damping * dq; velocity
    interface: effort = damping * velocity error). A number holds for all joints; a mapping gives one per joint name.
    """

    strength: NonNegative | dict[str, NonNegative] = 1.0
    lag: NonNegative | dict[str, NonNegative] = 0.0
    delay: NonNegative = 0.0
    viscous: NonNegative | dict[str, NonNegative] = 0.0
    coulomb: NonNegative | dict[str, NonNegative] = 0.0
    stiffness: NonNegative | dict[str, NonNegative] = 0.0
    damping: NonNegative | dict[str, NonNegative] = 0.0


class Randomization(Strict):
    """What varies between episodes. Absent means nominal. Times in s; names are links for mass, inertia and link_friction,
    joints for the rest. ``payload`` adds mass [kg] to the last link; ``gravity`` is its size [m/s^2]."""

    mass: PerName | None = None
    inertia: PerName | None = None
    link_friction: PerName | None = None
    damping: PerName | None = None
    viscous: PerName | None = None
    coulomb: PerName | None = None
    strength: PerName | None = None
    lag: PerName | None = None
    delay: Distribution | None = None
    observation_delay: Distribution | None = None
    position_noise: Distribution | None = None
    velocity_noise: Distribution | None = None
    gravity: Distribution | None = None
    payload: Distribution | None = None


class Safety(Strict):
    """What the controller does when it must not plan on. ``action``: ``zero`` effort or velocity, ``hold`` the commanded
    position, ``damp`` (effort = -damp_gain * dq, within limits). A state older than ``stale_after`` [s] is never used; after
    ``max_misses`` ticks in a row without a plan the stop latches until ``~/reset``."""

    action: Literal["zero", "hold", "damp"] = "zero"
    damp_gain: NonNegative = 0.0
    stale_after: Positive = 0.1
    max_misses: Annotated[int, Field(ge=1)] = 5
    velocity_margin: Positive = 1.2


Feature = str
"""``position:JOINT``, ``velocity:JOINT``, ``sin:JOINT``, ``cos:JOINT``, ``command:JOINT`` (physical units),
``link:LINK.x|y|z`` (origin of the link's frame in the base frame, by forward kinematics)."""


class Term(Strict):
    """One term of a reward. ``kind``:

    - ``tolerance``: weight * g, g = 1 within ``bounds`` around the target, falling to 0.1 at ``margin`` outside (Gaussian).
    - ``quadratic``: -weight * (feature - target)^2.
    - ``action``: -weight * mean of the squared commands, each in [-1, 1] of its limits.
    - ``slew``: -weight * mean of the squared changes of these.
    - ``limit``: -weight * max(0, |excess| / margin)^2, excess beyond ``bounds`` shrunk by ``margin``.
    - ``distance``: -weight * distance [m] of ``link`` to the three goal numbers from index ``goal`` on.
    - ``product``: weight * product of the values of ``terms``.

    ``target`` is a number, ``goal`` the index of the goal number that replaces it.
    """

    kind: Literal["tolerance", "quadratic", "action", "slew", "limit", "distance", "product"]
    feature: Feature | None = None
    link: str | None = None
    target: Finite = 0.0
    goal: Annotated[int, Field(ge=0)] | None = None
    bounds: Interval = (0.0, 0.0)
    margin: Positive = 1.0
    weight: Finite = 1.0
    terms: tuple[Term, ...] = ()

    @model_validator(mode="after")
    def _fields_of_kind(self) -> Term:
        if self.kind in ("tolerance", "quadratic", "limit") and self.feature is None:
            raise ValueError(f"a {self.kind} term needs a 'feature'")
        if self.kind == "distance" and (self.link is None or self.goal is None):
            raise ValueError("a distance term needs a 'link' and the 'goal' index of its x")
        if (self.kind == "product") != bool(self.terms):
            raise ValueError("'terms' belong to a product term, and a product term needs them")
        if self.bounds[0] > self.bounds[1]:
            raise ValueError(f"bounds are reversed: [{self.bounds[0]}, {self.bounds[1]}]")
        return self


class Goal(Strict):
    """Goal numbers with their names and default values; a goal is an input of the planner, never baked in."""

    names: tuple[str, ...] = ()
    default: tuple[Finite, ...] = ()

    @model_validator(mode="after")
    def _same_length(self) -> Goal:
        if len(self.names) != len(self.default):
            raise ValueError(f"goal has {len(self.names)} names and {len(self.default)} default values")
        return self


class Bound(Strict):
    """A feature that leaves ``bounds`` ends the episode."""

    feature: Feature
    bounds: Interval


class Task(Strict):
    """Reward, termination, goal and initial state of one task.

    ``initial_position`` and ``initial_velocity`` are per joint name; joints that are not named start at 0.
    ``command_limits`` narrows the command limits per joint (``acrobot: shoulder: [0, 0]``). ``python`` names a class
    ``module:Class`` where terms are not enough. ``success`` says what holding the goal means, for reports: all of its features
    within bounds for the last ``hold`` seconds.
    """

    duration: Positive = 10.0
    goal: Goal = Goal()
    terms: tuple[Term, ...] = ()
    python: str | None = None
    termination: tuple[Bound, ...] = ()
    success: tuple[Bound, ...] = ()
    hold: NonNegative = 1.0
    initial_position: dict[str, Distribution] = {}
    initial_velocity: dict[str, Distribution] = {}
    command_limits: dict[str, Interval] = {}


class RobotSpec(Strict):
    """A robot as robot.yaml describes it. ``urdf`` may be absent for robots that exist only as logs.

    ``foreign`` is the file of the second engine's own plant (model and actuators); only that engine reads it.
    """

    format: Literal[1]
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    description: str = ""
    urdf: str | None = None
    foreign: str | None = None
    joints: Annotated[tuple[Joint, ...], Field(min_length=1)]
    control: Control
    topics: Topics = Topics()
    sensors: Sensors = Sensors()
    actuators: Actuators = Actuators()
    randomization: Randomization = Randomization()
    safety: Safety = Safety()
    tasks: dict[str, Task] = {}
    folder: Path = Field(default=Path(), exclude=True)

    @model_validator(mode="after")
    def _names_exist(self) -> RobotSpec:
        names = [joint.name for joint in self.joints]
        if len(set(names)) != len(names):
            raise ValueError(f"joint names must differ: {names}")
        known = set(names)
        for key in ("strength", "lag", "viscous", "coulomb", "stiffness", "damping"):
            value = getattr(self.actuators, key)
            if isinstance(value, dict) and not set(value) <= known:
                raise ValueError(f"actuators.{key}: no joint named {sorted(set(value) - known)}; joints: {names}")
        for task_name, task in self.tasks.items():
            for key in ("initial_position", "initial_velocity", "command_limits"):
                unknown = set(getattr(task, key)) - known
                if unknown:
                    raise ValueError(f"tasks.{task_name}.{key}: no joint named {sorted(unknown)}; joints: {names}")
        return self

    @property
    def joint_names(self) -> tuple[str, ...]:
        return tuple(joint.name for joint in self.joints)

    @property
    def actuated(self) -> tuple[Joint, ...]:
        """Joints that take commands, in the order of the commands."""
        return tuple(joint for joint in self.joints if joint.actuated)

    @property
    def action_names(self) -> tuple[str, ...]:
        return tuple(joint.name for joint in self.actuated)

    @property
    def state_size(self) -> int:
        """S: positions, then velocities."""
        return 2 * len(self.joints)

    @property
    def action_size(self) -> int:
        return len(self.actuated)

    def action_limits(self, task: str | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper command limits [A], physical units, narrowed by ``task`` where it says so."""
        narrowed = self.task(task).command_limits if task is not None else {}
        pairs = np.array([narrowed.get(joint.name, joint.command_limits) for joint in self.actuated], dtype=float).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    def task(self, name: str | None = None) -> Task:
        """The task called ``name``, or the first one.

        Raises:
            InputError: there is no such task.
        """
        if name is None and self.tasks:
            return next(iter(self.tasks.values()))
        if name not in self.tasks:
            raise InputError(f"robot '{self.name}' has no task '{name}'; it has: {', '.join(self.tasks) or 'none'}")
        return self.tasks[name]

    def file(self, relative: str) -> Path:
        """Absolute path of a file that robot.yaml names relative to itself."""
        return (self.folder / relative).resolve()


def load_yaml(path: Path) -> Any:
    """Content of a YAML file.

    Raises:
        InputError: the file is missing, unreadable or no YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not valid YAML: {error}") from error


def validate(model: type[Model], data: Any, source: Path | str) -> Model:
    """``data`` as an instance of ``model``; errors name ``source`` and the key."""
    if not isinstance(data, dict):
        raise InputError(f"{source}: expected a mapping of keys, found {type(data).__name__}")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        rows = []
        for problem in error.errors():
            key = ".".join(str(part) for part in problem["loc"])
            rows.append(_explain(model, key, problem))
        raise InputError(f"{source}: " + "; ".join(rows)) from error


def _explain(model: type[BaseModel], key: str, problem: Any) -> str:
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        parent = model
        for part in problem["loc"][:-1]:
            parent = _model_below(parent, part)
        allowed = ", ".join(name for name, info in parent.model_fields.items() if not info.exclude)
        return f"unknown key '{key}'; allowed here: {allowed}"
    if problem["type"] == "missing":
        return f"key '{key}' is missing"
    return f"{key or 'file'}: {message}"


def _model_below(parent: type[BaseModel], part: Any) -> type[BaseModel]:
    """The model class reached from ``parent`` by one step of an error location, ``parent`` itself where it stays."""
    if isinstance(part, str) and part in parent.model_fields:
        stack = [parent.model_fields[part].annotation]
        while stack:
            item = stack.pop()
            if isinstance(item, type) and issubclass(item, BaseModel):
                return item
            stack.extend(getattr(item, "__args__", ()))
    return parent


def load_robot(name_or_path: str | Path) -> RobotSpec:
    """The robot called ``name_or_path``, or described by that folder or robot.yaml.

    Joint names are checked against the URDF where the robot has one.

    Raises:
        InputError: no such robot, or its robot.yaml is wrong; the message names the file and the key.
    """
    path = Path(name_or_path)
    if not path.exists():
        if path.suffix or "/" in str(name_or_path):
            raise InputError(f"{path}: no such robot.yaml or robot folder")
        path = resources.find("robots", str(name_or_path))
    if path.is_dir():
        path = path / "robot.yaml"
    data = load_yaml(path)
    spec = validate(RobotSpec, data, path)
    spec = spec.model_copy(update={"folder": path.parent.resolve()})
    if spec.urdf is not None:
        from forerun_sim.urdf import check_joints

        check_joints(spec, path)
    return spec
