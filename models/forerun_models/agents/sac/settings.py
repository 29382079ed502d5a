"""Settings of soft actor-critic."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from forerun_models.recipe import Count, Fraction, Positive
from forerun_sim.spec import Strict
from forerun_sim.spec.base import NonNegative


class SacLearning(Strict):
    """How policy and critics learn from a batch; the defaults are Haarnoja et al.'s (2018) and Stable-Baselines3's.

    ``hidden``: units of each hidden layer. ``target_rate``: share of the critics that flows into their targets at every update.
    ``target_entropy`` [nats]: minus the number of actions if absent. ``cloning`` draws the policy to the actions of real
    transitions (TD3+BC, Fujimoto and Gu 2021; there 1 / alpha), which is for learning from old trials alone: their mean squared
    distance costs so many times the values' mean size.
    """

    hidden: tuple[Count, ...] = Field(default=(256, 256), min_length=1)
    batch: Count = 256
    learning_rate: Positive = 3e-4
    discount: Fraction = 0.99
    target_rate: Annotated[float, Field(gt=0, le=1)] = 0.005
    initial_temperature: Positive = 1.0
    target_entropy: float | None = None
    cloning: NonNegative = 0.0


class SacSettings(SacLearning):
    """``capacity``: transitions that are remembered. The first ``warm_up`` actions are drawn uniformly, without learning; then
    ``updates_per_step`` updates follow each step of the environment."""

    capacity: Count = 1_000_000
    warm_up: Count = 100
    updates_per_step: Count = 1
