"""Writes the bundle of an agent that learned in one of our environments: its policy is act.onnx, and there is no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor, nn

from forerun_models.agents.base import Agent, PolicyGraph
from forerun_models.agents.environment import Environment, make_environment
from forerun_models.agents.experience import settings_of_robot
from forerun_models.agents.folder import COLUMNS, About, Folder
from forerun_models.agents.learn import load_learned
from forerun_models.agents.mpc import MpcAgent
from forerun_models.bundle import ParityCase, write
from forerun_models.export.graphs import to_onnx
from forerun_models.export.manifest import manifest_of
from forerun_models.export.observation import ObservationGraph
from forerun_models.export.planning import export_planning
from forerun_models.recipe import Recipe
from forerun_sim.authoring.portable import portable_files
from forerun_sim.env.environment import RobotEnv
from forerun_sim.env.settings import EnvSettings
from forerun_sim.errors import ForerunError

_SAME = 1e-3
"""Largest difference of actions, in [-1, 1], that rounding makes."""
_SHARE = 0.98
"""Share of an episode's steps in which graph and agent must do the same: a table's cells have edges, where rounding decides."""
_PARITY_CASES = 4
_STEPS = 300


class ActGraph(nn.Module):
    """act.onnx of a policy: the observation is built of the history, and the plan is one step long.

    Args:
        policy: of the agent.
        settings: of the environment in which it learned.
    """

    def __init__(self, policy: PolicyGraph, settings: EnvSettings) -> None:
        super().__init__()
        robot = settings.robot
        self.policy = policy
        self.observation = ObservationGraph(settings)
        lower, upper = (torch.as_tensor(limit, dtype=torch.float32) for limit in robot.action_limits(settings.task))
        self._middle, self._scale = 0.5 * (lower + upper), 0.5 * (upper - lower)
        self._states = 2 * len(robot.joints)
        self._commands = round((robot.control.command_rate or robot.control.rate) / robot.control.rate)
        self.outputs = ["plan", "predicted", "value", "disagreement", "imagined", *(f"next_{name}" for name in policy.carry)]

    def forward(self, history: Tensor, goal: Tensor, *carry: Tensor) -> tuple[Tensor, ...]:
        """history [1, K, S+A], goal [1, G] and the carry -> plan [1, H, A] in physical units, H commands of one control period;
        predicted [1, 0, S]; value and disagreement [1], not a number; imagined [1, 1, 0, S]; the next carry."""
        return self._answer(history, *self.policy(self.observation(history, goal), *carry))

    def _answer(self, history: Tensor, action: Tensor, *following: Tensor) -> tuple[Tensor, ...]:
        plan = self.command(action)[:, None].expand(-1, self._commands, -1)
        nothing = history[:, :0, : self._states]
        unknown = torch.full((1,), float("nan"))
        return plan, nothing, unknown, unknown.clone(), nothing[:, None], *following

    def inputs(self, history: Tensor, goal: Tensor, observation: NDArray[Any]) -> dict[str, Tensor]:
        """Arguments of ``forward`` before the carry, by name, when the environment shows ``observation``."""
        return {"history": history, "goal": goal}

    def command(self, action: Tensor) -> Tensor:
        """The command [..., A] in physical units that an action [..., A] means."""
        return self._middle + self._scale * action.clamp(-1.0, 1.0)

    def first_carry(self) -> dict[str, Tensor]:
        """The carry of an episode's first call."""
        return {name: torch.zeros(shape) for name, shape in self.policy.carry.items()}


