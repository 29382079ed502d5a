"""The next experiment: commands that tell most about the parameters that are still uncertain.

D-optimal design: of many trajectories within the robot's limits, and of variations of the best, the one for which the
determinant of the information (what is known already and what the trajectory adds) is largest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forerun_sim.collect import Recording
from forerun_sim.errors import InputError
from forerun_sim.excitation import Excitation, coloured_noise
from forerun_sim.identify.information import RANGE_PRECISION
from forerun_sim.identify.objective import DIFFERENCE
from forerun_sim.identify.result import Fit
from forerun_sim.identify.simulate import Simulation
from forerun_sim.identify.unknowns import Unknown, nominal_coordinates, values_at
from forerun_sim.plant import Plant
from forerun_sim.randomization import Parameters, stream
from forerun_sim.sensors import Reading
from forerun_sim.spec import RobotSpec

Array = NDArray[np.float64]
_HARMONICS = 5
_DEFAULTS = 5
"""Episodes of the default excitation that a design is compared with."""
_PARENTS = 4


@dataclass(frozen=True)
class Knows:
    """What is known before the experiment: the parameters that are told, by their places, their estimates, their information
    [n, n] in coordinates, the variance ``noise`` and the ``scale`` [S] of errors."""

    sought: tuple[Unknown, ...]
    coordinates: Array
    information: Array
    noise: float
    scale: Array

    @classmethod
    def of(cls, fit: Fit, scale: Array) -> Knows:
        """What ``fit`` left to be known, in ranges of all that it sought."""
        return cls(fit.sought, fit.coordinates, fit.knowledge.information, fit.knowledge.noise, scale)

    @classmethod
    def nothing(cls, sought: tuple[Unknown, ...], noise: float, scale: Array) -> Knows:
        """Before any experiment; the nominal values are all there is."""
        return cls(sought, nominal_coordinates(sought), np.zeros((len(sought), len(sought))), noise, scale)


@dataclass(frozen=True)
class Design:
    """An experiment.

    Attributes:
        recording: commands and the states that are expected, as a log would hold them.
        names: the parameters.
        known, after, default: standard deviation [n] in coordinates of each parameter: before, after this experiment, and after
            one of the same length by the default excitation (the median of five).
        gain, default_gain: logarithm of the information's determinant, over what is known.
        tried: trajectories that were looked at.
    """

    recording: Recording
    names: tuple[str, ...]
    known: Array
    after: Array
    default: Array
    gain: float
    default_gain: float
    tried: int


class Played:
    """A policy that gives commands [T, A] one after another, and then the last one."""

    def __init__(self, commands: Array) -> None:
        self._commands = commands

    def __call__(self, step: int, reading: Reading) -> Array:
        return np.asarray(self._commands[min(step, len(self._commands) - 1)])


@dataclass(frozen=True)
class PlayedFactory:
    """The policy of every episode of ``collect``: the same commands [T, A]."""

    commands: Array

    def __call__(self, spec: RobotSpec, task: str | None, rng: np.random.Generator, steps: int) -> Played:
        return Played(self.commands)


def design(
    spec: RobotSpec,
    engine: str,
    knows: Knows,
    *,
    seconds: float = 10.0,
    candidates: int = 40,
    seed: int = 0,
    tell: Callable[[float, float], None] = lambda share, gain: None,
) -> Design:
    """The most informative of ``candidates`` experiments of ``seconds`` [s] that begin at rest.

    Raises:
        InputError: the robot takes no commands, or no trajectory keeps within its limits.
    """
    if not spec.actuated:
        raise InputError(f"robot '{spec.name}' takes no commands: no experiment can be designed for it")
    steps = max(2, round(seconds * spec.control.rate))
    laboratory = _Laboratory(spec, engine, knows)
    try:
        defaults = [laboratory.added(commands) for commands in _defaults(spec, engine, seed, steps)]
        rng = stream(seed, 0, "design")
        pool: list[tuple[float, Array, Array, _Recipe]] = []
        for number in range(candidates):
            recipe = (
                _Recipe.drawn(rng, spec, steps)
                if number < candidates // 2 or not pool
                else pool[int(rng.integers(min(_PARENTS, len(pool))))][3].varied(rng)
            )
            commands = recipe.commands(spec, steps)
            added = laboratory.added(commands)
            if added is not None:
                pool.append((knows_gain(knows, added), commands, added, recipe))
                pool.sort(key=lambda entry: -entry[0])
            tell((number + 1) / candidates, pool[0][0] if pool else np.nan)
        if not pool:
            raise InputError(
                f"robot '{spec.name}': no trajectory of {seconds:g} s stays within its limits; ask for a shorter one"
            )
        gain, commands, added, _ = pool[0]
        recording = laboratory.recording(commands, seed)
    finally:
        laboratory.close()
    usable = [other for other in defaults if other is not None]
    default = np.median([_deviations(knows, other) for other in usable], axis=0) if usable else _deviations(knows, None)
    gains = [knows_gain(knows, other) for other in usable] or [0.0]
    names = tuple(unknown.name for unknown in knows.sought)
    return Design(
        recording,
        names,
        _deviations(knows, None),
        _deviations(knows, added),
        default,
        gain,
        float(np.median(gains)),
        candidates,
    )


def knows_gain(knows: Knows, added: Array) -> float:
    """How much the logarithm of the determinant of the information grows by what is ``added`` [n, n]."""
    prior = knows.information + RANGE_PRECISION * np.eye(len(knows.sought))
    return float(np.linalg.slogdet(prior + added)[1] - np.linalg.slogdet(prior)[1])


def _deviations(knows: Knows, added: Array | None) -> Array:
    total = knows.information + RANGE_PRECISION * np.eye(len(knows.sought)) + (0.0 if added is None else added)
    return np.asarray(np.sqrt(np.diag(np.linalg.inv(total))))


def _defaults(spec: RobotSpec, engine: str, seed: int, steps: int) -> list[Array]:
    """Commands [T, A] of the default excitation, from rest."""
    plant, found = Plant(spec, engine=engine, randomize=False, seed=seed), []
    try:
        for episode in range(_DEFAULTS):
            policy = Excitation(spec, None, stream(seed, episode, "policy"), steps)
            reading = plant.reset(episode, initial=_rest(spec))
            commands = np.zeros((steps, spec.action_size))
            for step in range(steps):
                commands[step] = policy(step, reading)
                reading = plant.step(commands[step]) or reading
            found.append(commands)
    finally:
        plant.close()
    return found


def _rest(spec: RobotSpec) -> tuple[Array, Array]:
    """Where experiments begin: at rest, at 0 or the nearest place within the joints' limits."""
    place = [0.0 if joint.position is None else float(np.clip(0.0, *joint.position)) for joint in spec.joints]
    return np.array(place), np.zeros(len(place))


