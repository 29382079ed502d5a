"""What an agent is: it acts, observes, updates, and is saved and loaded. One loop (``learn``) runs them all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray
from torch import nn

from forerun_sim.errors import InputError
from forerun_sim.spec import Strict

Observation = NDArray[Any]
"""One observation: float32, or uint8 for pictures and int64 for an index, as ``EnvSpec.observation`` says."""
Action = NDArray[np.float32] | int
"""[A] in [-1, 1], or the index of a choice."""


@dataclass(frozen=True)
class EnvSpec:
    """What an agent must know of an environment.

    Attributes:
        id: name for ``gymnasium.make``.
        observation: shape, dtype and bounds. float32, or uint8 for pictures [H, W, C]; int64 [1] for an environment whose
            observation is a number of a state (only for agents with ``numbered_states``).
        action_size: A of actions [A] in [-1, 1]; the loop rescales them to the environment's box. 0 where actions are choices.
        discrete: how many choices, None where actions are numbers.
        period: seconds a step, None where unknown.
        horizon: steps after which an episode is truncated, None where unknown.
    """

    id: str
    observation: Box
    action_size: int
    discrete: int | None = None
    period: float | None = None
    horizon: int | None = None

    @property
    def observation_shape(self) -> tuple[int, ...]:
        return tuple(self.observation.shape)

    @property
    def pictures(self) -> bool:
        """Whether observations are pictures [H, W, C], uint8."""
        return len(self.observation.shape) == 3


class Step(NamedTuple):
    """One transition. ``following`` is the observation after the action, also where the episode ends with it."""

    observation: Observation
    action: Action
    reward: float
    following: Observation
    terminated: bool
    truncated: bool


class Actor(ABC):
    """Acts in one environment; holds what must be remembered within an episode (recurrent state, a planner's carry)."""

    @abstractmethod
    def reset(self, seed: int) -> None:
        """A new episode: forgets all; all its randomness comes from ``seed``."""

    @abstractmethod
    def act(self, observation: Observation) -> Action:
        """What to do now: [A] in [-1, 1], or the index of a choice."""


class PolicyGraph(nn.Module):
    """A policy that ``torch.onnx`` can trace: ``forward(observation, *carry) -> action, *next carry``, all float32.

    ``observation`` [1, O] is what the environment gives the agent; ``action`` [1, A] is in [-1, 1], what is beyond is cut.

    Attributes:
        carry: shape of each tensor that is handed to the next call, by name, in order; all are zero in an episode's first call.
    """

    def __init__(self, carry: Mapping[str, tuple[int, ...]] | None = None) -> None:
        super().__init__()
        self.carry = dict(carry or {})


class Agent(ABC):
    """Learns in one environment. All randomness comes from generators of its own, seeded once, that ``state_dict`` holds.

    While ``__init__`` runs, torch's global generator is seeded with ``seed`` too (``registry.make_agent``), so that layers draw
    repeatable weights.

    Args:
        env: what it acts in.
        settings: an instance of the class's ``Settings``.
        seed: of everything random.
        device: torch device, ``cpu`` or ``cuda``.
    """

    Settings: ClassVar[type[Strict]]
    """Its settings, with a default for every key."""
    continuous: ClassVar[bool] = True
    """Whether it takes actions [A] in [-1, 1]."""
    discrete: ClassVar[bool] = False
    """Whether it takes choices (``EnvSpec.discrete``)."""
    pictures: ClassVar[bool] = False
    """Whether it takes observations of shape [H, W, C], uint8."""
    numbered_states: ClassVar[bool] = False
    """Whether it takes observations that are the number of a state, int64 [1]."""

    def __init__(self, env: EnvSpec, settings: Any, seed: int, device: str = "cpu") -> None:
        self.env = env
        self.settings = settings
        self.seed = seed
        self.device = device

    @abstractmethod
    def actor(self, explore: bool) -> Actor:
        """Acts with the newest weights, always; without ``explore`` as well as it can, which is what evaluations measure."""

    @abstractmethod
    def observe(self, step: Step) -> None:
        """Takes in one step of its environment."""

    @abstractmethod
    def update(self) -> dict[str, float]:
        """Learns after a step. Metrics, often none: ``model_error``, ``loss/...``; the loop averages them between evaluations."""

    def end_episode(self) -> dict[str, float]:
        """Learns after an episode; metrics as in ``update``."""
        return {}

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that decides what it does from here on: weights, optimizers, normalisers, buffer, generators.

        Tensors, numbers, texts, lists and dictionaries alone, so that ``torch.load(weights_only=True)`` reads it."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Becomes the agent whose ``state_dict`` this is."""

    def policy_graph(self) -> PolicyGraph:
        """What ``actor(explore=False)`` does, as a module, for ``forerun export``; shares no memory with the agent.

        Raises:
            InputError: this agent cannot be exported so.
        """
        raise InputError(f"a {type(self).__name__} has no policy that could be exported")

    def advice(self) -> list[str]:
        """What its user should know now; each text is shown once."""
        return []
