"""Settings of model-based policy optimisation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from forerun_models.agents.environment_model import EnvironmentSettings
from forerun_models.agents.known_rewards import Choice
from forerun_models.agents.sac.settings import SacSettings
from forerun_models.recipe import Count, Positive
from forerun_sim.spec import Strict

Steps = Annotated[int, Field(ge=0)]


class Ramp(Strict):
    """A number that goes evenly from ``start`` to ``end`` between the environment steps ``begin`` and ``finish``, and is constant
    before and after."""

    start: Annotated[float, Field(ge=0)]
    end: Annotated[float, Field(ge=0)]
    begin: Steps
    finish: Steps

    @model_validator(mode="after")
    def _in_order(self) -> Ramp:
        if self.finish < self.begin:
            raise ValueError(f"finish {self.finish} is before begin {self.begin}")
        return self

    def at(self, step: int) -> float:
        """Its value at an environment step."""
        if step >= self.finish:
            return self.end
        return self.start + (self.end - self.start) * max(0, step - self.begin) / (self.finish - self.begin)


class ImaginationSettings(Strict):
    """What is imagined, and how much counts.

    After each fit of the model ``rollouts`` begin in states of the buffer and follow the policy for ``length`` steps (rounded);
    those of the last ``keep`` times are remembered. Of each batch ``real_ratio`` are real transitions. ``whole`` takes each
    imagined transition together with all that its rollout earns afterwards, so that values travel as far at every update.

    Disagreement of the members is measured in units of what 99 % of the real transitions stay below. A rollout is cut where it
    exceeds ``cut_disagreement``; an imagined transition counts 1 / (1 + disagreement) in the critics' loss, unless not
    ``weighted``; and ``disagreement_bonus`` times the disagreement is added to imagined rewards: above 0 the policy seeks what
    the model does not know (exploration), below 0 it keeps to what it does (MOPO, Yu et al. 2020).
    """

    rollouts: Count = 10_000
    keep: Count = 2
    length: Ramp = Ramp(start=1, end=1, begin=0, finish=0)
    real_ratio: Ramp = Ramp(start=1, end=0.05, begin=200, finish=1000)
    cut_disagreement: Positive = 2.0
    weighted: bool = True
    whole: bool = False
    disagreement_bonus: float = 0.0

    @model_validator(mode="after")
    def _is_a_ratio(self) -> ImaginationSettings:
        if max(self.real_ratio.start, self.real_ratio.end) > 1:
            raise ValueError("real_ratio: goes beyond 1")
        return self


class MbpoSettings(SacSettings, ImaginationSettings):
    """Model-based policy optimisation (Janner et al. 2019); what is not told here is soft actor-critic's, or of what is imagined.

    The model is fitted after ``warm_up`` steps and every ``fit_every`` steps from then on (where none are taken, the last fit
    stays). ``reward``: ``learned``, or ``known`` or ``auto`` for the environment's own (``agents/known_rewards.py``)."""

    hidden: tuple[Count, ...] = Field(default=(128, 128), min_length=1)
    warm_up: Count = 200
    updates_per_step: Count = 10
    model: EnvironmentSettings = EnvironmentSettings()
    reward: Choice = "learned"
    fit_every: Count = 200
