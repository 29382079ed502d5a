"""Learned agents in the controller node, over DDS, on the robot that they learned on: little of their return is lost.

How much a long training keeps is measured by ``forerun bench deployment``; here agents of each kind are made in seconds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from forerun import lockstep
from forerun.deployment import Setting, in_environment, setting_of
from forerun.lockstep import Lockstep
from forerun_models.agents.base import Agent
from forerun_models.agents.dreamer.agent import DreamerAgent
from forerun_models.agents.environment import make_environment
from forerun_models.agents.folder import About
from forerun_models.agents.learn import learn, load_learned
from forerun_models.agents.mbpo.agent import MbpoAgent
from forerun_models.agents.registry import make_agent, settings_of
from forerun_models.agents.sac.cloning import clone
from forerun_models.bundle import load
from forerun_models.export.agents import export_agent, export_run
from forerun_models.recipe import Recipe
from forerun_sim import resources
from forerun_sim.spec import load_robot, load_yaml
from support.small_learner import NAME, SmallLearner

DURATION = 3.0
OPTIONS = {"randomize": False, "duration": DURATION}
FALLEN, HELD = 60.0, 300.0
"""About the return of a robot that falls because nobody acts, and the most that one that is held can have."""


def taught_table(folder: Path) -> tuple[About, Agent]:
    """Dyna-Q, as soon as it holds the pendulum: after some 6000 steps, which are two minutes of the robot's time."""
    recipe = folder.parent / "quick.yaml"
    settings = load_yaml(resources.find("agents", "dyna_q_pendulum"))
    recipe.write_text(yaml.safe_dump({**settings, "learning_rate": 0.1, "outcomes": 40}))
    for steps in range(6000, 22_000, 2000):
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
        if run.rows[-1]["eval_return_mean"] > 295.0:
            break
    return load_learned(folder)


def test_an_agent_keeps_nine_tenths_of_its_return_over_dds(domain: int, tmp_path: Path) -> None:
    """Of what it gained over a robot that falls; the episodes are the same in the environment and over DDS, where the simulator
    waits for each command: what a busy machine does to an agent in real time says nothing about the agent."""
    about, agent = taught_table(tmp_path / "run")
    bundle = export_agent(tmp_path / "bundle", agent, about)
    assert not load(bundle).has_model
    setting = setting_of(bundle, seed=5)
    assert setting == Setting(setting.robot, "balance", DURATION, randomize=False, seed=5)
    episodes = lockstep.deploy(bundle, setting, 2, tmp_path / "ros")
    numbers = [int(episode.seed) for episode in episodes if episode.seed is not None]
    here = np.mean(in_environment(agent, about, setting, numbers))
    there = np.mean([episode.total for episode in episodes])
    assert here > 0.5 * (FALLEN + HELD), "it learned something"
    assert there - FALLEN >= 0.9 * (here - FALLEN), (here, there)


def run_of(env: str, agent: str, **options: object) -> About:
    """A run that never took place, of an agent that is made by hand."""
    return About(
        env=env,
        options={"randomize": False, "duration": 2.0, **options},
        imports=(),
        agent=agent,
        settings={},
        seed=0,
        eval_every=1,
        eval_episodes=1,
    )


def wired_network() -> tuple[About, Agent]:
    """A network with the weights of a controller that holds the cart and the pole."""
    about = run_of("forerun/cartpole-balance-v0", NAME, angles="sincos")
    agent = SmallLearner(make_environment(about.env, SmallLearner, about.options).spec, SmallLearner.Settings(), 0)
    law = agent.policy_graph().law
    assert isinstance(law, torch.nn.Linear)
    state = agent.state_dict()
    # Of the cart's position, the angle's sine (0 upright) and cosine, and both speeds.
    state["law"] = {"weight": torch.tensor([[0.2, 6.0, 0.0, 0.35, -0.6]]), "bias": torch.zeros(1)}
    agent.load_state_dict(state)
    return about, agent


def cloned_policy() -> tuple[About, Agent]:
    """A policy of soft actor-critic that does what a feedback law does, which holds the pendulum upright."""
    about = run_of("forerun/pendulum-balance-v0", "mbpo", angles="sincos")
    agent = make_agent("mbpo", make_environment(about.env, MbpoAgent, about.options).spec, settings_of("mbpo", "mbpo_small"), 0)
    assert isinstance(agent, MbpoAgent)
    draws = torch.Generator().manual_seed(0)
    tilt, speed = (scale * torch.randn(4000, 1, generator=draws) for scale in (0.3, 2.0))
    seen = torch.cat([torch.sin(torch.pi + tilt), torch.cos(torch.pi + tilt), speed], dim=1)
    clone(agent.learner, seen, (-10.0 * tilt - 1.5 * speed).clamp(-1.0, 1.0), updates=400)
    return about, agent


