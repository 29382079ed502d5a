"""A learned model of any environment with vectors as observations: what follows, what it is worth, whether it ends the episode.

    model = EnvironmentModel(observations=4, actions=1, settings=EnvironmentSettings(), seed=0)
    metrics = fit(model, buffer.all(), generator)               # forerun_models.agents.model_fit; call it again to go on learning
    imagined = model.predict(observation, action, generator)    # one step of N rows, with the members' disagreement
    batch = model.rollout(starts, policy, length, generator)    # many steps: arrays for ``Buffer.extend``

The observations are predicted by the same ensemble (``forerun_models.dynamics``) that predicts a robot's states, so that the same
planners plan in it. Rewards are learned from (observation, action, following observation), ends from the following observation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from forerun_models.dynamics.ensemble import Ensemble
from forerun_models.dynamics.features import FeatureMap, Vectors
from forerun_models.dynamics.heads import Heads, RewardHeads
from forerun_models.dynamics.library import Library
from forerun_models.recipe import Count, Positive
from forerun_sim.spec import Strict

_LARGEST = 400
"""Terms of a library of which some are chosen: the search takes seconds for 250, and grows with their third power."""
_MORE = 1.1
"""So many times the transitions of the last choice are worth another."""
Reward = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(observation [..., O], action [..., A] in [-1, 1], following observation [..., O]) -> reward [...]."""
Ending = Callable[[Tensor], Tensor]
"""Following observation [..., O] -> bool [...]: whether it ends the episode."""


class EnvironmentSettings(Strict):
    """The model and how it is fitted. ``members`` networks of ``layers`` hidden layers of ``hidden`` units; the best ``elites``
    predict. A fit takes at most ``updates`` optimizer steps of ``batch`` transitions a member, looks at the held-out ones every
    ``check`` of them, and stops after ``patience`` looks at which no member was better. ``holdout`` is their share: whole
    episodes, or stretches of ``stretch`` steps of longer ones. The step size falls from ``learning_rate`` to a tenth.
    ``mechanical`` shows the networks also the sines, cosines and products of observations and actions, of which the motion of
    mechanisms is made: fewer transitions teach as much, and more numbers go through the first layer. ``chosen`` adds the waves of
    sums of neighbouring numbers, and their products with velocities, and leaves out all that does not help to predict episodes
    that were held out (``input_choice``; anew when an episode has begun and a tenth more was seen); numbers that follow from
    others exactly are not learned but go along with them (``derived``), and positions end at the stops that were met
    (``stops``). Where there would be over 400 terms, it is as ``true``. Errors of the observations beyond ``outliers`` standard
    deviations of a step's change count linearly, all as squares if absent: where bodies hit each other or their stops now and
    then, those few steps would outweigh all others."""

    members: Count = 5
    elites: Count = 5
    hidden: Count = 128
    layers: Count = 2
    updates: Count = 1000
    batch: Count = 256
    check: Count = 50
    patience: Count = 6
    learning_rate: Positive = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-5
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.1
    stretch: Count = 50
    mechanical: bool | Literal["chosen"] = False
    outliers: Positive | None = None

    @model_validator(mode="after")
    def _elites_exist(self) -> EnvironmentSettings:
        if self.elites > self.members:
            raise ValueError(f"{self.elites} elites of {self.members} members cannot be chosen")
        return self


class Imagined(NamedTuple):
    """One imagined step of N rows: following [N, O], reward [N], terminated [N] (bool) and disagreement [N], the spread of the
    elites' means in units of the observations' own spread."""

    following: Tensor
    reward: Tensor
    terminated: Tensor
    disagreement: Tensor


