"""From a learned model and a recipe to a trajectory with its feedback."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from forerun_models.dynamics.model import WorldModel
from forerun_models.planners.problem import Problem
from forerun_models.planners.trajectory.costs import NAMES, Costs
from forerun_models.planners.trajectory.course import Course
from forerun_models.planners.trajectory.feedback import Array, NoTrajectory, holding, step_back
from forerun_models.planners.trajectory.motion import Motion
from forerun_models.planners.trajectory.rehearsal import rehearsed
from forerun_models.planners.trajectory.shooting import Found, Shooting
from forerun_models.recipe import Recipe, Tracking, TrajectorySettings
from forerun_sim.errors import InputError
from forerun_sim.spec import RobotSpec
from forerun_sim.tasks import TaskFunction

_JOINED = 1e-2
"""Sum of defects below which a trajectory is one."""
_ARRIVED = 0.3
"""Largest deviation from the target at its end, in any unit."""
_EARLY, _KEPT = 0.5, 0.25
"""Share of the iterations after which most guesses are given up, and of the guesses that are not."""
_SWING = 0.4
"""Size of a random first guess's swings, as a share of the way to the target."""
_BENDS = 4
"""Waves of a random first guess."""
_SETTLING = 20
_SURE = 0.95
"""Share of rehearsals that is enough."""
_SLOWED, _RETURNED = 0.1, 1.0
"""Seconds in which a lost robot's driven joints lose their speed, and then go back to the start."""


def plan_course(model: WorldModel, robot: RobotSpec, recipe: Recipe, problem: Problem) -> Course:
    """Plans in the mean of ``model``'s elites.

    Raises:
        InputError: the model or the target is none for this planner.
        NoTrajectory: none was found.
    """
    settings, task = recipe.planner.trajectory, TaskFunction(robot, recipe.task)
    free = torch.nonzero(problem.half_range > 0)[:, 0]
    start, target = _ends(robot, settings, task)
    fine = Motion(model, recipe.planner.members, start, problem.middle, free, problem.period)
    standing, end = _at_rest(fine, start), _at_rest(fine, target)
    motion = fine.every(settings.knot)
    driven = torch.tensor([robot.joint_names.index(name) for name in robot.action_names])[free]
    outside = (lambda state: task.outside(torch, state)) if task.task.success else None
    costs = Costs(
        settings.scales,
        outside,
        settings.margin,
        driven,
        problem.half_range[free],
        problem.middle[free],
        settings.knot,
        problem.period,
        round(task.task.duration / problem.period),
        settings.reserve,
    )
    steps = round(settings.seconds / (settings.knot * problem.period))
    z, w = _guesses(standing, end, len(robot.joints), steps, settings, motion)
    with torch.no_grad():
        rough = Shooting(Motion(model, 1, start, problem.middle, free, problem.period, settings.knot), costs, end)
        found = _best(rough, Shooting(motion, costs, end), z, w, settings)
        back = _way_back(fine, standing, driven, settings.tracking)
        return _chosen(fine, motion, found, end, settings, back, problem)


def _ends(robot: RobotSpec, settings: TrajectorySettings, task: TaskFunction) -> tuple[Tensor, Tensor]:
    """States [S] in the middle of the task's initial ones and at the target."""
    unknown = sorted(set(settings.target) - set(robot.joint_names))
    if unknown:
        raise InputError(
            f"planner.trajectory.target: robot '{robot.name}' has no joint '{unknown[0]}'; joints: {', '.join(robot.joint_names)}"
        )
    given = (task.task.initial_position, task.task.initial_velocity)
    first = [drawn[name].middle if name in drawn else 0.0 for drawn in given for name in robot.joint_names]
    last = [settings.target.get(name, 0.0) for name in robot.joint_names] + [0.0] * len(robot.joints)
    return torch.tensor(first, dtype=torch.float64), torch.tensor(last, dtype=torch.float64)


def _at_rest(motion: Motion, state: Tensor) -> Tensor:
    """z [n] with the commands under which ``state`` moves least, by least squares."""
    given, free = torch.zeros(len(motion.free), dtype=torch.float64), len(motion.free)
    for _ in range(_SETTLING):
        z = torch.cat([state, given])[None]
        with torch.no_grad():
            found = motion.linear(z, torch.zeros(1, free, dtype=torch.float64))
        off = (found.following - z)[0, : motion.state_size]
        slope = found.by_start[0, : motion.state_size, motion.state_size :]
        change = torch.linalg.lstsq(slope, off[:, None]).solution[:, 0]
        given = given - change
        if float(change.abs().max()) < 1e-9:
            break
    return torch.cat([state, given])


def _guesses(
    start: Tensor, end: Tensor, joints: int, steps: int, settings: TrajectorySettings, motion: Motion
) -> tuple[Tensor, Tensor]:
    """Smooth ways from ``start`` to ``end`` [n] that swing at random, feasible or not: z [B, T+1, n] and no changes [B, T, F]."""
    rng, count = np.random.default_rng(settings.seed), settings.starts
    moment = np.linspace(0.0, 1.0, steps + 1)[:, None]
    first, last = start[:joints].numpy(), end[:joints].numpy()
    waves = np.arange(1, _BENDS + 1)
    sizes = rng.normal(size=(count, joints, _BENDS)) / waves * _SWING * np.abs(last - first).max()
    swings = np.einsum("bjk,tk->btj", sizes, np.sin(np.pi * moment * waves) * np.sin(np.pi * moment))
    position = first + (last - first) * (moment**2 * (3 - 2 * moment)) + swings
    velocity = np.gradient(position, settings.seconds / steps, axis=1)
    size = motion.state_size
    commands = start[size:] + (end - start)[size:] * torch.as_tensor(moment)
    states = torch.as_tensor(np.concatenate([position, velocity], axis=2))
    z = torch.cat([states, commands.expand(count, -1, -1)], dim=2)
    z[:, 0] = start
    return z, torch.zeros(count, steps, len(motion.free), dtype=torch.float64)


