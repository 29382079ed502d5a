"""A curriculum from its first episode to its last, or on from where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from forerun_sim.curriculum.adr import AutomaticRandomization, Episode, merged
from forerun_sim.curriculum.play import Stage
from forerun_sim.curriculum.record import Record, Row
from forerun_sim.excitation import PolicyFactory
from forerun_sim.executors import Executor, Here
from forerun_sim.plant import Plant
from forerun_sim.spec import Curriculum, Randomization, RobotSpec

Progress = Callable[[Row], None]
"""Is told each episode as it is learned from."""


def run_curriculum(
    spec: RobotSpec,
    curriculum: Curriculum,
    agent: PolicyFactory,
    *,
    folder: Path,
    episodes: int,
    seed: int = 0,
    engine: str = "bullet",
    agent_id: str = "",
    resume: bool = False,
    executor: Executor | None = None,
    progress: Progress = lambda row: None,
) -> AutomaticRandomization:
    """Widens and narrows the ranges of what varies by the successes of ``agent``, for ``episodes`` episodes in all.

    Nothing but the arguments decides the outcome: not the executor, and not whether it was interrupted and resumed in between.

    Args:
        spec: the robot; what the curriculum does not name varies as its own randomization says.
        curriculum: the settings.
        agent: makes the policy of each episode; must be importable with an executor of several processes.
        folder: where the state is kept after each episode (``Record``).
        episodes: how many, those before a resumption included.
        seed: of everything random.
        engine: name of the engine.
        agent_id: says in the record whose successes these are; another one may not resume it.
        resume: go on with what is in ``folder``.
        executor: where the episodes run; this process if absent.
        progress: is told each episode.

    Raises:
        InputError: ``folder`` holds a curriculum and ``resume`` is false, or none, or another one, and it is true; the task does
            not say what success is; the robot lacks one of the quantities.
    """
    about: dict[str, Any] = {"robot": spec.name, "engine": engine, "seed": seed, "agent": agent_id}
    record = Record(folder)
    stage = Stage(spec, curriculum, agent, seed, engine)
    with stage.begin():
        pass  # what cannot be played is refused before anything is written
    if resume:
        state = record.resume(curriculum, about, seed)
    else:
        state = AutomaticRandomization(curriculum, seed)
        record.create(curriculum, about, state)
    results = (executor or Here()).run(stage.begin, _drawn(state), window=curriculum.ahead)
    try:
        while state.learned < episodes:
            outcome = next(results)
            episode = state.learn(outcome)
            pin = episode.pin
            row = Row(
                episode=episode.number,
                quantity=pin.quantity if pin is not None else "",
                side=pin.side if pin is not None else "",
                value=pin.value if pin is not None else None,
                success=outcome.success,
                exploded=outcome.exploded,
                entropy=state.entropy,
                ranges=dict(state.ranges),
            )
            record.add(row, state)
            progress(row)
    finally:
        results.close()
    return state


def _drawn(state: AutomaticRandomization) -> Iterator[Episode]:
    yield from list(state.pending)
    while True:
        yield state.draw()


def learned_randomization(spec: RobotSpec, state: AutomaticRandomization, engine: str = "bullet") -> Randomization:
    """The present ranges as robot.yaml's ``randomization``, together with all that the curriculum left alone."""
    plant = Plant(spec, engine=engine)
    try:
        return merged(state.settings, state.ranges, plant.randomization, plant.nominal)
    finally:
        plant.close()
