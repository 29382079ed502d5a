"""One episode: what a log of it holds, and how it is run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from forerun_sim.collect.luggage import Luggage
from forerun_sim.errors import UnstablePhysics
from forerun_sim.excitation import PolicyFactory
from forerun_sim.plant import Plant, Reading
from forerun_sim.randomization import stream, wide_initial
from forerun_sim.spec import Randomization, RobotSpec
from forerun_sim.trial import Trial

Array = NDArray[np.float64]
Initial = Literal["wide", "task"]


@dataclass(frozen=True)
class Recording:
    """What a log of one episode holds: the readings that arrived and the commands that were given.

    Attributes:
        time: stamps of the readings [N], s since the episode began; readings that dropped out are missing.
        position, velocity, effort: the readings [N, J], SI.
        command_time: when each command was given [T].
        command: the commands [T, A], physical units; the last one leads out of the recording.
        meta: JSON: id, seed, episode, engine, task, simulated, parameters (what was sampled) and pushes (what happened).
    """

    time: Array
    position: Array
    velocity: Array
    effort: Array
    command_time: Array
    command: Array
    meta: dict[str, Any]

    def trial(self, spec: RobotSpec) -> Trial:
        """The recording on the control grid: missing readings interpolated, and where the control periods varied, the mean of the
        command that was held."""
        period, given = spec.control.period, self.command_time
        grid, actions = given, self.command
        if np.abs(np.diff(given) - period).max(initial=0.0) > 1e-9:
            grid = given[0] + period * np.arange(math.floor((given[-1] - given[0]) / period + 1e-9) + 1)
            actions = _mean_held(self.command, np.append(given, given[-1] + period), grid, period)
        logged = np.concatenate([self.position, self.velocity], axis=1)
        states = np.stack([np.interp(grid, self.time, column) for column in logged.T], axis=1)
        return Trial(
            states=states.astype(np.float32),
            actions=actions.astype(np.float32),
            period=period,
            robot=spec.name,
            start=float(grid[0]),
            source=str(self.meta["id"]),
            meta=self.meta,
        )


def _mean_held(command: Array, edges: Array, grid: Array, period: float) -> Array:
    """Means [N, A] over ``period`` from each time of ``grid`` [N] on, of ``command`` [T, A] held from edge to edge [T + 1]."""
    area = np.concatenate([np.zeros((1, command.shape[1])), np.cumsum(command * np.diff(edges)[:, None], axis=0)])
    columns = [np.interp(grid + period, edges, column) - np.interp(grid, edges, column) for column in area.T]
    return np.stack(columns, axis=1) / period


@dataclass(frozen=True)
class Exploded:
    """An episode whose physics left what a robot can do: its number, and what was sampled for it. There is no recording of it."""

    episode: int
    parameters: dict[str, float]


@dataclass(frozen=True)
class Job:
    """All that decides a recording, but the episode's number. Goes to worker processes, with the robot's files in ``luggage``
    where those may be on another machine."""

    spec: RobotSpec
    task: str | None
    seed: int
    engine: str
    randomize: bool
    randomization: Randomization | None
    steps: int
    initial: Initial
    policy: PolicyFactory
    luggage: Luggage | None

    @contextmanager
    def begin(self) -> Iterator[Callable[[int], Recording | Exploded]]:
        """The function from an episode's number to what came of it, on a plant of its own."""
        with nullcontext(self.spec) if self.luggage is None else self.luggage.unpacked(self.spec) as spec:
            plant = Plant(
                spec,
                engine=self.engine,
                task=self.task,
                seed=self.seed,
                randomize=self.randomize,
                randomization=self.randomization,
            )
            try:
                yield partial(_record, self, plant)
            finally:
                plant.close()


def _record(job: Job, plant: Plant, episode: int) -> Recording | Exploded:
    spec = plant.spec
    policy = job.policy(spec, job.task, stream(job.seed, episode, "policy"), job.steps)
    task = spec.task(job.task) if job.task is not None or spec.tasks else None
    wide = wide_initial(spec, task, job.seed, episode) if job.initial == "wide" else None
    newest = plant.reset(episode, initial=wide)
    readings: list[Reading] = [newest]
    commands = np.zeros((job.steps, spec.action_size))
    times = np.zeros(job.steps)
    for step in range(job.steps):
        times[step] = plant.time
        commands[step] = policy(step, newest)
        if step == job.steps - 1:
            break
        try:
            reading = plant.step(commands[step])
        except UnstablePhysics:
            return Exploded(episode, plant.parameters)
        if reading is not None:
            readings.append(reading)
            newest = reading
    meta = {
        "id": f"{spec.name}-{job.engine}-{job.seed}-{episode}",
        "seed": job.seed,
        "episode": episode,
        "engine": job.engine,
        "task": job.task,
        "simulated": True,
        "parameters": plant.parameters,
        "pushes": [asdict(push) for push in plant.pushes],
    }
    return Recording(
        time=np.array([reading.time for reading in readings]),
        position=np.stack([reading.position for reading in readings]),
        velocity=np.stack([reading.velocity for reading in readings]),
        effort=np.stack([reading.effort for reading in readings]),
        command_time=times,
        command=commands,
        meta=meta,
    )
