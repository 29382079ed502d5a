"""Many episodes: which, how, and where they run."""

from __future__ import annotations

import math
from collections.abc import Iterator

from forerun_sim.collect.luggage import Luggage
from forerun_sim.collect.recording import Exploded, Initial, Job, Recording
from forerun_sim.collect.sampled import Sampled
from forerun_sim.errors import InputError
from forerun_sim.excitation import PolicyFactory
from forerun_sim.executors import Executor, Here, Processes
from forerun_sim.spec import Randomization, RobotSpec
from forerun_sim.tracking import explore


class Collection(Iterator[Recording]):
    """The recordings, once, in the order of their episodes.

    Attributes:
        discarded: the episodes so far whose physics exploded; there are no recordings of them.
        sampled: what was drawn for the episodes so far.
    """

    def __init__(self, job: Job, episodes: range, executor: Executor) -> None:
        self.discarded: list[int] = []
        self.sampled = Sampled()
        self._results = executor.run(job.begin, episodes)

    def __next__(self) -> Recording:
        for result in self._results:
            if isinstance(result, Exploded):
                self.discarded.append(result.episode)
                self.sampled.add(result.parameters, exploded=True)
            else:
                self.sampled.add(result.meta["parameters"], exploded=False)
                return result
        raise StopIteration

    def close(self) -> None:
        """Stops early: ends the workers and gives the simulators' memory back."""
        self._results.close()


def collect(
    spec: RobotSpec,
    *,
    episodes: int,
    task: str | None = None,
    seed: int = 0,
    engine: str = "bullet",
    randomize: bool = True,
    randomization: Randomization | None = None,
    steps: int | None = None,
    initial: Initial = "wide",
    policy: PolicyFactory = explore,
    workers: int = 1,
    first_episode: int = 0,
    executor: Executor | None = None,
) -> Collection:
    """Recordings of ``episodes`` episodes of a simulated robot under exploratory commands.

    Args:
        spec: the robot.
        episodes: how many to run; those whose physics explodes are left out and listed in ``discarded``.
        task: whose command limits, initial states and duration are used; the first task if absent.
        seed: of everything random; a recording depends on it, its episode's number and these arguments, not on where it ran.
        engine: ``bullet``, or ``mujoco`` for the robot's foreign plant.
        randomize: False keeps the plant's parameters at their nominal values.
        randomization: what varies, instead of what the plant's own file says.
        steps: control steps of an episode; the task's duration if absent (10 s for a robot without tasks).
        initial: ``wide`` begins all over the state space, ``task`` as the task says.
        policy: makes the policy of each episode; must be importable (no lambda) with more than one worker.
        workers: processes to spread the episodes over.
        first_episode: number of the first episode.
        executor: where the episodes run, instead of ``workers`` processes of this machine.

    Raises:
        InputError: no such task or engine, or the robot has no model for it.
        ForerunError: workers died over the same episode time and again.
    """
    chosen = spec.task(task) if task is not None or spec.tasks else None
    if episodes < 0 or (steps is not None and steps < 1):
        raise InputError(f"collect needs episodes >= 0 and steps >= 1, got {episodes} and {steps}")
    if initial not in ("wide", "task"):
        raise InputError(f"initial '{initial}' is unknown; allowed: wide, task")
    if steps is None:
        steps = math.ceil((10.0 if chosen is None else chosen.duration) * spec.control.rate)
    if executor is None:
        executor = Here() if workers <= 1 else Processes(workers)
    luggage = None if executor.shares_files else Luggage.of(spec)
    job = Job(spec, task, seed, engine, randomize, randomization, steps, initial, policy, luggage)
    return Collection(job, range(first_episode, first_episode + episodes), executor)
