"""Automatic domain randomization: the ranges of what varies widen or narrow with an agent's success at their edges."""

from forerun_sim.curriculum.adr import AutomaticRandomization, Episode, Outcome, Pin
from forerun_sim.curriculum.record import Record, Row
from forerun_sim.curriculum.run import Progress, learned_randomization, run_curriculum

__all__ = [
    "AutomaticRandomization",
    "Episode",
    "Outcome",
    "Pin",
    "Progress",
    "Record",
    "Row",
    "learned_randomization",
    "run_curriculum",
]
