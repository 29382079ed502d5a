"""Following a trajectory in the model under what a robot adds to it: which of several that cost about the same can be followed?

    dx = f_e(x, k u + r),  u = u_before + w_i + K_i [x + v - x_i; u_before - u_i]

Each member e of the model is a robot of its own; starts, drives (k), commands (r, coloured) and measured velocities (v) are off
at random. What is linear about the feedback is put to the test by what is not: limits, dry friction, speed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from forerun_models.planners.problem import Problem
from forerun_models.planners.trajectory.course import Course, stands
from forerun_models.planners.trajectory.motion import Motion
from forerun_models.recipe import Tracking

_ROBOTS = 12
"""Of each member."""
_START, _KICK, _NOISE = 0.3, 0.15, 0.05
"""Standard deviations of starts, commands and measured velocities, in the yardsticks of the feedback."""
_DRIVES = 0.02
_COLOUR = 0.9
_AFTER = 1.0
"""Seconds for which the end is held."""
_THERE = 4.0
"""Yardsticks of position within which the robot counts as held."""
_LOST, _USUAL = 2.0, 0.9
"""Cost of coming back above which a robot is lost, as a multiple of the largest from which this share of the held ones did."""
_LEAST_LOST, _MOST_LOST = 10.0, 100.0


@dataclass(frozen=True)
class Rehearsal:
    """Share of the robots that were held at the end, and the cost of coming back beyond which a robot is lost."""

    share: float
    lost: float


@torch.no_grad()
def rehearse(motion: Motion, problem: Problem, course: Course, tracking: Tracking, seed: int) -> Rehearsal:
    """Follows ``course`` step by step (``motion`` has knots of one step)."""
    model, joints, free = motion.model, motion.state_size // 2, course.free
    generator = torch.Generator().manual_seed(seed)

    def drawn(size: int, scale: float) -> Tensor:
        return scale * torch.randn(model.members, _ROBOTS, size, generator=generator, dtype=torch.float64)

    lower, upper, slew = problem.lower.double(), problem.upper.double(), torch.clamp_max(problem.slew.double(), 1e9)
    arrived = course.arrived(tracking.stuck)
    points = torch.cat([course.states, course.before], dim=1)
    first = course.states[0] + drawn(2 * joints, _START * tracking.position)[0]
    memory = model.placed(motion.standing, first, course.before[:1].expand(_ROBOTS, -1))
    state, before = first.expand(model.members, -1, -1), course.before[0].expand(model.members, _ROBOTS, -1)
    drives, kick = 1.0 + drawn(1, _DRIVES), torch.zeros_like(before)
    stand = torch.zeros(model.members, _ROBOTS, points.shape[1], dtype=torch.float64)
    largest = torch.zeros(model.members, _ROBOTS, dtype=torch.float64)
    for moment in range(len(points) + round(_AFTER / motion.period)):
        row = min(moment, len(points) - 1)
        seen = state + torch.cat([torch.zeros_like(state[..., :joints]), drawn(joints, _NOISE * tracking.velocity)], dim=-1)
        off = torch.cat([seen, before], dim=-1) - points[row]
        largest = torch.maximum(largest, ((off @ course.costs[row]) * off).sum(dim=-1))
        if row >= arrived:
            stand = stands(off, seen[..., joints:], stand, tracking)
        off = off - stand
        command = course.commands[row] + off @ course.gains[row].T + free * off[..., 2 * joints :]
        command = torch.minimum(torch.maximum(command, before - slew), before + slew)
        before = torch.minimum(torch.maximum(command, lower), upper)
        kick = _COLOUR * kick + drawn(len(free), (1 - _COLOUR**2) ** 0.5 * _KICK * tracking.command)
        state, _, memory = model.advance(memory, (before * drives + kick) * free)
    held = ((state - points[-1, : 2 * joints]).abs()[..., :joints] < _THERE * tracking.position).all(dim=-1)
    most = float(torch.quantile(largest[held], _USUAL)) if bool(held.any()) else 0.0
    return Rehearsal(float(held.double().mean()), min(max(_LEAST_LOST, _LOST * most), _MOST_LOST))


def rehearsed(motion: Motion, problem: Problem, course: Course, tracking: Tracking, seed: int) -> Course:
    """``course``, which knows how it went."""
    found = rehearse(motion, problem, course, tracking, seed)
    return replace(course, share=found.share, lost=found.lost)
