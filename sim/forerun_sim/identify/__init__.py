"""System identification: a simulator's parameters fitted to logs, what the logs can tell of them, and what to record next."""

from forerun_sim.identify.design import Design, design
from forerun_sim.identify.fit import identify
from forerun_sim.identify.fragment import as_yaml, fragment
from forerun_sim.identify.laboratory import Knows
from forerun_sim.identify.predict import SimulatedPredictor
from forerun_sim.identify.result import Fit, Progress, Settings
from forerun_sim.identify.trajectories import Played, PlayedFactory
from forerun_sim.identify.unknowns import Unknown, unknowns

__all__ = [
    "Design",
    "Fit",
    "Knows",
    "Played",
    "PlayedFactory",
    "Progress",
    "Settings",
    "SimulatedPredictor",
    "Unknown",
    "as_yaml",
    "design",
    "fragment",
    "identify",
    "unknowns",
]
