"""Learned agents in the controller node, over DDS, on the robot that they learned on: little of their return is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from forerun.deployment import Setting, deploy, in_environment, setting_of
from forerun_models.agents.base import Agent
from forerun_models.agents.environment import make_environment
from forerun_models.agents.folder import About
from forerun_models.agents.learn import learn, load_learned
from forerun_models.bundle import load
from forerun_models.export.agents import export_agent
from forerun_sim import resources
from forerun_sim.spec import load_yaml
from support.small_learner import NAME, SmallLearner

DURATION = 3.0
OPTIONS = {"randomize": False, "duration": DURATION}
FALLEN = -10.0
"""About the return of a robot that falls because nobody acts; one that is held has -0.5 to -2."""


def taught_table(folder: Path) -> tuple[About, Agent]:
    """Dyna-Q, as soon as it holds the pendulum: after some 4000 steps, which are 80 s of the robot's time."""
    recipe = folder.parent / "quick.yaml"
    settings = load_yaml(resources.find("agents", "dyna_q_pendulum"))
    recipe.write_text(yaml.safe_dump({**settings, "learning_rate": 0.1, "outcomes": 40}))
    for steps in range(4000, 22_000, 2000):
        run = learn(
            "forerun/pendulum-balance-v0",
            "dyna-q",
            steps,
            0,
            folder,
            recipe=recipe,
            options={**OPTIONS, "history": 1},
            eval_every=2000,
            resume=True,
            tensorboard=False,
            checkpoint_seconds=0.3,
        )
        if run.rows[-1]["eval_return_mean"] > -2.0:
            break
    return load_learned(folder)


def wired_network(folder: Path) -> tuple[About, Agent]:
    """A network with the weights of a controller that holds the cart and the pole."""
    run = About(
        env="forerun/cartpole-balance-v0",
        options={**OPTIONS, "angles": "sincos"},
        imports=(),
        agent=NAME,
        settings={},
        seed=0,
        eval_every=1,
        eval_episodes=1,
    )
    agent = SmallLearner(make_environment(run.env, SmallLearner, run.options).spec, SmallLearner.Settings(), 0)
    law = agent.policy_graph().law
    assert isinstance(law, torch.nn.Linear)
    state = agent.state_dict()
    # Of the cart's position, the angle's sine (0 upright) and cosine, and both speeds.
    state["law"] = {"weight": torch.tensor([[0.2, 6.0, 0.0, 0.35, -0.6]]), "bias": torch.zeros(1)}
    agent.load_state_dict(state)
    return run, agent


@pytest.mark.parametrize("taught", [taught_table, wired_network])
def test_an_agent_keeps_nine_tenths_of_its_return_over_dds(domain: int, tmp_path: Path, taught: object) -> None:
    """Of what it gained over a robot that falls; the episodes are the same in the environment and over DDS."""
    about, agent = taught(tmp_path / "run")  # type: ignore[operator]
    bundle = export_agent(tmp_path / "bundle", agent, about)
    assert not load(bundle).has_model
    setting = setting_of(bundle, seed=5)
    assert setting == Setting(setting.robot, "balance", DURATION, randomize=False, seed=5)
    episodes = deploy(bundle, setting, 2, tmp_path / "ros")
    numbers = [int(episode.seed) for episode in episodes if episode.seed is not None]
    here = np.mean(in_environment(agent, about, setting, numbers))
    there = np.mean([episode.total for episode in episodes])
    assert here > 0.5 * FALLEN, "it learned something"
    assert there - FALLEN >= 0.9 * (here - FALLEN), (here, there)
