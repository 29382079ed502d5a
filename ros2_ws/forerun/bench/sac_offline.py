"""Learning from a fixed set of trials of mixed quality: behaviour cloning, imagination without and with caution.

The data are the newest transitions of a run of ``sac`` that is stopped when it is half good: poles that fall soon, later, or not
at all. Nothing is tried out in the environment. ``mopo`` penalises, cuts and weights rollouts by disagreement and is drawn to the
data's actions; ``no-penalty`` is only drawn to these, and ``mbpo`` heeds nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forerun.bench.records import Row

if TYPE_CHECKING:
    from forerun_models.agents.base import Step

ENV = "forerun/cartpole-balance-v0"
OPTIONS = {"angles": "sincos", "history": 2}
MEDIUM = 400.0
"""Mean return of the newest three episodes at which the data end; 800 is the best."""
KEPT = 1000
"""The newest transitions, which are the data."""
UPDATES = 6000
EVALUATED = 10
DATA_SEED = 100
_RECENT = 3
_HEEDLESS = {"disagreement_bonus": 0.0, "cut_disagreement": 1e9, "weighted": False}
WAYS: dict[str, dict[str, Any] | None] = {
    "offline-cloning": None,
    "offline-mbpo": {**_HEEDLESS, "cloning": 0.0},
    "offline-no-penalty": _HEEDLESS,
    "offline-mopo": {},
}
"""Row -> changes of the recipe ``mopo_small``; None for behaviour cloning."""


def data() -> list[Step]:
    """The transitions; the same in each call."""
    from forerun_models.agents.base import Step
    from forerun_models.agents.environment import make_environment
    from forerun_models.agents.registry import agent_class, make_agent, settings_of

    environment = make_environment(ENV, agent_class("sac"), OPTIONS)
    agent = make_agent("sac", environment.spec, settings_of("sac", "sac_small"), DATA_SEED)
    steps: list[Step] = []
    returns: list[float] = []
    while sum(returns[-_RECENT:]) < _RECENT * MEDIUM:
        observation, over = environment.reset(DATA_SEED + len(returns)), False
        actor = agent.actor(explore=True)
        actor.reset(DATA_SEED + len(returns))
        begun = len(steps)
        while not over:
            action = actor.act(observation)
            outcome = environment.step(action)
            over = outcome.terminated or outcome.truncated
            steps.append(Step(observation, action, outcome.reward, outcome.observation, outcome.terminated, outcome.truncated))
            agent.observe(steps[-1])
            agent.update()
            observation = outcome.observation
        returns.append(sum(step.reward for step in steps[begun:]))
    environment.close()
    return steps[-KEPT:]


def returns_of(steps: list[Step]) -> list[float]:
    """Of each episode in ``steps``."""
    found, total = [], 0.0
    for step in steps:
        total += step.reward
        if step.truncated or step.terminated:
            found.append(total)
            total = 0.0
    return found


def row(name: str, steps: list[Step], seed: int) -> Row:
    """What one way makes of ``steps``: the mean return of its policy."""
    import numpy as np

    from forerun_models.agents.environment import make_environment
    from forerun_models.agents.evaluate import evaluate
    from forerun_models.agents.mbpo.agent import MbpoAgent
    from forerun_models.agents.registry import agent_class, make_agent, settings_of
    from forerun_models.agents.sac.agent import as_tensors
    from forerun_models.agents.sac.cloning import clone

    changes = WAYS[name]
    judge = make_environment(ENV, agent_class("mbpo"), OPTIONS)
    settings = settings_of("mbpo", "mopo_small").model_copy(update=changes or {})
    agent = make_agent("mbpo", judge.spec, settings, seed)
    assert isinstance(agent, MbpoAgent)
    for step in steps:
        agent.observe(step)
    if changes is None:
        rows = as_tensors(agent.buffer.all(), "cpu")
        clone(agent.learner, rows["observation"], rows["action"], UPDATES)
    else:
        for _ in range(UPDATES):
            agent.update()
    result = evaluate(agent.actor(explore=False), judge, EVALUATED, seed)
    judge.close()
    told = returns_of(steps)
    return {
        "row": name,
        "seed": seed,
        "env": ENV,
        "agent": "mbpo" if changes is not None else "cloning",
        "return_last": round(result.mean, 1),
        "success": round(result.success or 0.0, 2),
        "transitions": len(steps),
        "data_return_best": round(max(told), 1),
        "data_return_median": round(float(np.median(told)), 1),
        "updates": UPDATES,
    }
