"""The planner that a recipe asks for."""

from __future__ import annotations

from forerun_models.dynamics.ensemble import Ensemble
from forerun_models.planners.problem import Policy, Value, problem_of
from forerun_models.planners.rollout import Propagation, Rollout
from forerun_models.planners.sampling import SamplingPlanner
from forerun_models.recipe import Recipe
from forerun_sim.spec import RobotSpec
from forerun_sim.tasks import TaskFunction

_PROPAGATION: dict[str, Propagation] = {"ts1": "switch", "tsinf": "stay", "mean": "mean", "worst": "stay"}


def make_planner(
    model: Ensemble, robot: RobotSpec, recipe: Recipe, *, value: Value | None = None, policy: Policy | None = None
) -> SamplingPlanner:
    """The planner of ``recipe`` in ``model``, with a learned ``value`` and ``policy`` where there are any."""
    settings = recipe.planner
    rollout = Rollout(model, settings.members, _PROPAGATION[settings.ensemble], settings.aleatoric)
    problem = problem_of(robot, TaskFunction(robot, recipe.task), model.features.state_std, value, policy)
    return SamplingPlanner(rollout, problem, settings).eval()
