"""One episode of a task under an agent, and whether it succeeded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from forerun_sim.curriculum.adr import Episode, Outcome, merged
from forerun_sim.errors import InputError, UnstablePhysics
from forerun_sim.excitation import PolicyFactory
from forerun_sim.plant import Plant
from forerun_sim.randomization import stream
from forerun_sim.spec import Curriculum, RobotSpec
from forerun_sim.tasks import TaskFunction


@dataclass(frozen=True)
class Stage:
    """Where episodes are played; goes to worker processes. Success is the task's own, of the true states.

    Raises:
        InputError: (``begin``) the task does not say what success is, or the robot lacks a quantity of the curriculum.
    """

    spec: RobotSpec
    curriculum: Curriculum
    agent: PolicyFactory
    seed: int
    engine: str

    @contextmanager
    def begin(self) -> Iterator[Callable[[Episode], Outcome]]:
        """The function from an episode to its outcome, on a plant of its own."""
        task = TaskFunction(self.spec, self.curriculum.task)
        if not task.task.success:
            raise InputError(f"robot '{self.spec.name}': tasks.{task.name} does not say what success is; a curriculum needs it")
        plant = Plant(self.spec, engine=self.engine, task=task.name, seed=self.seed)
        other = plant.randomization
        merged(self.curriculum, {name: one.start for name, one in self.curriculum.quantities.items()}, other, plant.nominal)

        def play(episode: Episode) -> Outcome:
            plant.randomization = episode.randomization(self.curriculum, other, plant.nominal)
            return self._play(episode.number, plant, task)

        try:
            yield play
        finally:
            plant.close()

    def _play(self, number: int, plant: Plant, task: TaskFunction) -> Outcome:
        steps = round(task.task.duration * self.spec.control.rate)
        policy = self.agent(self.spec, task.name, stream(self.seed, number, "policy"), steps)
        newest = plant.reset(number)
        states = [plant.true_state()]
        for step in range(steps):
            try:
                reading = plant.step(policy(step, newest))
            except UnstablePhysics:
                return Outcome(number, success=False, exploded=True)
            newest = newest if reading is None else reading
            states.append(plant.true_state())
            if bool(task.done(np, states[-1])):
                return Outcome(number, success=False, exploded=False)
        return Outcome(number, task.success(np.array(states), self.spec.control.period), exploded=False)
