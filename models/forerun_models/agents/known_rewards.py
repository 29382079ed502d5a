"""Rewards of other people's environments that follow from what they show, by id: a planner may then use the task's own reward.

Each takes (observation [..., O], action [..., A] in [-1, 1], following observation [..., O]) and gives the reward [...] of one
step of the agent. dm_control's are those of its suite (Tassa et al. 2018) with an action repeat of 2, as ``forerun.bench.dmc``
registers them; the state between the two repetitions is not shown, so its reward is taken to be that of the state reached.
Cheetah's reward is the speed of its centre of mass, which it does not show: it is not here.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from forerun_models.agents.environment_model import Reward
from forerun_sim.errors import InputError

Choice = Literal["auto", "known", "learned"]
"""Which reward a model has: the environment's own, a learned one, or the first where there is one."""
_REPEAT = 2


def reward_for(env_id: str, wanted: Choice) -> Reward | None:
    """The reward that a model is given, None for one that it learns.

    Raises:
        InputError: ``wanted`` is ``known`` where no reward is.
    """
    known = known_reward(env_id)
    if known is None and wanted == "known":
        raise InputError(f"reward: no reward of '{env_id}' is known (agents/known_rewards.py); set 'reward: learned'")
    return None if wanted == "learned" else known


def known_reward(env_id: str) -> Reward | None:
    """The reward of the environment with that id; None where it does not follow from its observations or is not known here."""
    return _REWARDS.get(env_id)


def _gaussian(value: Tensor, margin: float) -> Tensor:
    """dm_control's tolerance around 0: 1 there, 0.1 at ``margin``."""
    return torch.exp(math.log(0.1) * (value / margin) ** 2)


def _cartpole_swingup(observation: Tensor, action: Tensor, following: Tensor) -> Tensor:
    """Shown: position, cosine and sine of the pole, both velocities."""
    upright = (following[..., 1] + 1) / 2
    centered = (1 + _gaussian(following[..., 0], 2.0)) / 2
    small_control = (4 + torch.clamp_min(1 - action[..., 0] ** 2, 0.0)) / 5
    small_velocity = (1 + _gaussian(following[..., 4], 5.0)) / 2
    return _REPEAT * upright * centered * small_control * small_velocity


def _pendulum_swingup(observation: Tensor, action: Tensor, following: Tensor) -> Tensor:
    """Shown: cosine and sine of the pole, its velocity. 1 within 8 degrees of upright, else 0."""
    return _REPEAT * (following[..., 0] >= math.cos(math.radians(8))).to(following.dtype)


def _reacher_easy(observation: Tensor, action: Tensor, following: Tensor) -> Tensor:
    """Shown: two angles, the way from the finger to the target [m], two velocities. 1 where they touch, else 0."""
    return _REPEAT * (following[..., 2:4].square().sum(dim=-1) <= (0.05 + 0.01) ** 2).to(following.dtype)


def _acrobot_swingup(observation: Tensor, action: Tensor, following: Tensor) -> Tensor:
    """Shown: sines, then cosines of both arms (1 m each) to the vertical, two velocities. The target is 2 m over the shoulder."""
    across = following[..., 0] + following[..., 1]
    below = 2 - following[..., 2] - following[..., 3]
    distance = torch.sqrt(across**2 + below**2)
    return _REPEAT * _gaussian(torch.clamp_min(distance - 0.2, 0.0), 1.0)


def _pendulum(observation: Tensor, action: Tensor, following: Tensor) -> Tensor:
    """Gymnasium's Pendulum. Shown: cosine and sine to upright, velocity [rad/s]; the torque is at most 2 N m."""
    angle = torch.atan2(observation[..., 1], observation[..., 0])
    return -(angle**2 + 0.1 * observation[..., 2] ** 2 + 0.001 * (2 * action[..., 0]) ** 2)


def _alive(observation: Tensor, action: Tensor, following: Tensor) -> Tensor:
    """Gymnasium's InvertedPendulum: 1 as long as the pole [rad] stands."""
    return (torch.abs(following[..., 1]) <= 0.2).to(following.dtype)


_REWARDS: dict[str, Reward] = {
    "dm_control/cartpole-swingup-v0": _cartpole_swingup,
    "dm_control/pendulum-swingup-v0": _pendulum_swingup,
    "dm_control/reacher-easy-v0": _reacher_easy,
    "dm_control/acrobot-swingup-v0": _acrobot_swingup,
    "Pendulum-v1": _pendulum,
    "InvertedPendulum-v5": _alive,
}
