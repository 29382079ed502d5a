"""How sure a model is, and what to do where it is not: one place for planners, agents and reports."""

from forerun_models.uncertainty.use import disagreement, penalised, separate, transition_weights, trusted

__all__ = ["disagreement", "penalised", "separate", "transition_weights", "trusted"]
