"""How well a model predicts trials that it never saw."""

from forerun_models.evaluation.kstep import HORIZON, STEPS, Cuts, cut, errors
from forerun_models.evaluation.predictors import Linear, Predictor, persistence

__all__ = ["HORIZON", "STEPS", "Cuts", "Linear", "Predictor", "cut", "errors", "persistence"]
