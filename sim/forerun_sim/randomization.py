"""What varies between episodes, drawn so that (seed, episode) alone decides it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import NDArray

from forerun_sim.errors import InputError
from forerun_sim.spec import Distribution, Joint, Randomization, RobotSpec, Task
from forerun_sim.spec.scene import coordinates

try:
    from _sha3 import shake_128  # type: ignore[import-not-found]  # half the time of OpenSSL's for so few bytes
except ImportError:
    from hashlib import shake_128

PerName = dict[str, float]
LEAST = "least"
"""Key of what no sample of a quantity goes below, as a factor of its nominal value: 0 where absent, none where None."""


@dataclass(frozen=True)
class Parameters:
    """One plant, in full: everything that can vary between episodes, as the engine, actuators and sensors use it.

    The fields are named as robot.yaml's ``randomization``. Per link: ``mass`` [kg], ``inertia`` (a factor on top of the mass's),
    ``com`` (shift of the centre of mass [m], named "<link>.x"), ``link_friction``, ``restitution``. Per joint: ``damping`` [N m
    s/rad or N s/m], ``viscous`` (same), ``coulomb`` [N m or N], ``armature`` [kg m^2 or kg], ``position_bias`` [rad or m]. Per
    driven joint: ``strength`` (a factor), ``stiffness`` and ``servo_damping`` (gains), ``lag`` [s], ``backlash`` [rad or m],
    ``no_load_speed`` [rad/s or m/s; 0: none], ``stiction`` [N m or N], ``stiction_speed``
    [rad/s or m/s], ``gear_loss`` (a share). Delays and ``period_jitter`` in s; noise and quanta in SI; ``position_drift`` per
    square root of a second; ``dropout`` a probability; ``gyro_...`` [rad/s] and ``accelerometer_...`` [m/s^2] of the inertial
    measurement unit, bias by axis "x", "y" and "z"; ``gravity`` [m/s^2], ``gravity_tilt`` [rad] about "x" and "y"; ``payload``
    [kg]; pushes in N, N m and s. Per camera ``camera_shift`` [m] and ``camera_turn`` [rad], named "<camera>.x";
    ``light_direction`` towards the light, ``light_colour`` and ``light_strength`` (factors); per link, object and ground
    ``texture``, which is added to its colour ("<link>.r", "g", "b"), and ``pattern``, the number of what it is drawn with.
    """

    mass: PerName = field(metadata={LEAST: 0.01})
    inertia: PerName = field(metadata={LEAST: 0.01})
    com: PerName = field(metadata={LEAST: None})
    link_friction: PerName
    restitution: PerName
    damping: PerName
    viscous: PerName
    coulomb: PerName
    armature: PerName
    strength: PerName
    stiffness: PerName
    servo_damping: PerName
    lag: PerName
    backlash: PerName
    no_load_speed: PerName
    stiction: PerName
    stiction_speed: PerName
    gear_loss: PerName
    delay: float
    observation_delay: float
    position_noise: float
    velocity_noise: float
    position_quantum: float
    velocity_quantum: float
    position_bias: PerName = field(metadata={LEAST: None})
    position_drift: float
    dropout: float
    gyro_noise: float
    gyro_bias: PerName = field(metadata={LEAST: None})
    accelerometer_noise: float
    accelerometer_bias: PerName = field(metadata={LEAST: None})
    period_jitter: float
    gravity: float
    gravity_tilt: PerName = field(metadata={LEAST: None})
    payload: float
    push_force: float
    push_torque: float
    push_interval: float
    push_duration: float
    camera_shift: PerName = field(default_factory=dict, metadata={LEAST: None})
    camera_turn: PerName = field(default_factory=dict, metadata={LEAST: None})
    light_direction: PerName = field(default_factory=dict, metadata={LEAST: None})
    light_colour: PerName = field(default_factory=dict)
    light_strength: float = 1.0
    texture: PerName = field(default_factory=dict, metadata={LEAST: None})
    pattern: PerName = field(default_factory=dict)

    def flat(self) -> dict[str, float]:
        """All of it as JSON: ``{"mass.pole": 0.2, ..., "gravity": 9.81}``."""
        return dict(_flatten({quantity.name: getattr(self, quantity.name) for quantity in fields(self)}))

    def changed(self, values: Mapping[str, float]) -> Parameters:
        """These parameters with those in ``values``, named as in ``flat``, replaced.

        Raises:
            InputError: a name is none of these; the message lists them.
        """
        known = self.flat()
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise InputError(f"no plant parameters named {unknown}; there are: {', '.join(known)}")
        new: dict[str, Any] = {}
        for key, value in (known | dict(values)).items():
            group, _, name = key.partition(".")
            if name:
                new.setdefault(group, {})[name] = float(value)
            else:
                new[group] = float(value)
        return Parameters(**{quantity.name: new.get(quantity.name, {}) for quantity in fields(self)})


def _flatten(groups: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    for key, value in groups.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{name}", number) for name, number in value.items())
        else:
            yield key, value


class _Hashed(ISeedSequence):
    """Seeds from a hash: four times as quick as NumPy's own SeedSequence, of which a reset would need several."""

    def __init__(self, *key: object) -> None:
        self._key = repr(key).encode()

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> NDArray[Any]:
        size = n_words * (8 if dtype is np.uint64 else np.dtype(dtype).itemsize)
        return np.frombuffer(shake_128(self._key).digest(size), dtype)


