"""Any Gymnasium environment as agents see it: a Box in, actions in [-1, 1] or choices out, every episode from its own seed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from forerun_models.agents.base import Action, Agent, EnvSpec, Observation
from forerun_sim.errors import ForerunError, InputError

_OURS = "forerun/"


class Outcome(NamedTuple):
    """What a step led to. ``unstable``: its physics exploded, so that it is no experience."""

    observation: Observation
    reward: float
    terminated: bool
    truncated: bool
    success: bool | None
    unstable: bool


class Environment:
    """An environment made by ``make_environment``; ``spec`` is what agents are told of it, ``env`` is Gymnasium's own."""

    def __init__(self, env: gymnasium.Env[Any, Any], spec: EnvSpec) -> None:
        self.env = env
        self.spec = spec
        self._dtype = spec.observation.dtype
        self._shape = spec.observation_shape
        if isinstance(env.action_space, Box):
            low, high = env.action_space.low.astype(float), env.action_space.high.astype(float)
            self._middle, self._half = 0.5 * (low + high), 0.5 * (high - low)

    def reset(self, seed: int, options: Mapping[str, Any] | None = None) -> Observation:
        """The first observation of the episode that ``seed`` and the environment's own ``options`` decide."""
        observation, _ = self.env.reset(seed=seed, options=None if options is None else dict(options))
        return self._observed(observation)

    def step(self, action: Action) -> Outcome:
        """One step.

        Raises:
            ForerunError: the environment's observation or reward is not finite.
        """
        following, reward, terminated, truncated, info = self.env.step(self.meant(action))
        success = info.get("is_success") if terminated or truncated else None
        observation, reward = self._observed(following), float(reward)
        if not np.isfinite(reward):
            raise ForerunError(f"environment '{self.spec.id}' gave the reward {reward}; it can be learned only from finite ones")
        wanted = None if success is None else bool(success)
        return Outcome(observation, reward, bool(terminated), bool(truncated), wanted, bool(info.get("unstable", False)))

    def close(self) -> None:
        self.env.close()

    def meant(self, action: Action) -> Any:
        """The environment's own action: in its box, or its choice."""
        space = self.env.action_space
        if isinstance(space, Discrete):
            return int(space.start) + int(action)
        numbers: NDArray[np.float64] = np.clip(np.asarray(action, float), -1.0, 1.0).reshape(self._middle.shape)
        return (self._middle + self._half * numbers).astype(space.dtype)

    def _observed(self, observation: Any) -> Observation:
        seen: Observation = np.asarray(observation, self._dtype).reshape(self._shape)
        if seen.dtype.kind == "f" and not np.isfinite(seen).all():
            raise ForerunError(f"environment '{self.spec.id}' gave an observation that is not finite: {seen}")
        return seen


def import_modules(modules: Sequence[str]) -> None:
    """Imports what registers a user's environments.

    Raises:
        InputError: a module cannot be imported; the message says why.
    """
    for name in modules:
        try:
            import_module(name)
        except Exception as error:  # whatever a user's module raises
            reason = f"{type(error).__name__}: {error}"
            raise InputError(
                f"--import {name}: the module cannot be imported ({reason}); is its folder on PYTHONPATH?"
            ) from error


def make_environment(env_id: str, agent: type[Agent], options: Mapping[str, Any] | None = None) -> Environment:
    """The environment called ``env_id`` for agents of class ``agent``.

    Args:
        env_id: as ``gymnasium.make`` takes it; ``forerun/...`` needs no import.
        agent: decides which spaces will do.
        options: keywords for ``gymnasium.make``.

    Raises:
        InputError: no such environment (with the names that are near), it cannot be made, or its spaces do not fit the agent.
    """
    if env_id.startswith(_OURS):
        import_module("forerun_sim.env")
    try:
        env = gymnasium.make(env_id, disable_env_checker=True, **dict(options or {}))
    except InputError:
        raise
    except (gymnasium.error.NameNotFound, gymnasium.error.NamespaceNotFound, gymnasium.error.VersionNotFound) as error:
        raise InputError(f"no environment '{env_id}'{_near(env_id)}") from error
    except Exception as error:  # a missing package, a wrong keyword, a file that is not there: as many types as environments
        raise InputError(f"environment '{env_id}' cannot be made: {type(error).__name__}: {error}") from error
    try:
        spec = EnvSpec(
            id=env_id,
            observation=_observation_box(env, env_id, agent),
            **_actions(env, env_id, agent),
            period=_period(env),
            horizon=_horizon(env),
        )
    except InputError:
        env.close()
        raise
    return Environment(env, spec)