@dataclass(frozen=True)
class _Recipe:
    """Commands as numbers: per actuated joint amplitudes [A, H], frequencies [A, H] in Hz and phases [A, H] of sines, and noise
    [T, A] with its ``share``."""

    amplitude: Array
    frequency: Array
    phase: Array
    noise: Array
    share: float

    @classmethod
    def drawn(cls, rng: np.random.Generator, spec: RobotSpec, steps: int) -> _Recipe:
        shape = (spec.action_size, _HARMONICS)
        size = rng.uniform(0.2, 1.0, (spec.action_size, 1))
        highest = min(5.0, 0.2 * spec.control.rate)
        noise = np.stack([coloured_noise(rng, steps, rng.uniform(0.5, 2.0)) for _ in range(spec.action_size)], axis=1)
        return cls(
            size * rng.dirichlet(np.ones(_HARMONICS), spec.action_size),
            np.exp(rng.uniform(np.log(0.1), np.log(highest), shape)),
            rng.uniform(0.0, 2.0 * np.pi, shape),
            noise,
            float(rng.uniform(0.0, 0.5)) if rng.random() < 0.5 else 0.0,
        )

    def varied(self, rng: np.random.Generator) -> _Recipe:
        shape = self.amplitude.shape
        return _Recipe(
            np.clip(self.amplitude * np.exp(0.3 * rng.standard_normal(shape)), 0.0, 1.0),
            self.frequency * np.exp(0.15 * rng.standard_normal(shape)),
            self.phase + 0.5 * rng.standard_normal(shape),
            self.noise,
            float(np.clip(self.share + 0.1 * rng.standard_normal(), 0.0, 1.0)),
        )

    def commands(self, spec: RobotSpec, steps: int) -> Array:
        """Commands [T, A], physical units, within limits and slew, beginning gently from rest."""
        lower, upper = spec.action_limits()
        times = np.arange(steps) * spec.control.period
        angles = 2.0 * np.pi * self.frequency[None] * times[:, None, None] + self.phase[None]
        wave = (self.amplitude[None] * np.sin(angles)).sum(axis=2) + 0.3 * self.share * self.noise
        idle = np.clip(0.0, lower, upper)
        near = np.minimum(upper - idle, idle - lower)
        half = np.where(near > 0, near, 0.5 * (upper - lower))
        wanted = np.clip(idle + half * wave * np.minimum(1.0, 2.0 * times)[:, None], lower, upper)
        change = np.array([joint.slew or np.inf for joint in spec.actuated]) * spec.control.period
        last: Array = idle
        found: Array = np.zeros((steps, len(idle)))
        for step in range(steps):
            last = np.clip(wanted[step], last - change, last + change)
            found[step] = last
        return found


