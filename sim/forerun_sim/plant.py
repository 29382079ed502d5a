"""The simulated robot: an engine, its actuators and its sensors behind the interface that the real one has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forerun_sim.actuators import ActuatorModel, JointRow, per_joint
from forerun_sim.changes import Change, Life
from forerun_sim.disturbances import Periods, Push, Pushes
from forerun_sim.engines.base import Bodies, Engine, Hardware, Image, gravity_vector, make_engine
from forerun_sim.errors import InputError, UnstablePhysics
from forerun_sim.gravity import GravityCompensation
from forerun_sim.randomization import Parameters, Sampler, sample_initial, stream
from forerun_sim.sensors import Imu, Reading, SensorModel
from forerun_sim.sensors.imu import AXES
from forerun_sim.spec import Randomization, RobotSpec, Task
from forerun_sim.spec.randomization import INITIAL
from forerun_sim.urdf import robot_urdf

__all__ = ["ABSURD_SPEED", "Imu", "Plant", "Push", "Reading"]

Array = NDArray[np.float64]
ABSURD_SPEED = 1000.0
"""A joint faster than this [rad/s or m/s] is no robot any more."""


def nominal_parameters(spec: RobotSpec, hardware: Hardware, bodies: Bodies) -> Parameters:
    """The plant as its files describe it, nothing varied."""
    joints, driven, actuators, sensors = spec.joints, spec.actuated, hardware.actuators, hardware.sensors
    hinged = [joint for joint in joints if joint.name not in spec.coordinates]
    disturbances, imu = hardware.disturbances, sensors.imu
    return Parameters(
        mass=dict(bodies.mass),
        inertia=dict.fromkeys(bodies.mass, 1.0),
        com={f"{link}.{axis}": 0.0 for link in bodies.mass for axis in "xyz"},
        link_friction=dict(bodies.friction),
        restitution=dict(bodies.restitution),
        damping=dict(bodies.damping),
        viscous=per_joint(actuators.viscous, hinged),
        coulomb=_sum(bodies.coulomb, per_joint(actuators.coulomb, hinged)),
        armature=_sum(bodies.armature, per_joint(actuators.armature, hinged)),
        strength=per_joint(actuators.strength, driven, default=1.0),
        stiffness=per_joint(actuators.stiffness, driven),
        servo_damping=per_joint(actuators.damping, driven),
        lag=per_joint(actuators.lag, driven),
        backlash=per_joint(actuators.backlash, driven),
        no_load_speed=per_joint(actuators.no_load_speed, driven),
        stiction=per_joint(actuators.stiction, driven),
        stiction_speed=per_joint(actuators.stiction_speed, driven, default=0.1),
        gear_loss=per_joint(actuators.gear_loss, driven),
        delay=actuators.delay,
        observation_delay=sensors.delay,
        position_noise=sensors.position_noise,
        velocity_noise=sensors.velocity_noise,
        position_quantum=sensors.position_quantum,
        velocity_quantum=sensors.velocity_quantum,
        position_bias=per_joint(sensors.position_bias, joints),
        position_drift=sensors.position_drift,
        dropout=sensors.dropout,
        gyro_noise=0.0 if imu is None else imu.gyro_noise,
        gyro_bias={} if imu is None else _along_axes(imu.gyro_bias),
        accelerometer_noise=0.0 if imu is None else imu.accelerometer_noise,
        accelerometer_bias={} if imu is None else _along_axes(imu.accelerometer_bias),
        period_jitter=disturbances.period_jitter,
        gravity=bodies.gravity,
        gravity_tilt={"x": 0.0, "y": 0.0},
        payload=0.0,
        push_force=disturbances.push_force,
        push_torque=disturbances.push_torque,
        push_interval=disturbances.push_interval,
        push_duration=disturbances.push_duration,
        **_of_pictures(spec, bodies),
    )


def _of_pictures(spec: RobotSpec, bodies: Bodies) -> dict[str, Any]:
    """Where the cameras and the light are, and how the surfaces deviate from their colours; nothing without cameras."""
    if not bodies.surfaces:
        return {}
    still = {f"{camera}.{axis}": 0.0 for camera in spec.cameras for axis in AXES}
    return {
        "camera_shift": still,
        "camera_turn": still,
        "light_direction": {"x": 0.5, "y": -0.3, "z": 1.0},
        "light_colour": dict.fromkeys("rgb", 1.0),
        "texture": {f"{name}.{channel}": 0.0 for name in bodies.surfaces for channel in "rgb"},
        "pattern": dict.fromkeys(bodies.surfaces, 0.0),
    }


def _stated(spec: RobotSpec, parameters: Parameters) -> Parameters:
    """``parameters`` with what ``nominal`` in robot.yaml says instead."""
    unknown = sorted(set(spec.nominal) - set(parameters.flat()))
    if unknown:
        has = ", ".join(parameters.flat())
        raise InputError(f"robot '{spec.name}': nominal.{unknown[0]}: no such parameter; there are: {has}")
    return parameters.changed(spec.nominal)


def _along_axes(value: float | dict[str, float]) -> dict[str, float]:
    return {axis: value.get(axis, 0.0) if isinstance(value, dict) else value for axis in AXES}


def _sum(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {name: value + other[name] for name, value in one.items()}


def _pushable(spec: RobotSpec, hardware: Hardware, bodies: Bodies) -> tuple[str, ...]:
    """The links of ``spec``'s robot that pushes may hit."""
    chosen = hardware.disturbances.push_links
    if chosen is None:
        return tuple(link for link in bodies.mass if link not in spec.objects)
    unknown = sorted(set(chosen) - set(bodies.mass))
    if unknown:
        has = ", ".join(bodies.mass)
        raise InputError(f"robot '{spec.name}': disturbances.push_links: no link '{unknown[0]}' that moves; there are: {has}")
    return chosen