def stream(seed: int, episode: int, name: str) -> np.random.Generator:
    """A random stream that depends on these three alone: what one part draws never shifts what another does."""
    key = _Hashed(int(seed), int(episode), name)
    return np.random.Generator(np.random.PCG64(key))  # type: ignore[arg-type]  # the stubs know one kind of seed alone


class Sampler:
    """Draws plants: every quantity that varies about what ``nominal`` says.

    Each quantity and name has a number of its own in the episode's stream, so that varying one more of them changes none of the
    others, and what does not vary costs nothing.
    """

    def __init__(self, randomization: Randomization, nominal: Parameters) -> None:
        self._plant = nominal
        self._groups: list[tuple[str, dict[str, float] | None, list[str], slice]] = []
        """Quantities that vary: the field, its nominal values where it has names, the names that vary, where they are drawn."""
        chosen: list[tuple[int, float, float, float, float]] = []
        self._logarithmic: list[tuple[int, int, float, float]] = []
        self._size = 0
        for quantity in fields(nominal):
            group, least = quantity.name, quantity.metadata.get(LEAST, 0.0)
            value, distribution = getattr(nominal, group), getattr(randomization, group)
            names = []
            for name, number in value.items() if isinstance(value, dict) else [("", value)]:
                found = distribution_of(distribution, name)
                if found is not None:
                    floor = -math.inf if least is None else least * number
                    offset, span = found.line
                    if found.log_uniform is not None:
                        self._logarithmic.append((len(chosen), self._size, offset, span))
                    # Normal numbers stand behind the uniform ones.
                    place = -1 - self._size if found.normal is not None else self._size
                    chosen.append((place, offset, span, number if found.relative else 1.0, floor))
                    names.append(name)
                self._size += 1
            if names:
                where = slice(len(chosen) - len(names), len(chosen))
                self._groups.append((group, value if isinstance(value, dict) else None, names, where))
        columns = np.array(chosen).reshape(-1, 5).T
        self._places = np.where(columns[0] < 0, self._size - 1 - columns[0], columns[0]).astype(int)
        self._normal = bool((columns[0] < 0).any())
        self._offsets, self._spans, self._factors, self._floors = columns[1:]

    def sample(self, seed: int, episode: int) -> Parameters:
        """The plant of this episode. Quantities that cannot be negative are cut at 0, masses and inertias at 1 % of nominal."""
        if not self._groups:
            return self._plant
        plant = object.__new__(Parameters)  # a third of what a constructor or a copy takes
        values = vars(plant)
        values.update(vars(self._plant))
        rng = stream(seed, episode, "parameters")
        numbers = rng.random(self._size)
        if self._normal:
            numbers = np.concatenate((numbers, rng.standard_normal(self._size)))
        drawn = self._offsets + self._spans * numbers[self._places]
        for index, place, low, span in self._logarithmic:  # by the C library, whose last digit no processor changes
            drawn[index] = low * math.exp(span * numbers[place])
        final = np.maximum(self._floors, drawn * self._factors).tolist()
        for group, nominal, names, where in self._groups:
            if nominal is None:
                values[group] = final[where.start]
            else:
                varied = dict(zip(names, final[where], strict=True))
                values[group] = varied if len(varied) == len(nominal) else nominal | varied
        return plant


