"""How sure a model is, and what to do where it is not: one place for planners, agents and reports."""

from forerun_models.uncertainty.familiarity import auroc, evidence, surprise, unfamiliarity
from forerun_models.uncertainty.use import disagreement, penalised, separate, transition_weights, trusted

__all__ = [
    "auroc",
    "disagreement",
    "evidence",
    "penalised",
    "separate",
    "surprise",
    "transition_weights",
    "trusted",
    "unfamiliarity",
]
