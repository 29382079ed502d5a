"""Where people go wrong with learned models, as pure functions: a sentence with what to change, or None where all is well.

An agent's ``advice`` calls those that concern it, through ``told``. ``key`` is the setting that the sentence names. A model's
error is in units of what happens in one step: 1 is as wrong as to predict that nothing changes.
"""

from __future__ import annotations

TOO_FAR = 2.0
"""Steps by which an imagined rollout may be wrong at its end."""
UNTRAINED = 0.5
"""Error from which on a model counts as untrained."""
DRIFT = 2.0
"""How many times the disagreement on the model's own data makes it stale."""
SHORT = 0.2
"""Part of an episode below which a horizon without a value is short."""
SOON = 50
"""Steps from which on no horizon counts as short."""


def told(*sentences: str | None) -> list[str]:
    """Those that are not None."""
    return [sentence for sentence in sentences if sentence is not None]


def rollouts_too_long(length: float, model_error: float, key: str) -> str | None:
    """Rollouts of ``length`` steps in a model with that one-step error: errors add up, one a step (Janner et al. 2019)."""
    if not length * model_error > TOO_FAR or length <= 1:
        return None
    most = max(1, int(TOO_FAR / model_error))
    return (
        f"rollouts of {length:g} steps are too long for a model with the error {model_error:.2f} a step: at their end it is "
        f"wrong by up to {length * model_error:.1f} steps' change; lower {key} to {most}, or let it rise when the model is better"
    )


def one_model(members: int, key: str) -> str | None:
    """An ensemble of one cannot disagree."""
    if members > 1:
        return None
    return f"there is one model only, so nothing tells where it is wrong: set {key} to 5 or more"


def no_value(horizon: int, episode: int | None, has_value: bool, key: str) -> str | None:
    """A planner that looks ``horizon`` steps ahead in episodes of ``episode`` steps, with or without a value at the horizon."""
    if has_value or episode is None or horizon >= min(SHORT * episode, SOON):
        return None
    return (
        f"plans look {horizon} steps ahead in episodes of {episode}, and no value stands for what comes later: what pays off "
        f"after the horizon is not seen; raise {key}, or learn a value"
    )


def stale_model(disagreement: float, familiar: float, key: str) -> str | None:
    """Members disagree on the states that the policy visits now much more than on those that they were fitted to."""
    if not disagreement > DRIFT * familiar > 0:
        return None
    return (
        f"the model is stale: on the states that the policy visits now its members disagree {disagreement / familiar:.1f} times "
        f"as much as on those that it was fitted to; fit it more often ({key})"
    )


def imagined_dominates(real_share: float, model_error: float, key: str) -> str | None:
    """Most of what is learned from is imagined, by a model that knows little."""
    if real_share >= 0.5 or not model_error > UNTRAINED:
        return None
    return (
        f"{1 - real_share:.0%} of what is learned from is imagined, but the model's error is {model_error:.2f} of a step's "
        f"change: it is hardly trained; take more real data at first ({key}), or train the model longer"
    )


def no_time_limit(horizon: int | None) -> str | None:
    """An environment whose episodes may never end."""
    if horizon is not None:
        return None
    return (
        "the environment has no time limit: a run is saved where an episode ends, and where none does it cannot go on after a "
        "stop; register the environment with max_episode_steps"
    )
