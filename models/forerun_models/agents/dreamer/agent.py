"""Dreamer (Hafner et al. 2020, 2021, 2023): a world model of latent states, and a behaviour learned by imagining in it.

After every ``every``-th environment step: learn the world model from runs of the buffer, go on from their latent states in
imagination, learn actor and critic there. From state vectors or from pictures, with actions that are numbers or choices.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from forerun_models.agents.base import Action, Actor, Agent, EnvSpec, Observation, PolicyGraph, Step
from forerun_models.agents.buffer import Buffer
from forerun_models.agents.dreamer.behaviour import Behaviour, BehaviourSettings
from forerun_models.agents.dreamer.graph import DreamerGraph
from forerun_models.agents.dreamer.policy import Choices, Numbers
from forerun_models.agents.dreamer.runs import runs_of
from forerun_models.latent.learner import Learner
from forerun_models.latent.rssm import State
from forerun_models.latent.settings import LatentSettings
from forerun_models.latent.world_model import Sequences, WorldModel
from forerun_sim.errors import InputError
from forerun_sim.spec import Strict
from forerun_sim.spec.base import Positive

Count = Annotated[int, Field(ge=1)]
_PREDICTED_EVERY = 50
"""Updates between measurements of the model's error."""


class DreamerSettings(Strict):
    """``batch`` runs of ``length`` steps an update, one update every ``every`` environment steps once ``begin_at`` steps are
    there. ``learning_rate`` and ``gradient_norm`` of the world model."""

    model: LatentSettings = LatentSettings()
    behaviour: BehaviourSettings = BehaviourSettings()
    batch: Count = 16
    length: Annotated[int, Field(ge=2)] = 32
    every: Count = 5
    begin_at: Count = 500
    capacity: Count = 200_000
    learning_rate: Positive = 1e-3
    gradient_norm: Positive = 100.0


class DreamerActor(Actor):
    """Follows the latent state through an episode and acts in it; likeliest state and action where it does not ``explore``."""

    def __init__(self, model: WorldModel, behaviour: Behaviour, explore: bool):
        self._model, self._behaviour, self._explore = model, behaviour, explore
        self._device = behaviour.generator.device
        self.reset(0)

    def reset(self, seed: int) -> None:
        self._generator = torch.Generator(self._device).manual_seed(seed)
        self._state = self._model.rssm.start(1)
        self._action = self._state.h.new_zeros(1, self._model.rssm.actions)

    @torch.no_grad()
    def act(self, observation: Observation) -> Action:
        model, policy = self._model, self._behaviour.policy
        law, latent = policy.law, model.rssm.latent
        embedded = model.encoder(torch.as_tensor(observation, device=self._device)[None])
        noise = latent.noise((1,), self._generator) if self._explore else None
        self._state = model.rssm.step(self._state, self._action, embedded, noise)
        statistics = policy(self._state.features)
        if self._explore:
            self._action = law.sample(statistics, law.noise((1,), self._generator))
        else:
            self._action = law.mode(statistics)
        if isinstance(law, Choices):
            return int(self._action.argmax())
        chosen: np.ndarray[Any, np.dtype[np.float32]] = self._action[0].cpu().numpy()
        return chosen


class DreamerAgent(Agent):
    """See the module's first lines."""

    Settings = DreamerSettings
    settings: DreamerSettings
    discrete = pictures = True

    def __init__(self, env: EnvSpec, settings: DreamerSettings, seed: int, device: str = "cpu") -> None:
        super().__init__(env, settings, seed, device)
        self.generator = torch.Generator(device).manual_seed(seed)
        actions = env.discrete or env.action_size
        self.model = WorldModel(env.observation_shape, actions, settings.model, self.generator).to(device)
        law = Numbers(actions) if env.discrete is None else Choices(actions)
        self.behaviour = Behaviour(self.model, law, settings.behaviour, self.generator)
        self.learner = Learner(self.model, settings.learning_rate, settings.gradient_norm, self.generator)
        dtype = np.uint8 if env.pictures else np.float32
        self.buffer = Buffer(settings.capacity, env.observation_shape, dtype, env.action_size)
        self.steps = self.updates = 0

    def actor(self, explore: bool) -> Actor:
        return DreamerActor(self.model, self.behaviour, explore)

    def observe(self, step: Step) -> None:
        self.buffer.add(step)
        self.steps += 1

    def update(self) -> dict[str, float]:
        settings = self.settings
        if len(self.buffer) < max(settings.begin_at, settings.length) or self.steps % settings.every:
            return {}
        runs = self.runs()
        filtered, terms = self.learner.step(runs)
        self.updates += 1
        metrics = {f"loss/{name}": term for name, term in terms.items()}
        metrics |= self.behaviour.learn(*self._starts(runs, filtered.states))
        if self.updates % _PREDICTED_EVERY == 0:
            metrics["model_error"] = self.model_error(runs)
        return metrics

    def policy_graph(self) -> PolicyGraph:
        if self.env.discrete is not None:
            raise InputError(f"actions of '{self.env.id}' are choices: a bundle gives commands, which are numbers")
        return DreamerGraph(self.model, self.behaviour)

    def runs(self) -> Sequences:
        """A batch of runs, drawn from the buffer."""
        drawn = np.random.default_rng((self.seed, self.updates))
        batch = self.buffer.sample_sequences(self.settings.batch, self.settings.length, drawn, across=True)
        return runs_of(batch, self.env.discrete, self.device)

    def _starts(self, runs: Sequences, states: State) -> tuple[State, Tensor]:
        """States [N, ...] from which to imagine, and which of them are within an episode [N]."""
        count = runs.first.numel()
        chosen = torch.randperm(count, generator=self.generator, device=self.device)[: self.settings.behaviour.starts]
        h, z = (part.detach().flatten(0, 1)[chosen] for part in states)
        return State(h, z), (~runs.terminated).flatten()[chosen].to(h.dtype)

    @torch.no_grad()
    def model_error(self, runs: Sequences) -> float:
        """Root mean square error of observations predicted open loop over the second half of ``runs``, as a share of their
        spread."""
        half = runs.first.shape[1] // 2
        whole = ~runs.first[:, half:].any(dim=1)
        if not bool(whole.any()):
            return float("nan")
        runs = Sequences(*(part[whole] for part in runs))
        generator = torch.Generator(self.device).manual_seed(self.updates)
        filtered = self.model.observe(Sequences(*(part[:, :half] for part in runs)), generator)
        begin = State(filtered.states.h[:, -1], filtered.states.z[:, -1])
        expected = self.model.predict(begin, runs.action[:, half:], generator)
        seen = runs.observation.to(expected.dtype)
        spread = seen.flatten(0, 1).var(dim=0).mean()
        return float(torch.sqrt(((expected - seen[:, half:]) ** 2).mean() / spread.clamp_min(1e-12)))

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "learner": self.learner.state_dict(),
            "behaviour": self.behaviour.state_dict(),
            "buffer": self.buffer.state_dict(),
            "generator": self.generator.get_state(),
            "steps": self.steps,
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("model", "learner", "behaviour", "buffer"):
            getattr(self, name).load_state_dict(state[name])
        self.generator.set_state(state["generator"].cpu())
        self.steps, self.updates = state["steps"], state["updates"]