def _best(rough: Shooting, shooting: Shooting, z: Tensor, w: Tensor, settings: TrajectorySettings) -> Found:
    """All guesses for a part of the iterations, in the best member alone; then the best ones for the rest."""
    early = round(_EARLY * settings.iterations)
    found = rough.improve(z, w, early)
    # What has no defects yet may still become the best, but seldom does.
    order = torch.argsort(found.objective + (found.defects >= _JOINED) * (1.0 + found.defects))
    kept = order[: max(1, round(_KEPT * len(z)))]
    return shooting.improve(found.z[kept], found.w[kept], settings.iterations - early)


def _chosen(
    fine: Motion, motion: Motion, found: Found, end: Tensor, settings: TrajectorySettings, back: Tensor, problem: Problem
) -> Course:
    """The first by objective that can be followed as the rehearsal says, or the one that can be followed best."""
    far = (found.z[:, -1] - end).abs().amax(dim=1)
    whole = (found.defects < _JOINED) & torch.isfinite(found.objective) & (far < _ARRIVED)
    if not bool(whole.any()):
        raise NoTrajectory(
            f"planner.trajectory: none of {settings.starts} starts became a trajectory to the target in {settings.iterations} "
            "iterations; raise starts, iterations or seconds"
        )
    order = torch.argsort(torch.where(whole, found.objective, torch.inf))[: int(whole.sum())]
    tried: list[Course] = []
    for number in order.tolist():
        course = _followed(fine, motion, found, number, end, settings, back)
        tried.append(rehearsed(fine, problem, course, settings.tracking, settings.seed))
        if tried[-1].share >= _SURE:
            break
    return max(tried, key=lambda course: course.share)


def _followed(
    fine: Motion, motion: Motion, found: Found, number: int, end: Tensor, settings: TrajectorySettings, back: Tensor
) -> Course:
    """One of what was found, step by step, with its feedback."""
    z, w = found.z[number], found.w[number]
    between = motion.along(z[:-1], w)
    # Within a knot the states of the model, at its end those of the trajectory: the same to rounding.
    rows = torch.cat([z[:-1, None], between[:, :-1]], dim=1).flatten(0, 1)
    rows = torch.cat([rows, end[None]])
    changes = torch.repeat_interleave(w / settings.knot, settings.knot, dim=0)
    gains, costs = _regulator(fine, rows, changes, settings.tracking)
    size, route = fine.state_size, fine.route
    wide = torch.zeros(fine.size, size + route.shape[1], dtype=torch.float64)
    wide[:size, :size], wide[size:, size:] = torch.eye(size), route
    given = rows[:, size:] + torch.cat([changes, torch.zeros_like(changes[:1])])
    return Course(
        rows[:, :size],
        fine.commands(rows[:, size:]),
        fine.commands(given),
        route.sum(dim=0),
        torch.as_tensor(route.T.numpy() @ gains @ wide.numpy()),
        torch.as_tensor(wide.T.numpy() @ costs @ wide.numpy()),
        back,
        float(found.objective[number]),
        dict(zip(NAMES, found.costs[number].tolist(), strict=True)),
    )


def _way_back(fine: Motion, standing: Tensor, driven: Tensor, tracking: Tracking) -> Tensor:
    """Gains [A, S] under which the driven joints slow down within ``_SLOWED`` and then go back to ``standing`` within
    ``_RETURNED``: each pulls on its own joint alone, which takes energy out of any robot (Takegaki and Arimoto 1981)."""
    joints, free = fine.state_size // 2, len(fine.free)
    # Of a joint that moves: at rest dry friction would hide what a command does.
    moving = standing.clone()
    moving[joints : 2 * joints] = 3 * tracking.velocity
    moved = fine.linear(moving[None], torch.zeros(1, free, dtype=torch.float64)).by_start[0]
    back = torch.zeros(free, fine.state_size, dtype=torch.float64)
    for command, joint in enumerate(driven.tolist()):
        slowing = fine.period / (_SLOWED * moved[joints + joint, fine.state_size + command])
        back[command, joint], back[command, joints + joint] = -slowing / _RETURNED, -slowing
    return fine.route.T @ back


def _regulator(motion: Motion, rows: Tensor, changes: Tensor, tracking: Tracking) -> tuple[Array, Array]:
    """Gains [N, F, n] and costs [N, n, n] of deviations along ``rows`` [N, n] and ``changes`` [N-1, F], the end held for ever."""
    joints, free, period = motion.state_size // 2, len(motion.free), motion.period
    yardstick = [tracking.position] * joints + [tracking.velocity] * joints + [tracking.command] * free
    state = period * np.diag(1.0 / np.square(yardstick))
    change = np.eye(free) / (period * tracking.rate**2)
    sizes = torch.tensor([*yardstick, *[period * tracking.rate] * free], dtype=torch.float64)
    moves = motion.secant(rows, torch.cat([changes, torch.zeros_like(changes[:1])]), sizes)
    by_start, by_change = moves.by_start.numpy(), moves.by_change.numpy()
    costs, gains = np.empty(by_start.shape), np.empty((len(rows), free, motion.size))
    last = holding(by_start[-1], by_change[-1], state, change)
    costs[-1], gains[-1] = last, step_back(last, by_start[-1], by_change[-1], change)[1]
    for t in reversed(range(len(rows) - 1)):
        before, gains[t] = step_back(costs[t + 1], by_start[t], by_change[t], change)
        costs[t] = before + state
    return gains, costs