class PictureGraph(ActGraph):
    """act.onnx of a policy that acts by a camera's pictures."""

    def forward(self, history: Tensor, goal: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """As ``ActGraph``, with ``image`` uint8 [1, H, W, 3] before the carry."""
        image, *carry = rest
        return self._answer(history, *self.policy(image, *carry))

    def inputs(self, history: Tensor, goal: Tensor, observation: NDArray[Any]) -> dict[str, Tensor]:
        return {"history": history, "goal": goal, "image": torch.as_tensor(observation)[None]}


def export_run(run: str | Path, out: str | Path, recipe: Recipe | None = None, *, best: bool = True) -> Path:
    """Writes the bundle ``out`` of the finished run of `forerun learn` in the folder ``run``.

    Args:
        run: its folder.
        out: a folder that does not exist yet.
        recipe: for agents that plan.
        best: takes the agent of the evaluation with the highest return, else the one that the run ended with. The bundle's
            metrics are those of that evaluation.

    Raises:
        InputError: no finished run, or not one in an environment of a robot (``forerun/...``), or its agent has no policy, or
            its best was not kept.
        BundleError: ``out`` exists.
        ForerunError: the graph does not do what the agent does; or the disk is full.
    """
    about, agent = load_learned(Path(run), best=best)
    row = Folder(Path(run)).row(best)
    metrics = {name: row[name] for name in COLUMNS if name in row}
    if isinstance(agent, MpcAgent):
        return export_planning(out, agent, about, metrics, recipe)
    return export_agent(out, agent, about, metrics)


def export_agent(out: str | Path, agent: Agent, about: About, metrics: Mapping[str, float] | None = None) -> Path:
    """Writes the bundle ``out`` of an ``agent`` that learned as ``about`` says; errors as in ``export_run``.

    Args:
        out: a folder that does not exist yet.
        agent: trained.
        about: of its run: environment and options decide how observations are built.
        metrics: go into the bundle's, such as the return that it had in training.
    """
    environment = make_environment(about.env, type(agent), about.options)
    try:
        settings = settings_of_robot(environment.env, about.env)
        kind = PictureGraph if agent.env.pictures else ActGraph
        graph = kind(agent.policy_graph().cpu().eval(), settings)
        episode = _play(agent, environment, _twin(settings), about.seed, graph)
    finally:
        environment.close()
    files = {
        "act.onnx": to_onnx(graph, episode.steps[0], graph.outputs),
        "train/learn.yaml": yaml.safe_dump(about.model_dump(mode="json"), sort_keys=False).encode(),
        **{f"train/robot/{name}": content for name, content in portable_files(settings.robot).items()},
    }
    manifest = manifest_of(
        settings.robot,
        settings.task,
        agent=about.agent,
        history=graph.observation.history,
        horizon=1,
        noise_size=0,
        carry=graph.policy.carry,
        thresholds={},
        trained_on={"environment": about.env, "options": dict(about.options), "seed": about.seed},
        metrics=dict(metrics or {}),
        parent=None,
    )
    return write(out, manifest, files, _parity(graph, episode, about.seed))


@dataclass(frozen=True)
class _Episode:
    """Arguments of the graph's forward, by name, at each step of an episode."""

    steps: list[dict[str, Tensor]]


def _twin(settings: EnvSettings) -> RobotEnv:
    """The same robot, which shows what its sensors say and nothing else; (seed, actions) lead to the same episode."""
    return RobotEnv(
        settings.robot,
        settings.task,
        engine=settings.engine,
        randomize=settings.randomize,
        actions=settings.actions,
        max_episode_steps=settings.steps,
        duration=settings.steps * settings.robot.control.period,
        # A goal that is stated is the goal of all episodes.
        goal=None if settings.goals_vary else settings.goal,
    )


@torch.no_grad()
def _play(agent: Agent, environment: Environment, twin: RobotEnv, seed: int, graph: ActGraph) -> _Episode:
    """An episode of the agent, in which the graph sees what the controller would give it, and must do the same.

    Raises:
        ForerunError: it does not.
    """
    rows, commands = graph.observation.history, []
    readings, drawn = twin.reset(seed=seed)
    observation = environment.reset(seed)
    actor = agent.actor(explore=False)
    actor.reset(seed)
    states, goal = [_state(twin, readings)], torch.as_tensor(drawn["goal"], dtype=torch.float32)[None]
    carry, same = graph.first_carry(), []
    steps: list[dict[str, Tensor]] = []
    commands.append(twin.command)
    reach = graph.command(torch.ones(1)) - graph.command(torch.zeros(1)) + 1e-9
    over, worst = False, 0.0
    while not over and len(steps) < _STEPS:
        history = _history(states, commands, rows)
        if not agent.env.pictures:
            built = graph.observation(history, goal)[0].numpy()
            worst = max(worst, float(np.abs(built - observation).max()))
        action = np.asarray(actor.act(observation), np.float32)
        steps.append({**graph.inputs(history, goal, observation), **carry})
        plan, *rest = graph(*steps[-1].values())
        difference = (plan[0, 0] - graph.command(torch.as_tensor(action))).abs() / reach
        same.append(float(difference.max()) < _SAME)
        carry = dict(zip(carry, rest[4:], strict=True))
        outcome = environment.step(action)
        readings, *_ = twin.step(environment.meant(action))
        observation, over = outcome.observation, outcome.terminated or outcome.truncated
        states.append(_state(twin, readings))
        commands.append(twin.command)
    twin.close()
    if worst > _SAME:
        raise ForerunError(f"the bundle would show its agent other observations than the environment did, by {worst:.3g}")
    if np.mean(same) < _SHARE:
        raise ForerunError(f"the policy graph acts as the agent does in {np.mean(same):.0%} of the steps only")
    return _Episode(steps)


def _state(twin: RobotEnv, observation: NDArray[np.float32]) -> NDArray[np.float32]:
    """[S] of an observation that is a reading and the goal."""
    return observation[: 2 * len(twin.robot.joints)]


def _history(states: list[NDArray[np.float32]], commands: list[NDArray[np.float64]], rows: int) -> Tensor:
    """[1, K, S+A] now. ``commands[i]`` led to ``states[i]``, so it was given one row before; the last one is under way."""
    given = [*commands[1:], commands[-1]]
    table = [np.concatenate([state, command]) for state, command in zip(states[-rows:], given[-rows:], strict=True)]
    first = np.concatenate([states[0], commands[0]])
    return torch.as_tensor(np.array([first] * (rows - len(table)) + table), dtype=torch.float32)[None]


@torch.no_grad()
def _parity(graph: ActGraph, episode: _Episode, seed: int) -> list[ParityCase]:
    """The steps whose action changes least when all inputs are disturbed in their fifth digit (see ``export._act_parity``)."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for step in torch.randperm(len(episode.steps), generator=generator)[:40].tolist():
        inputs = episode.steps[step]
        outputs = dict(zip(graph.outputs, graph(*inputs.values()), strict=True))
        disturbed = [_disturbed(tensor, generator) for tensor in inputs.values()]
        change = float((graph(*disturbed)[0] - outputs["plan"]).abs().max())
        given = {name: tensor.numpy() for name, tensor in inputs.items()}
        found.append((change, ParityCase("act", given, {name: tensor.numpy() for name, tensor in outputs.items()}, 1e-3)))
    found.sort(key=lambda pair: pair[0])
    return [case for _, case in found[:_PARITY_CASES]]


def _disturbed(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """``tensor`` with another fifth digit; whole numbers as they are."""
    return tensor * (1 + 1e-5 * torch.randn(tensor.shape, generator=generator)) if tensor.is_floating_point() else tensor
