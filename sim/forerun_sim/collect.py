"""Randomized episodes of a simulated robot, as a log would hold them. (seed, episode) alone decides each of them."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from forerun_sim.errors import InputError, UnstablePhysics
from forerun_sim.excitation import Excitation, PolicyFactory
from forerun_sim.plant import Plant, Reading
from forerun_sim.randomization import stream, wide_initial
from forerun_sim.spec import RobotSpec
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
        meta: JSON: id, seed, episode, engine, task, simulated, and parameters (what was sampled).
    """

    time: Array
    position: Array
    velocity: Array
    effort: Array
    command_time: Array
    command: Array
    meta: dict[str, Any]

    def trial(self, spec: RobotSpec) -> Trial:
        """The recording on the control grid, missing readings interpolated."""
        grid = self.command_time
        logged = np.concatenate([self.position, self.velocity], axis=1)
        states = np.stack([np.interp(grid, self.time, column) for column in logged.T], axis=1)
        return Trial(
            states=states.astype(np.float32),
            actions=self.command.astype(np.float32),
            period=spec.control.period,
            robot=spec.name,
            start=float(grid[0]),
            source=str(self.meta["id"]),
            meta=self.meta,
        )


@dataclass(frozen=True)
class _Job:
    """All that decides a recording, but the episode's number. Goes to worker processes."""

    spec: RobotSpec
    task: str | None
    seed: int
    engine: str
    randomize: bool
    steps: int
    initial: Initial
    policy: PolicyFactory


class Collection(Iterator[Recording]):
    """The recordings, once, in the order of their episodes. ``discarded`` lists the episodes so far whose physics exploded."""

    def __init__(self, job: _Job, episodes: range, workers: int) -> None:
        self.discarded: list[int] = []
        self._results = _here(job, episodes) if workers <= 1 else _spread(job, episodes, workers)

    def __next__(self) -> Recording:
        for episode, recording in self._results:
            if recording is not None:
                return recording
            self.discarded.append(episode)
        raise StopIteration

    def close(self) -> None:
        """Stops early: ends the worker processes and gives the simulators' memory back."""
        self._results.close()


def collect(
    spec: RobotSpec,
    *,
    episodes: int,
    task: str | None = None,
    seed: int = 0,
    engine: str = "bullet",
    randomize: bool = True,
    steps: int | None = None,
    initial: Initial = "wide",
    policy: PolicyFactory = Excitation,
    workers: int = 1,
    first_episode: int = 0,
) -> Collection:
    """Recordings of ``episodes`` episodes of a simulated robot under exploratory commands.

    Args:
        spec: the robot.
        episodes: how many to run; those whose physics explodes are left out and listed in ``discarded``.
        task: whose command limits, initial states and duration are used; the first task if absent.
        seed: of everything random; a recording depends on it, its episode's number and these arguments, not on ``workers``.
        engine: ``bullet``, or ``mujoco`` for the robot's foreign plant.
        randomize: False keeps the plant's parameters at their nominal values.
        steps: control steps of an episode; the task's duration if absent (10 s for a robot without tasks).
        initial: ``wide`` begins all over the state space, ``task`` as the task says.
        policy: makes the policy of each episode; must be importable (no lambda) with more than one worker.
        workers: processes to spread the episodes over.
        first_episode: number of the first episode.

    Raises:
        InputError: no such task or engine, or the robot has no model for it.
    """
    chosen = spec.task(task) if task is not None or spec.tasks else None
    if episodes < 0 or (steps is not None and steps < 1):
        raise InputError(f"collect needs episodes >= 0 and steps >= 1, got {episodes} and {steps}")
    if initial not in ("wide", "task"):
        raise InputError(f"initial '{initial}' is unknown; allowed: wide, task")
    if steps is None:
        steps = math.ceil((10.0 if chosen is None else chosen.duration) * spec.control.rate)
    job = _Job(spec, task, seed, engine, randomize, steps, initial, policy)
    return Collection(job, range(first_episode, first_episode + episodes), workers)


def _plant(job: _Job) -> Plant:
    return Plant(job.spec, engine=job.engine, task=job.task, seed=job.seed, randomize=job.randomize)


def _here(job: _Job, episodes: range) -> Generator[tuple[int, Recording | None], None, None]:
    plant = _plant(job)
    try:
        for episode in episodes:
            yield episode, _record(job, plant, episode)
    finally:
        plant.close()


def _chunk(job: _Job, episodes: range) -> list[tuple[int, Recording | None]]:
    return list(_here(job, episodes))


def _spread(job: _Job, episodes: range, workers: int) -> Generator[tuple[int, Recording | None], None, None]:
    """The same over processes, in small chunks; a bounded number of them is under way, so that memory stays bounded too."""
    size = max(1, min(16, math.ceil(len(episodes) / (4 * workers))))
    chunks = [episodes[start : start + size] for start in range(0, len(episodes), size)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting: list[Future[list[tuple[int, Recording | None]]]] = []
        try:
            for chunk in chunks:
                waiting.append(pool.submit(_chunk, job, chunk))
                if len(waiting) > 2 * workers:
                    yield from waiting.pop(0).result()
            while waiting:
                yield from waiting.pop(0).result()
        finally:
            pool.shutdown(cancel_futures=True)


def _record(job: _Job, plant: Plant, episode: int) -> Recording | None:
    """One episode; None where its physics explodes."""
    spec = job.spec
    policy = job.policy(spec, job.task, stream(job.seed, episode, "policy"), job.steps)
    wide = job.initial == "wide"
    newest = plant.reset(episode, initial=wide_initial(spec.joints, job.seed, episode) if wide else None)
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
            return None
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