class _Laboratory:
    """Experiments in simulation: what their data would tell."""

    def __init__(self, spec: RobotSpec, engine: str, knows: Knows) -> None:
        self._spec, self._engine, self._knows = spec, engine, knows
        self._simulation = Simulation(spec, engine)
        self._steps = max(2, round(0.5 * spec.control.rate))

    def close(self) -> None:
        """Gives the engine's memory back."""
        self._simulation.close()

    def _parameters(self, coordinates: Array) -> Parameters:
        return self._simulation.nominal.changed(values_at(self._knows.sought, coordinates))

    def followed(self, commands: Array) -> Array:
        """States [T, S] at the estimates, the first one at rest; fewer where the physics explodes."""
        rest = np.concatenate(_rest(self._spec))
        parameters = self._parameters(self._knows.coordinates)
        ahead = self._simulation.predict(parameters, rest[None], np.zeros((0, commands.shape[1])), commands[:-1])
        return np.concatenate([rest[None], ahead])

    def added(self, commands: Array) -> Array | None:
        """Information [n, n] of the commands [T, A]: None where the robot would leave its limits."""
        states = self.followed(commands)
        if len(states) < len(commands) or not self._allowed(states):
            return None
        knows, steps = self._knows, min(self._steps, len(commands) - 1)
        total = np.zeros((len(knows.sought), len(knows.sought)))
        sides = []
        for place in range(len(knows.sought)):
            near = [knows.coordinates.copy(), knows.coordinates.copy()]
            for side, moved in zip((-1.0, 1.0), near, strict=True):
                moved[place] = np.clip(moved[place] + side * DIFFERENCE, -1.0, 1.0)
            width = near[1][place] - near[0][place]
            sides.append((self._parameters(near[0]), self._parameters(near[1]), width))
        for start in range(0, len(states) - steps, steps):
            first = max(0, start - 15)
            before, given = states[first : start + 1], commands[first:start]
            slopes = []
            for low, high, width in sides:
                pair = [self._simulation.predict(p, before, given, commands[start : start + steps]) for p in (low, high)]
                if min(map(len, pair)) < steps:
                    return None
                slopes.append(((pair[1] - pair[0]) / width / knows.scale).reshape(-1))
            stacked = np.stack(slopes, axis=1)
            total += stacked.T @ stacked
        return total / knows.noise

    def _allowed(self, states: Array) -> bool:
        joints = len(self._spec.joints)
        for index, joint in enumerate(self._spec.joints):
            if joint.position is not None and not (
                joint.position[0] <= states[:, index].min() and states[:, index].max() <= joint.position[1]
            ):
                return False
            if joint.velocity is not None and np.abs(states[:, joints + index]).max() > joint.velocity:
                return False
        return True

    def recording(self, commands: Array, seed: int) -> Recording:
        """The experiment as a log would hold it, with the states that are expected."""
        states = self.followed(commands)
        joints = len(self._spec.joints)
        times = np.asarray(np.arange(len(commands)) * self._spec.control.period, np.float64)
        meta = {"id": f"{self._spec.name}-design-{seed}", "seed": seed, "simulated": True, "designed": True}
        return Recording(times, states[:, :joints], states[:, joints:], np.zeros((len(times), joints)), times, commands, meta)


def expected(design: Design, knows: Knows) -> Mapping[str, tuple[tuple[float, float], tuple[float, float]]]:
    """95 % intervals [SI] by parameter: as known, and as they will be after the experiment."""
    found = {}
    for place, unknown in enumerate(knows.sought):
        at = float(knows.coordinates[place])
        before, after = (unknown.spread(at, 1.96 * float(side[place])) for side in (design.known, design.after))
        found[unknown.name] = (before, after)
    return found