def distribution_of(distribution: Distribution | dict[str, Distribution] | None, name: str) -> Distribution | None:
    """The distribution of a name, or of the link whose part the name is."""
    if not isinstance(distribution, dict):
        return distribution
    return distribution.get(name) or distribution.get(name.rpartition(".")[0])


def sample_initial(
    joints: tuple[Joint, ...], task: Task | None, seed: int, episode: int, randomization: Randomization | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Initial positions and velocities [J], as ``randomization`` or else ``task`` distributes them, positions within the joints'
    limits."""
    position, velocity = [0.0] * len(joints), [0.0] * len(joints)
    rng = stream(seed, episode, "initial")
    for index, joint in enumerate(joints):
        where = None if task is None else task.initial_position.get(joint.name)
        speed = None if task is None else task.initial_velocity.get(joint.name)
        if randomization is not None:
            where = distribution_of(randomization.initial_position, joint.name) or where
            speed = distribution_of(randomization.initial_velocity, joint.name) or speed
        if where is not None:
            position[index] = where.sample(rng)
        if speed is not None:
            velocity[index] = speed.sample(rng)
        if joint.position is not None:
            position[index] = min(max(position[index], joint.position[0]), joint.position[1])
    return np.array(position), np.array(velocity)


def sample_goal(task: Task, seed: int, episode: int) -> tuple[float, ...]:
    """The goal [G] of this episode: drawn where ``task`` says how, else as it is by default."""
    goal = task.goal
    rng = stream(seed, episode, "goal")
    pairs = zip(goal.names, goal.default, strict=True)
    return tuple(goal.random[name].sample(rng, number) if name in goal.random else number for name, number in pairs)


def wide_initial(spec: RobotSpec, task: Task | None, seed: int, episode: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Initial positions and velocities [J] all over the state space: any angle, the inner 80 % of limited joints, and velocities
    within 40 % of their limits (of 10 rad/s or m/s where there is none), towards the middle near a position limit.

    What moves freely begins as ``task`` says, or it would begin inside the ground or out of reach: a robot with a floating base
    in its posture, objects, and of a planar base its velocities and those coordinates that are neither limited nor angles.
    """
    position, velocity = sample_initial(spec.joints, task, seed, episode)
    if spec.base == "floating":
        return position, velocity
    rng = stream(seed, episode, "wide")
    base = coordinates("base", spec.base)
    for index, joint in enumerate(spec.joints):
        if joint.name in base and (joint.position is not None or joint.type == "continuous"):
            lower, upper = joint.position or (-np.pi, np.pi)
            position[index] = 0.5 * (lower + upper) + 0.4 * (upper - lower) * rng.uniform(-1.0, 1.0)
        if joint.name in spec.coordinates:
            continue
        lower, upper = joint.position or (-np.pi, np.pi)
        where = rng.uniform(-1.0, 1.0)
        speed = rng.uniform(-1.0, 1.0)
        if joint.position is not None:
            where *= 0.8
            speed = speed * (1.0 - abs(where)) if speed * where > 0 else speed
        position[index] = 0.5 * (lower + upper) + 0.5 * (upper - lower) * where
        velocity[index] = 0.4 * (joint.velocity or 10.0) * speed
    return position, velocity
