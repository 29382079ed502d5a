"""The planner that a recipe asks for."""

from __future__ import annotations

import copy

from forerun_models.dynamics.ensemble import Ensemble
from forerun_models.dynamics.model import WorldModel
from forerun_models.planners.ilqr import ILQR
from forerun_models.planners.particles import ParticleRollout, Propagation
from forerun_models.planners.problem import Policy, Problem, Value, problem_of
from forerun_models.planners.rollout import Rollout
from forerun_models.planners.sampling import SamplingPlanner
from forerun_models.planners.stepwise import StepwiseRollout
from forerun_models.planners.trajectory.plan import plan_course
from forerun_models.planners.trajectory.tracker import Tracker
from forerun_models.recipe import Recipe
from forerun_sim.errors import InputError
from forerun_sim.spec import RobotSpec
from forerun_sim.tasks import TaskFunction

_PROPAGATION: dict[str, Propagation] = {"ts1": "switch", "tsinf": "stay", "mean": "mean", "worst": "stay"}


def make_planner(
    model: WorldModel, robot: RobotSpec, recipe: Recipe, *, value: Value | None = None, policy: Policy | None = None
) -> SamplingPlanner | ILQR:
    """The planner of ``recipe`` in ``model``, with a learned ``value`` and ``policy`` where there are any."""
    settings = recipe.planner
    if settings.kind != "ilqr":
        return make_exportable(model, robot, recipe, value=value, policy=policy)
    if not isinstance(model, Ensemble):
        raise InputError(
            f"recipe of {recipe.robot}: planner.kind 'ilqr' plans in models of kind 'ensemble' alone; choose icem, cem or mppi"
        )
    # Cast first: the weights are then also folded in double precision.
    rollout = Rollout(copy.deepcopy(model).double(), settings.members, "mean")
    return ILQR(rollout, _problem(model, robot, recipe, value, policy), settings).eval()


def make_for_bundle(
    model: WorldModel, robot: RobotSpec, recipe: Recipe, *, value: Value | None = None, policy: Policy | None = None
) -> SamplingPlanner | Tracker:
    """The planner of ``recipe`` as a bundle has it, with a learned ``value`` and ``policy`` where there are any; one of kind
    ``trajectory`` plans its trajectory now and has no use for them.

    Raises:
        InputError: the recipe's planner works in torch alone, or finds no trajectory.
    """
    settings = recipe.planner
    if settings.kind != "trajectory":
        return make_exportable(model, robot, recipe, value=value, policy=policy)
    problem = _problem(model, robot, recipe, None, None)
    rollout = rollout_of(model, settings.members, "stay")
    return Tracker(rollout, problem, settings, plan_course(model, robot, recipe, problem)).eval()


def make_exportable(
    model: WorldModel, robot: RobotSpec, recipe: Recipe, *, value: Value | None = None, policy: Policy | None = None
) -> SamplingPlanner:
    """As ``make_planner``, for planners that become one ONNX graph.

    Raises:
        InputError: the recipe's planner is not one of them.
    """
    settings = recipe.planner
    if settings.kind == "trajectory":
        raise InputError(
            f"recipe of {recipe.robot}: planner.kind is 'trajectory', which draws no samples; choose icem, cem, mppi or random"
        )
    if settings.kind == "ilqr":
        raise InputError(
            f"recipe of {recipe.robot}: planner.kind is 'ilqr', which plans in torch alone and cannot run in a bundle. Choose "
            "icem, cem, mppi or random for the robot; iLQR is for comparison, through forerun_models.planners.decide"
        )
    rollout = rollout_of(model, settings.members, _PROPAGATION[settings.ensemble], settings.aleatoric)
    return SamplingPlanner(rollout, _problem(model, robot, recipe, value, policy), settings).eval()


def rollout_of(model: WorldModel, members: int | None, propagation: Propagation, aleatoric: bool = False) -> ParticleRollout:
    """The quickest rollout there is of ``model``'s first ``members`` elites."""
    if isinstance(model, Ensemble):
        return Rollout(model, members, propagation, aleatoric)
    return StepwiseRollout(model, members, propagation, aleatoric)


def _problem(model: WorldModel, robot: RobotSpec, recipe: Recipe, value: Value | None, policy: Policy | None) -> Problem:
    return problem_of(robot, TaskFunction(robot, recipe.task), model.features.state_std, value, policy)
