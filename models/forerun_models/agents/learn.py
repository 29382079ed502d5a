"""The loop in which every agent learns: act, observe, update; evaluate now and then; survive kill -9 at any moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from forerun_models.agents.advice import no_time_limit, told
from forerun_models.agents.base import Agent, Step
from forerun_models.agents.best import Row
from forerun_models.agents.environment import Environment, import_modules, make_environment
from forerun_models.agents.evaluate import evaluate, seed_of
from forerun_models.agents.experience import settings_of_robot, steps_of
from forerun_models.agents.folder import About, Folder
from forerun_models.agents.registry import agent_class, make_agent, settings_of
from forerun_models.training.curves import Curves
from forerun_sim.errors import InputError
from forerun_sim.trial import Trial

_EPISODE, _ACTOR = 0, 2
_CHECKPOINT_SHARE = 0.05
"""Checkpoints take at most this part of the time: a large replay buffer is not written after every short episode."""
_SHOWN_EVERY = 0.1


class Progress(NamedTuple):
    """How far a run is. Returns and errors are None before the first."""

    env_steps: int
    train_return: float | None
    eval_return: float | None
    model_error: float | None


@dataclass(frozen=True)
class Learned:
    """A run that is done."""

    folder: Path
    about: About
    agent: Agent
    rows: list[Row]


def learn(
    env_id: str,
    agent: str,
    steps: int,
    seed: int,
    out: Path,
    *,
    recipe: str | Path | None = None,
    imports: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    start: Sequence[Trial] = (),
    offline_updates: int = 0,
    eval_every: int = 1000,
    eval_episodes: int = 5,
    device: str = "cpu",
    resume: bool = False,
    tensorboard: bool = True,
    checkpoint_seconds: float = 10.0,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    advise: Callable[[str], None] = lambda text: None,
) -> Learned:
    """Lets an agent learn in an environment.

    Args:
        env_id: as ``gymnasium.make`` takes it.
        agent: its name.
        steps: environment steps in all, those before a resumption included; with ``start`` 0 is allowed: nothing is tried out.
        seed: of everything random; (seed, number) decides each episode's initial state.
        out: folder of the run, see ``Folder``.
        recipe: as ``settings_of`` takes it.
        imports: modules that register environments.
        options: keywords for ``gymnasium.make``.
        start: trials of the environment's robot, which the agent observes before its first step.
        offline_updates: updates after that; the curve then begins at 0 steps.
        eval_every: steps between evaluations; one more at the end.
        eval_episodes: episodes of an evaluation.
        device: torch device for networks.
        resume: go on from the last checkpoint, if there is one, to the same curve.
        tensorboard: whether to write curves there, too.
        checkpoint_seconds: least time between checkpoints, which are written at ends of episodes.
        on_progress: told some times a second.
        advise: told what the agent's user should know, each text once.

    Raises:
        InputError: no such environment, agent or recipe, they do not fit, or ``out`` holds something else.
        ForerunError: the environment gave numbers that are not finite.
    """
    _check(device, steps=steps + len(start), eval_every=eval_every, eval_episodes=eval_episodes)
    import_modules(imports)
    kind = agent_class(agent)
    settings = settings_of(agent, recipe)
    about = About(
        env=env_id,
        options=dict(options or {}),
        imports=tuple(imports),
        agent=agent,
        settings=settings.model_dump(mode="json"),
        seed=seed,
        eval_every=eval_every,
        eval_episodes=eval_episodes,
        start=tuple(trial.digest() for trial in start),
        offline_updates=offline_updates,
    )
    folder = Folder(out)
    if resume and folder.finished and folder.about() == about and (rows := folder.rows())[-1]["env_steps"] >= steps:
        return Learned(out, about, load_learned(out, device)[1], rows)
    environment = make_environment(env_id, kind, options)
    judge = make_environment(env_id, kind, options)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            learner = make_agent(agent, environment.spec, settings, seed, device)
            state = folder.begin(about, resume)
            with Curves(out / "tensorboard" if tensorboard else None) as curves:
                loop = _Loop(about, folder, learner, environment, judge, curves, on_progress, advise)
                if state is not None:
                    loop.restore(state)
                elif start:
                    loop.begin_with(steps_of(start, settings_of_robot(environment.env, env_id)))
                loop.run(steps, checkpoint_seconds)
    finally:
        environment.close()
        judge.close()
    return Learned(out, about, learner, loop.rows)


def load_learned(out: Path, device: str = "cpu", *, best: bool = False) -> tuple[About, Agent]:
    """What a finished run was, and the agent that it ended with, or that did ``best`` in an evaluation.

    Raises:
        InputError: no run, not finished, or its best was not kept.
    """
    folder = Folder(out)
    about = folder.about()
    state = folder.agent_state(best)
    import_modules(about.imports)
    kind = agent_class(about.agent)
    environment = make_environment(about.env, kind, about.options)
    environment.close()
    agent = make_agent(about.agent, environment.spec, kind.Settings.model_validate(about.settings), about.seed, device)
    agent.load_state_dict(state)
    return about, agent


class _Loop:
    """One run. ``restore`` and what ``_save`` writes make it independent of when it was killed."""

    def __init__(
        self,
        about: About,
        folder: Folder,
        agent: Agent,
        environment: Environment,
        judge: Environment,
        curves: Curves,
        on_progress: Callable[[Progress], None],
        advise: Callable[[str], None],
    ) -> None:
        self.rows: list[Row] = []
        self._about, self._folder, self._agent, self._curves = about, folder, agent, curves
        self._episodes: list[Row] = []
        self._environment, self._judge = environment, judge
        self._on_progress, self._advise = on_progress, advise
        self._steps = self._episode = 0
        self._sums: dict[str, list[float]] = {}
        self._last: dict[str, float] = {}
        self._advice: list[tuple[int, str]] = []
        self._earlier = self._judged = self._worked = 0.0
        self._begun, self._at_work = time.perf_counter(), time.process_time()
        self._shown = 0.0

    def run(self, steps: int, checkpoint_seconds: float) -> None:
        """Goes on until ``steps`` environment steps."""
        self._folder.begin_curve(self.rows)
        saved, pause = time.perf_counter(), checkpoint_seconds
        while self._steps < steps:
            if self._play(steps) and time.perf_counter() - saved >= pause:
                begun = time.perf_counter()
                self._save()
                saved = time.perf_counter()
                pause = max(checkpoint_seconds, (saved - begun) / _CHECKPOINT_SHARE)
        if not self.rows or self.rows[-1]["env_steps"] < self._steps:
            self._evaluate()
        self._folder.finish(self._agent.state_dict())

    def begin_with(self, experience: Sequence[Step]) -> None:
        """Learns from what was seen elsewhere, before the first step."""
        for step in experience:
            self._agent.observe(step)
        for _ in range(self._about.offline_updates):
            self._count(self._agent.update())
        self._evaluate()
        self._save()

    def _play(self, steps: int) -> bool:
        """One episode, or the part of it that fits into ``steps``; whether it came to its end."""
        about, agent, environment = self._about, self._agent, self._environment
        observation = environment.reset(seed_of(about.seed, _EPISODE, self._episode))
        actor = agent.actor(explore=True)
        actor.reset(seed_of(about.seed, _ACTOR, self._episode))
        total, over, begun = 0.0, False, self._steps
        while not over and self._steps < steps:
            action = actor.act(observation)
            outcome = environment.step(action)
            over = outcome.terminated or outcome.truncated
            self._steps += 1
            total += outcome.reward
            if not outcome.unstable:
                agent.observe(
                    Step(observation, action, outcome.reward, outcome.observation, outcome.terminated, outcome.truncated)
                )
            observation = outcome.observation
            self._count(agent.update())
            if over:
                self._episode += 1
                self._episodes.append({"env_steps": self._steps, "return": total, "length": self._steps - begun})
                self._count({**agent.end_episode(), "train_return": total})
            if self._steps % about.eval_every == 0:
                self._evaluate()
            self._show()
        return over

    def _evaluate(self) -> None:
        """A row of the curve."""
        about, begun = self._about, time.perf_counter()
        number = -(-self._steps // about.eval_every)
        result = evaluate(self._agent.actor(explore=False), self._judge, about.eval_episodes, about.seed, number)
        ended = time.perf_counter()
        self._judged += ended - begun
        row: Row = {
            "env_steps": self._steps,
            "wall_s": round(self._earlier + ended - self._begun, 3),
            "eval_return_mean": result.mean,
            "eval_return_std": result.std,
            "eval_length_mean": result.length,
            **({} if result.success is None else {"eval_success": result.success}),
            "eval_wall_s": round(self._judged, 3),
            "cpu_s": round(self._cpu_s(), 3),
            "episodes": self._episode,
            **{name: sum_ / count for name, (sum_, count) in self._sums.items()},
        }
        self._last |= {"eval_return": result.mean}
        self._sums = {}
        self.rows.append(row)
        self._folder.keep_if_best(self.rows, self._agent.state_dict)
        self._folder.write_rows(self.rows)
        self._folder.write_episodes(self._episodes)
        self._curves.add(int(row["env_steps"]), {name if "/" in name else f"run/{name}": value for name, value in row.items()})
        known = {text for _, text in self._advice}
        for text in told(no_time_limit(self._environment.spec.horizon), *self._agent.advice()):
            if text not in known:
                known.add(text)
                self._advice.append((self._steps, text))
                self._advise(text)
        self._folder.write_advice(self._advice)

    def _count(self, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            entry = self._sums.setdefault(name, [0.0, 0])
            entry[0] += value
            entry[1] += 1
            if name in ("train_return", "model_error"):
                self._last[name] = value

    def _show(self) -> None:
        now = time.perf_counter()
        if now - self._shown > _SHOWN_EVERY:
            self._shown = now
            last = self._last
            self._on_progress(Progress(self._steps, last.get("train_return"), last.get("eval_return"), last.get("model_error")))

    def _cpu_s(self) -> float:
        """Seconds of the processor, over all resumptions."""
        return self._worked + time.process_time() - self._at_work

    def _save(self) -> None:
        loop = {
            "steps": self._steps,
            "episode": self._episode,
            "wall_s": self._earlier + time.perf_counter() - self._begun,
            "judged_s": self._judged,
            "cpu_s": self._cpu_s(),
            "sums": self._sums,
            "last": self._last,
            "rows": self.rows,
            "episodes": self._episodes,
            "advice": [list(entry) for entry in self._advice],
            "torch": torch.get_rng_state(),
        }
        self._folder.save(loop, self._agent.state_dict())
        self._folder.write_episodes(self._episodes)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Becomes the loop that was saved."""
        loop = state["loop"]
        self._agent.load_state_dict(state["agent"])
        self._steps, self._episode, self._episodes = loop["steps"], loop["episode"], loop["episodes"]
        self._earlier, self._judged, self._worked = loop["wall_s"], loop["judged_s"], loop["cpu_s"]
        self._sums, self._last, self.rows = loop["sums"], loop["last"], loop["rows"]
        self._advice = [(step, text) for step, text in loop["advice"]]
        torch.set_rng_state(loop["torch"])
        self._curves.resume(self._steps)


def _check(device: str, **counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise InputError(f"{name} {value}: must be at least 1")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device '{device}': this machine has no CUDA device that torch can use; take cpu")