class EnvironmentModel(nn.Module):
    """An ensemble over observations with a reward and an end.

    Args:
        observations: O.
        actions: A.
        settings: sizes, and how ``fit`` fits them.
        seed: of the first weights.
        reward: the environment's own reward where it is known; else it is learned.

    Attributes:
        ends: whether an episode was ever seen to terminate; before, none is predicted to.
        fitted: whether it has been fitted to anything.
    """

    def __init__(self, observations: int, actions: int, settings: EnvironmentSettings, seed: int, reward: Reward | None = None):
        super().__init__()
        sizes = settings.members, settings.hidden, settings.layers
        self.observations, self.actions, self.settings = observations, actions, settings
        self.known_reward = reward
        self.dynamics = Ensemble(_features(observations, actions, settings), *sizes)
        self.dynamics.elites = torch.arange(settings.elites)
        self.reward_heads = RewardHeads(observations, actions, *sizes) if reward is None else None
        self.ending_heads = Heads(observations, 1, *sizes)
        self._flags: Tensor = nn.Buffer(torch.zeros(2, dtype=torch.bool))
        self._chosen: Tensor = nn.Buffer(torch.zeros(2, dtype=torch.long))
        generator = torch.Generator().manual_seed(seed)
        for part in (self.dynamics, self.reward_heads, self.ending_heads):
            if part is not None:
                part.reset_parameters(generator)

    @property
    def fitted(self) -> bool:
        return bool(self._flags[0])

    @property
    def ends(self) -> bool:
        return bool(self._flags[1])

    def note(self, ends: bool) -> None:
        """That it has been fitted, to data in which an episode terminated or not."""
        self._flags[0] = True
        self._flags[1] |= ends

    def due(self, episodes: int, transitions: int) -> bool:
        """Whether what it sees is to be chosen (anew), when so many have been seen."""
        if not isinstance(self.dynamics.features, Library):
            return False
        known, learned = (int(number) for number in self._chosen)
        return episodes > known and transitions >= _MORE * learned

    def see(self, kept: Tensor, episodes: int, transitions: int) -> None:
        """Sees the terms ``kept`` of its library, chosen by so many episodes and transitions."""
        self.dynamics.see(kept)
        self._chosen.copy_(torch.tensor([episodes, transitions]))

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As of any module; what it sees is part of it. Models from before there was a choice, or before numbers were derived and
        stops known, have none."""
        new: dict[str, Tensor] = {"_chosen": self._chosen}
        features = self.dynamics.features
        if isinstance(features, Library):
            self.dynamics.see(state_dict["dynamics.features.kept"])
            new |= {f"dynamics.features.{name}": getattr(features, name) for name in ("derived", "derivation", "stops")}
        return super().load_state_dict({**new, **state_dict}, strict, assign)

    def rewards(self, observation: Tensor, action: Tensor, following: Tensor) -> Tensor:
        """[M, N] as the first M elites expect them, of observation [M, N, O], action [M, N, A] and following [M, N, O]."""
        if self.reward_heads is None:
            assert self.known_reward is not None
            return self.known_reward(observation, action, following)
        rows = torch.cat([observation, action, following], dim=-1)
        return self.reward_heads.mean(rows, self.dynamics.elites[: len(rows)])

    def endings(self, following: Tensor) -> Tensor:
        """[M, N] bool: whether the first M elites take [M, N, O] for the end of an episode."""
        if not self.ends:
            return torch.zeros(following.shape[:-1], dtype=torch.bool, device=following.device)
        odds: Tensor = self.ending_heads(following, self.dynamics.elites[: len(following)])
        return odds[..., 0] > 0

    @torch.no_grad()
    def predict(self, observation: Tensor, action: Tensor, generator: torch.Generator | None = None) -> Imagined:
        """One step of N rows.

        Args:
            observation: [N, O].
            action: [N, A] in [-1, 1].
            generator: chooses a member for each row and draws its noise (TS1 of PETS); without one, the elites' mean.
        """
        elites, rows = self.dynamics.elites, torch.arange(len(observation))
        every = self.dynamics.members
        mean, log_variance = self.dynamics.step([observation.expand(every, -1, -1)], [action.expand(every, -1, -1)])
        mean, log_variance = mean[elites], log_variance[elites]
        disagreement = self.disagreement(mean)
        if generator is None:
            following = mean.mean(dim=0)
        else:
            member = torch.randint(len(elites), (len(observation),), generator=generator)
            kick = torch.randn(observation.shape, generator=generator)
            following = mean[member, rows] + torch.exp(0.5 * log_variance[member, rows]) * kick
        wide, given, reached = (tensor.expand(len(elites), -1, -1) for tensor in (observation, action, following))
        reward, ended = self.rewards(wide, given, reached), self.endings(reached)
        if generator is None:
            return Imagined(following, reward.mean(dim=0), ended.float().mean(dim=0) > 0.5, disagreement)
        return Imagined(following, reward[member, rows], ended[member, rows], disagreement)

    def disagreement(self, means: Tensor) -> Tensor:
        """Spread [N] of the elites' means [M, N, O], in units of the observations' own spread."""
        around = (means - means.mean(dim=0)) / self.dynamics.features.state_std
        return torch.sqrt((around**2).mean(dim=(0, 2)))

    def rollout(
        self,
        observation: Tensor,
        policy: Callable[[Tensor], Tensor],
        length: int,
        generator: torch.Generator,
        *,
        most_disagreement: float = math.inf,
    ) -> dict[str, NDArray[Any]]:
        """What follows ``policy`` from N starts, as ``Buffer.extend`` takes it.

        Args:
            observation: [N, O], of the buffer.
            policy: [n, O] -> actions [n, A] in [-1, 1].
            length: steps. A row that has ended is followed no further, nor one whose members disagree more than
                ``most_disagreement`` about a step (which is left out).
            generator: as ``predict`` takes it.

        Returns:
            ``observation``, ``action``, ``reward``, ``following``, ``terminated``, ``truncated``, ``disagreement`` and ``start``
            (the number of the start that led there), a row for each imagined step, those of the first step first.
        """
        nothing, start = torch.zeros(0), torch.arange(len(observation))
        parts: list[tuple[Tensor, ...]] = [
            (observation[:0], torch.zeros(0, self.actions), observation[:0], nothing, nothing.bool(), nothing, start[:0])
        ]
        for _ in range(length):
            action = policy(observation)
            imagined = self.predict(observation, action, generator)
            trusted = imagined.disagreement <= most_disagreement
            parts.append(tuple(tensor[trusted] for tensor in (observation, action, *imagined, start)))
            goes_on = trusted & ~imagined.terminated
            observation, start = imagined.following[goes_on], start[goes_on]
            if not len(observation):
                break
        columns = [torch.cat(column).numpy() for column in zip(*parts, strict=True)]
        names = ("observation", "action", "following", "reward", "terminated", "disagreement", "start")
        batch = dict(zip(names, columns, strict=True))
        return batch | {"truncated": np.zeros(len(batch["reward"]), np.bool_)}


def _features(observations: int, actions: int, settings: EnvironmentSettings) -> FeatureMap:
    """What the networks of a model with these settings see."""
    if settings.mechanical == "chosen" and Library.count(observations, actions) <= _LARGEST:
        return Library(observations, actions)
    return Vectors(observations, actions, mechanical=bool(settings.mechanical))