def _compensation(spec: RobotSpec, gravity: float) -> GravityCompensation:
    """What ``spec``'s robot does against its own weight, whose model it has from its URDF."""
    if spec.urdf is None:
        raise InputError(f"robot '{spec.name}': actuators.gravity_compensation needs the robot's urdf")
    return GravityCompensation(robot_urdf(spec), spec.joint_names, gravity)


@lru_cache(maxsize=4096)
def _looked(begin: int, end: int, looks: tuple[int, ...]) -> tuple[tuple[bool, ...], tuple[int, ...]]:
    """Which of the physics steps from ``begin`` to ``end`` the state is looked at after, of all that ``looks`` counts: by step,
    and as numbers, from 1 at ``begin``."""
    flags = tuple(step in looks for step in range(begin + 1, end + 1))
    return flags, tuple(number for number, flag in enumerate(flags, 1) if flag)


class Plant:
    """A simulated robot. Takes commands [A], gives readings [J], SI, joint order of robot.yaml.

    Everything random follows from (seed, episode): the sampled parameters, the initial state, pushes, control periods and the
    sensors' noise. A plant that reads after every ``step`` asks the engine for the state only where a reading or a servo looks.

    Args:
        spec: the robot.
        engine: ``bullet``, or ``mujoco`` for the robot's foreign plant.
        task: whose initial states are used; the first task if absent, all joints at 0 if the robot has none.
        seed: of everything random.
        randomize: False keeps the parameters at their nominal values; initial states and noise stay random.
        randomization: what varies, instead of what the engine's robot says. It may be exchanged between episodes.
        changes: what happens to it while it lives, over all its episodes.

    Raises:
        InputError: no such engine or task, the robot has no model for the engine, or nothing to change of that name.
    """

    def __init__(
        self,
        spec: RobotSpec,
        *,
        engine: str = "bullet",
        task: str | None = None,
        seed: int = 0,
        randomize: bool = True,
        randomization: Randomization | None = None,
        changes: Sequence[Change] = (),
    ) -> None:
        self.spec = spec
        self.seed = seed
        self.randomize = randomize
        self._task = spec.task(task) if task is not None or spec.tasks else None
        self._engine = make_engine(engine, spec)
        hardware = self._engine.hardware
        self._step = 1.0 / spec.control.physics_rate
        self._substeps = spec.control.substeps
        self._actions = spec.action_size
        weight = _compensation(spec, self._engine.bodies.gravity) if hardware.actuators.gravity_compensation else None
        self._actuators = ActuatorModel(spec.joints, self._step, weight)
        self._sensors = SensorModel(hardware.sensors, spec.joint_names, self._step)
        self.nominal = nominal_parameters(spec, hardware, self._engine.bodies)
        if hardware.actuators is spec.actuators:  # a foreign plant is what its own file says
            self.nominal = _stated(spec, self.nominal)
        self.randomization = hardware.randomization if randomization is None else randomization
        self._life = Life(changes, self._step, self.nominal)
        self._pushes = Pushes(_pushable(spec, hardware, self._engine.bodies), self._step)
        self._periods = Periods(self._substeps, self._step)
        self._parameters = self.nominal
        self._initial: tuple[Array, Array] = (np.zeros(len(spec.joints)), np.zeros(len(spec.joints)))
        self._rows: Sequence[JointRow] = []
        self._stale = False
        self._count = 0
        self._images: dict[str, tuple[int, Image]] = {}
        self.episode = -1
        self.reset()
        self.episode = -1

    @property
    def randomization(self) -> Randomization:
        """What varies between episodes, from the next ``reset`` on."""
        return self._randomization

    @randomization.setter
    def randomization(self, randomization: Randomization) -> None:
        self._randomization = randomization
        self._sampler = Sampler(randomization, self.nominal)
        self._begins = randomization if any(getattr(randomization, quantity) is not None for quantity in INITIAL) else None

    def reset(
        self,
        episode: int | None = None,
        *,
        initial: tuple[ArrayLike, ArrayLike] | None = None,
        parameters: Mapping[str, float] | None = None,
    ) -> Reading:
        """Begins an episode, at time 0.

        Args:
            episode: its number; the next one if absent.
            initial: positions and velocities [J] to begin with, instead of the task's.
            parameters: values to use instead of the sampled ones, named as in ``parameters``.

        Returns:
            The first reading; it never drops out.
        """
        self.episode = self.episode + 1 if episode is None else episode
        sampled = self._sampler.sample(self.seed, self.episode) if self.randomize else self.nominal
        self._parameters = self._life.born(sampled if parameters is None else sampled.changed(parameters), self._count)
        if initial is None:
            self._initial = sample_initial(self.spec.joints, self._task, self.seed, self.episode, self._begins)
        else:
            self._initial = (self._vector(initial[0], "initial position"), self._vector(initial[1], "initial velocity"))
        position, velocity = self._initial[0].tolist(), self._initial[1].tolist()
        self._engine.reset(self._parameters, position, velocity)
        self._images.clear()
        self._actuators.reset(self._parameters, position)
        self._rows, self._stale = self._engine.states(), False
        self._sensors.reset(self._parameters, self._stream("sensors"), self._rows, gravity_vector(self._parameters))
        self._pushes.reset(self._parameters, lambda: self._stream("pushes"))
        self._periods.reset(self._parameters, lambda: self._stream("periods"))
        self._count = 0
        reading = self._sensors.read(0, certain=True)
        assert reading is not None
        return reading

    def _stream(self, name: str) -> np.random.Generator:
        return stream(self.seed, self.episode, name)

    def _vector(self, values: ArrayLike, what: str) -> Array:
        array = np.asarray(values, dtype=float)
        if array.shape != (len(self.spec.joints),) or not np.isfinite(array).all():
            raise InputError(f"{what} {array.tolist()}: needs {len(self.spec.joints)} finite numbers: {self.spec.joint_names}")
        return array

    def advance(self, command: ArrayLike, substeps: int) -> None:
        """Gives ``command`` [A] now and lets ``substeps`` physics steps pass.

        Raises:
            InputError: the command has another size, or is not finite.
            UnstablePhysics: the physics exploded; ``reset`` before going on.
        """
        self._advance(command, substeps, None)

    def _advance(self, command: ArrayLike, substeps: int, again: int | None) -> None:
        """The same where the reading after the next one follows ``again`` physics steps after it, if that is known."""
        values = command.tolist() if isinstance(command, np.ndarray) else list(map(float, command))  # type: ignore[arg-type]
        if len(values) != self._actions or not math.isfinite(sum(values)):
            raise InputError(f"command {values}: needs {self.spec.action_size} finite numbers: {self.spec.action_names}")
        actuators, begin, done = self._actuators, self._count, 0
        lived = self._life.steps + begin
        actuators.give(values, begin)
        looks = self._sensors.looks(substeps, again, self._periods.regular)
        while done < substeps:
            end = min(done + actuators.reach(begin + done), substeps, self._life.due - lived)
            actuators.prepare(begin + done, end - done, self._rows)
            self._pass(*_looked(done, end, looks))
            done = end
            while lived + done >= self._life.due:
                self._change()
        rows = self._rows
        for row in rows:
            if not abs(row[1]) < ABSURD_SPEED or not math.isfinite(row[0]):
                raise UnstablePhysics(
                    f"robot '{self.spec.name}': the physics exploded in episode {self.episode} at {self.time:.3f} s: velocities"
                    f" {[row[1] for row in rows]}; raise control.physics_rate, soften the servos or narrow the randomization"
                )

    def _change(self) -> None:
        """The robot goes on from where it is as another one."""
        self._parameters = self._life.change(self._parameters)
        state = self.true_state().tolist()
        joints = len(self.spec.joints)
        self._engine.reset(self._parameters, state[:joints], state[joints:])
        self._actuators.alter(self._parameters, self._count)
        self._rows = self._engine.states()

    def _pass(self, looked: Sequence[bool], stops: Sequence[int]) -> None:
        """The prepared physics steps, and the states after those ``looked`` at, which are the numbers ``stops``, from 1 on."""
        engine, actuators, begin = self._engine, self._actuators, self._count
        if self._pushes.begin < begin + len(looked):
            seen, efforts = self._pushed(looked)
        elif actuators.feedback:
            seen, efforts = engine.serve(actuators.effort, 0, self._rows, looked)
        else:
            efforts = actuators.ahead
            seen = engine.run(efforts, looked)
        record = self._sensors.record
        for stop, rows in zip(stops, seen, strict=True):
            record(begin + stop, rows, efforts[stop - 1])
        self._stale = not looked[-1]
        if self._stale and actuators.newest:
            self._rows = engine.driven()
        elif stops:
            self._rows = seen[-1]
        self._count = begin + len(looked)

    def _pushed(self, looked: Sequence[bool]) -> tuple[list[Sequence[JointRow]], list[Sequence[float]]]:
        """These steps one by one, where there are pushes: states after those ``looked`` at, and the efforts [steps, J]."""
        engine, actuators, rows = self._engine, self._actuators, self._rows
        seen: list[Sequence[JointRow]] = []
        efforts: list[Sequence[float]] = []
        for ahead, look in enumerate(looked):
            self._pushes.apply(self._count + ahead, engine.push)
            if actuators.feedback:
                efforts.append(actuators.effort(ahead, rows))
            else:
                efforts.append(actuators.ahead[ahead])
            engine.step(efforts[-1])
            if look or actuators.feedback:
                rows = engine.states()
            if look:
                seen.append(rows)
        return seen, efforts

    def read(self) -> Reading | None:
        """What the joints report now, or None where the reading drops out."""
        return self._sensors.read(self._count)

    def step(self, command: ArrayLike) -> Reading | None:
        """``command`` [A] for one control period, longer or shorter by the jitter, then a reading; None where it drops out.

        Raises:
            InputError: the command has another size, or is not finite.
            UnstablePhysics: the physics exploded; ``reset`` before going on.
        """
        self._advance(command, self._periods.next(), self._periods.following)
        return self._sensors.read(self._count)

    def camera(self, name: str) -> Image:
        """The newest picture of camera ``name``: taken now where a period of its rate has passed since the last, else that one.

        Raises:
            InputError: the robot has no such camera, or the engine draws no pictures.
        """
        self.picture_shape(name)
        picture = self._engine.picture  # type: ignore[attr-defined]
        frame = math.floor(self.time * self.spec.cameras[name].rate + 1e-9)
        if name not in self._images or self._images[name][0] != frame:
            self._images[name] = (frame, replace(picture(name), time=self.time))
        return self._images[name][1]

    def picture_shape(self, name: str) -> tuple[int, int, int]:
        """Height, width and channels of the pictures of camera ``name``.

        Raises:
            InputError: the robot has no such camera, or the engine draws no pictures.
        """
        if name not in self.spec.cameras:
            has = ", ".join(self.spec.cameras) or "none; add 'cameras:' to its robot.yaml"
            raise InputError(f"robot '{self.spec.name}' has no camera '{name}'; it has: {has}")
        if not hasattr(self._engine, "picture"):
            raise InputError(f"robot '{self.spec.name}': this engine draws no pictures; cameras need the engine bullet")
        camera = self.spec.cameras[name]
        return camera.height, camera.width, 3

    @property
    def engine(self) -> Engine:
        """The bodies alone, for who steps them without sensors (system identification)."""
        return self._engine

    @property
    def actuators(self) -> ActuatorModel:
        """The drives alone, likewise."""
        return self._actuators

    @property
    def time(self) -> float:
        """Time since the episode began [s]."""
        return self._count * self._step

    @property
    def task(self) -> Task | None:
        """Whose initial states are used."""
        return self._task

    @property
    def lived(self) -> float:
        """Time that has passed in all its episodes [s]."""
        return (self._life.steps + self._count) * self._step

    @property
    def changes(self) -> list[dict[str, Any]]:
        """All that happens to it in its life, as plain data."""
        return self._life.as_data()

    @property
    def pushes(self) -> tuple[Push, ...]:
        """The pushes of this episode so far."""
        return tuple(self._pushes.happened)

    @property
    def parameters(self) -> dict[str, Any]:
        """What was sampled for this episode, changes since then included, as flat JSON:
        ``{"mass.pole": 0.2, ..., "initial_position.hinge": 0.01}``."""
        names = self.spec.joint_names
        position = {f"initial_position.{name}": float(value) for name, value in zip(names, self._initial[0], strict=True)}
        velocity = {f"initial_velocity.{name}": float(value) for name, value in zip(names, self._initial[1], strict=True)}
        return self._parameters.flat() | position | velocity

    def true_state(self) -> Array:
        """The true state [S]: all positions, then all velocities."""
        if self._stale:
            self._rows, self._stale = self._engine.states(), False
        return np.array([row[0] for row in self._rows] + [row[1] for row in self._rows])

    def close(self) -> None:
        """Gives the engine's memory back. May be called twice."""
        self._engine.close()