def drawn_dreamer(**options: object) -> tuple[About, Agent]:
    """A Dreamer whose weights are drawn: what it does follows from all that it remembers."""
    about = run_of("forerun/pendulum-swingup-v0", "dreamer", **options)
    sizes = {"groups": 4, "classes": 4, "deter": 16, "hidden": 16, "channels": 4}
    settings = DreamerAgent.Settings.model_validate({"model": sizes, "behaviour": {"hidden": 16}})
    agent = make_agent("dreamer", make_environment(about.env, DreamerAgent, about.options).spec, settings, 0)
    assert isinstance(agent, DreamerAgent)
    last = agent.behaviour.policy.net[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.normal_(last.weight, generator=torch.Generator().manual_seed(0))
    return about, agent


MADE = {
    "network": wired_network,
    "soft actor-critic": cloned_policy,
    "dreamer": lambda: drawn_dreamer(angles="sincos", history=1),
    "dreamer from pictures": lambda: drawn_dreamer(camera="front"),
}
HOLDS = ("network", "soft actor-critic")


@pytest.mark.parametrize("name", MADE)
def test_a_policy_does_over_dds_what_it_does_in_its_environment(domain: int, tmp_path: Path, name: str) -> None:
    about, agent = MADE[name]()
    bundle = export_agent(tmp_path / "bundle", agent, about)
    setting = setting_of(bundle, seed=5)
    episodes = lockstep.deploy(bundle, setting, 2, tmp_path / "ros")
    environment = make_environment(about.env, type(agent), about.options)
    lower, upper = load_robot(setting.robot).action_limits(setting.task)
    for number, episode in enumerate(episodes):
        actor, observation, given = agent.actor(explore=False), environment.reset(5, {"episode": number}), []
        actor.reset(0)
        for _ in range(len(episode.actions)):
            given.append(np.clip(np.asarray(actor.act(observation), np.float32), -1.0, 1.0))
            observation = environment.step(given[-1]).observation
        assert np.mean(np.abs(episode.actions / (0.5 * (upper - lower)) - given) < 0.05) > 0.95
        assert np.std(given) > 0.02, "it acts"
        assert name not in HOLDS or episode.total > 0.9 * 2.0 * len(given), "it holds"
    environment.close()


def test_an_agent_that_plans_with_a_value_plans_over_dds_as_in_this_process(domain: int, tmp_path: Path) -> None:
    recipe = tmp_path / "small.yaml"
    recipe.write_text(
        yaml.safe_dump(
            {
                "warmup": 100,
                "train_every": 100,
                "model": {"members": 2, "elites": 2, "hidden": 8, "updates": 20},
                "planner": {"horizon": 4, "samples": 16, "elites": 4, "iterations": 1, "policy_samples": 3},
                "value": {"hidden": [8], "batch": 16, "rollouts": 20, "updates_per_step": 1, "discount": 0.97},
            }
        )
    )
    options = {"randomize": False, "duration": 1.0, "angles": "sincos"}
    learn(
        "forerun/pendulum-swingup-v0",
        "mpc",
        110,
        0,
        tmp_path / "run",
        recipe=recipe,
        options=options,
        eval_episodes=1,
        tensorboard=False,
    )
    quick = {"steps_per_epoch": 5, "phases": [{"epochs": 1, "horizon": 1}], "validation_horizon": 3, "holdout": 0.5}
    small = {"robot": "pendulum", "task": "swingup", "model": {"members": 2, "elites": 2, "hidden": 8}, "training": quick}
    planner = {"horizon": 4, "samples": 16, "elites": 4, "iterations": 1, "policy_samples": 3}
    bundle = export_run(tmp_path / "run", tmp_path / "bundle", Recipe.model_validate({**small, "planner": planner}))
    setting = Lockstep("pendulum", "swingup", 0.8, first=0, episodes=1, engine="bullet")
    _, [there] = lockstep.play(bundle, setting, tmp_path / "ros")
    [here] = lockstep.alone(bundle, setting)
    assert np.array_equal(there.states, here.states) and np.array_equal(there.actions, here.actions)
    assert np.std(here.actions) > 0.0
