"""How the controller works, apart from what the bundle says."""

from __future__ import annotations

from dataclasses import dataclass, field

from forerun.control.limits import SafetySettings
from forerun.control.shadow import SwapSettings


@dataclass(frozen=True)
class Settings:
    """The controller's settings.

    Attributes:
        safety: tightens the bundle's limits and thresholds.
        seed: of the planner's noise.
        budget: share of the time between two commands that a tick may wait for its plan.
        swap: how a bundle takes over.
        compensate_delay: plans start from the state predicted for the moment at which they act.
        command_delay: from sending a command until it acts, beyond what the model has learned [s]; negative: the bundle's.
    """

    safety: SafetySettings = field(default_factory=SafetySettings)
    seed: int = 0
    budget: float = 0.7
    swap: SwapSettings = field(default_factory=SwapSettings)
    compensate_delay: bool = True
    command_delay: float = -1.0