def _near(env_id: str) -> str:
    names = sorted(gymnasium.registry)
    found = difflib.get_close_matches(env_id, names, n=5, cutoff=0.5)
    hint = "if a module of yours registers it, name that with --import"
    return f"; near: {', '.join(found)}; {hint}" if found else f"; {hint}"


def _observation_box(env: gymnasium.Env[Any, Any], env_id: str, agent: type[Agent]) -> Box:
    space = env.observation_space
    if isinstance(space, Discrete) and agent.numbered_states:
        first = int(space.start)
        return Box(first, first + int(space.n) - 1, (1,), np.int64)
    if not isinstance(space, Box):
        kind = type(space).__name__
        ways = {
            "Dict": "flatten it with gymnasium.wrappers.FlattenObservation in the module of --import",
            "Discrete": "choose a tabular agent (q-learning, dyna-q), or encode it as a Box",
        }
        raise InputError(
            f"environment '{env_id}' has observations of type {kind}; this agent learns from a Box of numbers: "
            + ways.get(kind, "wrap it so that it gives a Box")
        )
    shape = tuple(space.shape)
    if len(shape) == 3 and space.dtype == np.uint8:
        if not agent.pictures:
            raise InputError(f"environment '{env_id}' shows pictures {list(shape)}; this agent takes numbers: choose dreamer")
        return space
    if len(shape) != 1:
        raise InputError(
            f"environment '{env_id}' has observations of shape {list(shape)} ({space.dtype}); agents take rows of numbers "
            "[O], or pictures [H, W, C] of type uint8: flatten or convert it in the module of --import"
        )
    return Box(space.low.astype(np.float32), space.high.astype(np.float32), shape, np.float32)


def _actions(env: gymnasium.Env[Any, Any], env_id: str, agent: type[Agent]) -> dict[str, Any]:
    space = env.action_space
    if isinstance(space, Discrete):
        if not agent.discrete:
            raise InputError(f"environment '{env_id}' has {space.n} choices as actions; this agent takes a Box of actions")
        return {"action_size": 0, "discrete": int(space.n)}
    if not isinstance(space, Box):
        raise InputError(f"environment '{env_id}' has actions of type {type(space).__name__}; agents take a Box, some Discrete")
    if not agent.continuous:
        raise InputError(f"environment '{env_id}' has a Box of actions; this agent takes choices (Discrete)")
    if not space.is_bounded():
        bounds = f"from {space.low.min():g} to {space.high.max():g}"
        raise InputError(
            f"environment '{env_id}' has actions without bounds ({bounds}); agents act in [-1, 1] and need to know what that "
            "means: bound them with gymnasium.wrappers.RescaleAction in the module of --import"
        )
    return {"action_size": int(np.prod(space.shape)), "discrete": None}


def _period(env: gymnasium.Env[Any, Any]) -> float | None:
    """Seconds a step, where the environment says so: our robots, MuJoCo's ``dt``."""
    bare = env.unwrapped
    robot = getattr(bare, "robot", None)
    period = robot.control.period if robot is not None and hasattr(robot, "control") else getattr(bare, "dt", None)
    return float(period) if isinstance(period, int | float) and period > 0 else None


def _horizon(env: gymnasium.Env[Any, Any]) -> int | None:
    """Steps after which an episode is truncated: Gymnasium's time limit, or a robot's own."""
    limit = env.spec.max_episode_steps if env.spec is not None else None
    settings = getattr(env.unwrapped, "settings", None)
    return limit if limit is not None else getattr(settings, "steps", None)
