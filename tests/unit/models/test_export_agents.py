"""Bundles of learned agents: the controller's history becomes the environment's observation, and the agent acts as it learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from forerun.cli.app import app
from forerun.control.agent import BundleAgent
from forerun_models.agents.base import Actor, Observation, PolicyGraph
from forerun_models.agents.best import best_of
from forerun_models.agents.environment import make_environment
from forerun_models.agents.folder import About, Folder
from forerun_models.agents.learn import learn
from forerun_models.agents.registry import make_agent
from forerun_models.bundle import load
from forerun_models.export.agents import export_agent
from forerun_models.training.finetune import load_parent
from forerun_sim.collect import collect
from forerun_sim.errors import ForerunError, InputError
from forerun_sim.spec import load_robot
from support import small_learner
from support.small_learner import SmallActor, SmallLearner

BALANCE = "forerun/cartpole-balance-v0"


def about(env: str = BALANCE, **options: Any) -> About:
    run = {"imports": (), "agent": small_learner.NAME, "settings": {}, "seed": 3, "eval_every": 1, "eval_episodes": 1}
    return About(env=env, options=options, **run)


def agent_for(run: About, kind: type[SmallLearner] = SmallLearner) -> SmallLearner:
    spec = make_environment(run.env, kind, run.options).spec
    if kind is SmallLearner:
        made = make_agent(run.agent, spec, kind.Settings(), 1)
        assert isinstance(made, SmallLearner)
        return made
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return kind(spec, kind.Settings(), 1)


@pytest.mark.parametrize(
    ("env", "options"),
    [
        (BALANCE, {}),
        (BALANCE, {"history": 3, "angles": "sincos"}),
        (BALANCE, {"history": 1, "actions": "physical"}),
        ("forerun/panda-velocity-reach-v0", {"history": 2}),
    ],
)
def test_the_bundle_does_in_every_step_what_the_agent_does(tmp_path: Path, env: str, options: dict[str, Any]) -> None:
    """``export_agent`` plays an episode with both and refuses a graph that differs; here the bundle itself is asked again."""
    run = about(env, **options)
    agent = agent_for(run)
    bundle = load(export_agent(tmp_path / "bundle", agent, run, {"eval_return_mean": -1.0}))
    manifest = bundle.manifest
    assert (manifest.horizon, manifest.agent, bundle.has_model) == (1, "small", False)
    assert manifest.history == (options["history"] + 1 if options.get("history") else 1)
    history = np.zeros((manifest.history, manifest.state_size + manifest.action_size))
    decision = bundle.act(history, manifest.goal_default, np.zeros(0), 0.0, 0.0, bundle.start())
    assert decision.plan.shape == (manifest.commands_per_step, manifest.action_size)
    assert decision.predicted.size == decision.imagined.size == 0
    assert np.isnan(decision.disagreement) and np.isnan(decision.value)
    assert (decision.plan >= manifest.command_lower).all() and (decision.plan <= manifest.command_upper).all()
    if manifest.goal_size:
        elsewhere = bundle.act(history, manifest.goal_default + 0.3, np.zeros(0), 0.0, 0.0, {})
        assert np.abs(elsewhere.plan - decision.plan).max() > 0, "the goal is an input"


class Leaky(PolicyGraph):
    """Acts on a mean of what it saw that forgets."""

    def __init__(self, law: torch.nn.Linear) -> None:
        super().__init__({"carry_seen": (1, law.in_features)})
        self.law = law

    def forward(self, observation: torch.Tensor, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen = 0.5 * seen + 0.5 * observation
        return self.law(seen), seen


class LeakyActor(SmallActor):
    def reset(self, seed: int) -> None:
        super().reset(seed)
        self._seen: Any = 0.0

    def act(self, observation: Observation) -> np.ndarray:
        self._seen = 0.5 * self._seen + 0.5 * observation
        return super().act(np.asarray(self._seen, np.float32))


class LeakyLearner(SmallLearner):
    forgets = True

    def actor(self, explore: bool) -> Actor:
        return LeakyActor(self._law, 0.0) if self.forgets else SmallActor(self._law, 0.0)

    def policy_graph(self) -> PolicyGraph:
        return Leaky(self._law)


def test_what_a_policy_remembers_goes_on_in_the_carry(tmp_path: Path) -> None:
    run = about(angles="sincos")
    bundle = load(export_agent(tmp_path / "bundle", agent_for(run, LeakyLearner), run))
    carry = bundle.start()
    assert carry["carry_seen"].tolist() == [[0.0] * 5]
    history = np.array([[0.4, 0.0, 0.2, 0.0, 0.0]])
    seen = [carry := bundle.act(history, [], [], 0.0, 0.0, carry).carry for _ in range(2)]
    assert seen[0]["carry_seen"][0] == pytest.approx([0.2, 0.0, 0.5, 0.1, 0.0])
    assert seen[1]["carry_seen"][0] == pytest.approx([0.3, 0.0, 0.75, 0.15, 0.0])


def test_a_graph_that_acts_otherwise_than_its_agent_is_no_bundle(tmp_path: Path) -> None:
    run = about()
    agent = agent_for(run, LeakyLearner)
    LeakyLearner.forgets = False
    try:
        with pytest.raises(ForerunError, match="acts as the agent does in"):
            export_agent(tmp_path / "bundle", agent, run)
    finally:
        LeakyLearner.forgets = True
    assert not (tmp_path / "bundle").exists()


def test_the_command_exports_a_run_and_the_controllers_core_drives_the_robot_with_it(tmp_path: Path) -> None:
    learn(BALANCE, "small", 60, 0, tmp_path / "run", eval_every=60, eval_episodes=1, tensorboard=False)
    shown = CliRunner().invoke(app, ["export", str(tmp_path / "run"), "--out", str(tmp_path / "bundle")])
    assert shown.exit_code == 0, shown.output
    assert "the agent of the best evaluation after 60 steps, return" in " ".join(shown.stderr.split())
    recordings = collect(load_robot("cartpole"), episodes=1, task="balance", seed=0, policy=BundleAgent(tmp_path / "bundle"))
    assert len(list(recordings)) == 1


def test_the_best_agent_is_exported_and_the_last_on_demand(tmp_path: Path) -> None:
    learn(BALANCE, "small", 80, 1, tmp_path / "run", eval_every=20, eval_episodes=1, tensorboard=False)
    rows = Folder(tmp_path / "run").rows()
    best, last = best_of(rows), rows[-1]
    assert best != last, "learning at random, it does not only climb"
    for row, name, flags in ((best, "best", []), (last, "last", ["--last"])):
        out = tmp_path / name
        shown = CliRunner().invoke(app, ["export", str(tmp_path / "run"), "--out", str(out), *flags])
        told = " ".join(shown.stderr.split())
        assert f"the agent of the {name} evaluation after {row['env_steps']:.0f} steps" in told, told
        assert "(the last: evaluation after 80" in told or name == "last"
        assert load(out).manifest.metrics["eval_return_mean"] == row["eval_return_mean"]
    commands = [load(tmp_path / name).act(np.ones((1, 5)), [], [], 0.0, 0.0, {}).plan for name in ("best", "last")]
    assert not np.allclose(*commands)


def test_an_agent_without_a_model_is_not_fine_tuned(tmp_path: Path) -> None:
    run = about()
    bundle = load(export_agent(tmp_path / "bundle", agent_for(run), run))
    with pytest.raises(InputError, match="holds a small agent without a model"):
        load_parent(bundle)


def test_what_cannot_be_exported_is_told(tmp_path: Path) -> None:
    learn("test/line-v0", "small", 40, 0, tmp_path / "line", eval_every=40, eval_episodes=1, tensorboard=False)
    learn(BALANCE, "random", 40, 0, tmp_path / "random", eval_every=40, eval_episodes=1, tensorboard=False)
    for run, message in (("line", "is no environment of a robot"), ("random", "RandomAgent has no policy")):
        shown = CliRunner().invoke(app, ["export", str(tmp_path / run), "--out", str(tmp_path / "bundle")])
        assert (shown.exit_code, message in shown.stderr) == (2, True), shown.stderr
    (tmp_path / "random" / "agent.pt").unlink()
    shown = CliRunner().invoke(app, ["export", str(tmp_path / "random"), "--out", str(tmp_path / "bundle")])
    assert "has not ended: go on with 'forerun learn ... --resume'" in shown.stderr
    with pytest.raises(InputError, match=r"no learn\.yaml"):
        from forerun_models.agents.learn import load_learned

        load_learned(tmp_path)
