"""Agents by name. To add one: a file with its class, and a line here."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import torch

from forerun_models.agents.base import Agent, EnvSpec
from forerun_sim import resources
from forerun_sim.errors import InputError
from forerun_sim.spec import Strict, load_yaml, validate

AGENTS = {
    "dreamer": "forerun_models.agents.dreamer.agent:DreamerAgent",
    "dyna-q": "forerun_models.agents.dyna_q:DynaQ",
    "mbpo": "forerun_models.agents.mbpo.agent:MbpoAgent",
    "mpc": "forerun_models.agents.mpc:MpcAgent",
    "q-learning": "forerun_models.agents.q_learning:QLearning",
    "random": "forerun_models.agents.random:RandomAgent",
    "sac": "forerun_models.agents.sac.agent:SacAgent",
}
"""Name -> module:class; a module is imported when its agent is asked for."""


def agent_class(name: str) -> type[Agent]:
    """The class of the agent called ``name``.

    Raises:
        InputError: there is none; the message lists those there are.
    """
    if name not in AGENTS:
        raise InputError(f"no agent named '{name}'; there are: {', '.join(sorted(AGENTS))}")
    module, _, attribute = AGENTS[name].partition(":")
    found: type[Agent] = getattr(import_module(module), attribute)
    return found


def settings_of(name: str, recipe: str | Path | None = None) -> Strict:
    """Settings of the agent called ``name``.

    Args:
        name: of the agent.
        recipe: a YAML file, or the name of one that ships (kind "agents"); if absent the one called like the agent, else the
            defaults.

    Raises:
        InputError: no such agent or recipe, or a key is wrong; the message names the file and the key.
    """
    settings = agent_class(name).Settings
    if recipe is None:
        shipped = resources.available("agents")
        if name not in shipped:
            return settings()
        recipe = shipped[name]
    path = Path(recipe)
    if not path.exists() and not path.suffix:
        path = resources.find("agents", str(recipe))
    return validate(settings, load_yaml(path) or {}, path)


def make_agent(name: str, env: EnvSpec, settings: Strict, seed: int, device: str = "cpu") -> Agent:
    """A new agent, repeatable from ``seed``.

    Raises:
        InputError: no such agent, or it cannot act in ``env``.
    """
    found = agent_class(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return found(env, settings, seed, device)
