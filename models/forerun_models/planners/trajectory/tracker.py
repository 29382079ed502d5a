"""Following a trajectory that was planned ahead, as one graph: where along it are we, and what does its feedback ask for?

    u = u_before + w_i + K_i [x - x_i; u_before - u_i]

Row i is the one that time says, unless another is far cheaper to come back to. The trajectory's end is held. Who is lost is
slowed down, led back to the start, and begins again after a rest, longer after each miss. The learned model imagines the next
steps with all its members, so that predictions, disagreement and what safety makes of them are as with every other planner.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from forerun_models.planners.particles import ParticleRollout
from forerun_models.planners.problem import Problem
from forerun_models.planners.situation import Situation
from forerun_models.planners.trajectory.course import Course, stands
from forerun_models.recipe import Planner

_NEAR = 1.0
"""Cost of coming back up to which the robot is on its way."""
_STILL = 0.5
"""Yardsticks of velocity below which a robot is at rest."""
_FARTHEST = 1e9
_LONGEST = 4.0
"""Doublings of the pause."""


class Tracker(nn.Module):
    """A planner with the interface of ``SamplingPlanner``.

    Args:
        rollout: the model, for what is expected.
        problem: what was solved; its limits hold.
        settings: the recipe's; of them it reads horizon and of ``trajectory`` rejoin, pause and the yardstick of velocity.
        course: the trajectory.
    """

    noise_size = 0
    kind = "trajectory"

    def __init__(self, rollout: ParticleRollout, problem: Problem, settings: Planner, course: Course):
        super().__init__()
        self.rollout, self.problem, self.settings = rollout, problem, settings
        self.state_size, self.action_size, self.goal_size = problem.state_size, problem.action_size, problem.goal_size
        self.length = len(course.states)
        self.expected = {"objective": course.objective, "rehearsed": course.share, **course.parts}
        self.lost, self.joints = min(course.lost, _FARTHEST), problem.state_size // 2
        self.arrived = course.arrived(settings.trajectory.tracking.stuck)
        self.points: Tensor = nn.Buffer(torch.cat([course.states, course.before], dim=1).float())
        self.commands: Tensor = nn.Buffer(course.commands.float())
        self.free: Tensor = nn.Buffer(course.free.float())
        self.gains: Tensor = nn.Buffer(course.gains.float())
        self.costs: Tensor = nn.Buffer(course.costs.float())
        self.back: Tensor = nn.Buffer(course.back.float())
        turning = [*problem.continuous.tolist(), *[False] * (problem.state_size - len(problem.continuous) + problem.action_size)]
        self.turning: Tensor = nn.Buffer(torch.tensor(turning).float() * 2 * torch.pi)
        self.lower: Tensor = nn.Buffer(problem.lower.clone())
        self.upper: Tensor = nn.Buffer(problem.upper.clone())
        self.slew: Tensor = nn.Buffer(torch.clamp_max(problem.slew, 1e9))
        self.state_std: Tensor = nn.Buffer(problem.state_std.clone())

    @property
    def carry_shapes(self) -> dict[str, tuple[int, ...]]:
        """The row that was followed last, 0 at first; the seconds of rest before the next beginning, 0 while a row is followed;
        how often the robot was lost since it last stood at the end; where it stands there, as deviation from the last row."""
        return {"carry_row": (1,), "carry_rest": (1,), "carry_misses": (1,), "carry_stand": (self.state_size + self.action_size,)}

    def forward(
        self, history: Tensor, goal: Tensor, noise: Tensor, elapsed: Tensor, delay: Tensor, *carry: Tensor
    ) -> tuple[Tensor, ...]:
        """One decision; arguments and results as those of ``SamplingPlanner.forward``. The value is what coming back to the
        trajectory costs, negative."""
        now = Situation.of(self.problem, history, goal, delay)
        state, before = now.states[-1], now.under_way
        deviations = self._deviations(torch.cat([state, before]))
        costs = ((deviations[:, None] @ self.costs)[:, 0] * deviations).sum(dim=1)
        row, cost = self._row(costs, carry[0], elapsed)
        rest, misses = self._rest(state, row, cost, elapsed, *carry[1:3])
        resting = rest > 0
        row = torch.where(resting | (carry[1] > 0), torch.zeros_like(row), row)
        stand = self._stand(row.long(), state, before, carry[3])
        value = -torch.index_select(costs, 0, row.long())
        particles, plan, imagined = self.rollout.begin(now.states, now.past, 1), [], []
        for ahead in range(self.settings.horizon):
            onward = self._command(torch.clamp_max(row + ahead, self.length - 1).long(), state, before, stand)
            command = self._allowed(torch.where(resting, self._way_back(state), onward), before)
            acting = command + now.late * (before - command)
            each, particles = self.rollout.step(particles, acting[None, None, :, None].expand(1, self.rollout.members, -1, -1))
            plan.append(command)
            imagined.append(each)
            state, before = each[0, ..., 0].mean(dim=0), command
        following = self.rollout.by_particle(torch.cat(imagined))[..., 0]
        centre = following.mean(dim=1, keepdim=True)
        spread = torch.sqrt((((following - centre) / self.state_std) ** 2).mean(dim=(1, 2)))
        members = following.transpose(0, 1) + now.turns
        after = (row, rest, misses, stand)
        return torch.stack(plan)[None], members.mean(dim=0)[None], value, spread.mean()[None], members[None], *after

    def _row(self, costs: Tensor, last: Tensor, elapsed: Tensor) -> tuple[Tensor, Tensor]:
        """The row [1] to follow where coming back to each costs ``costs`` [N], and what it costs [1]."""
        due = torch.clamp(torch.round(last + elapsed / self.problem.period), 0, self.length - 1)
        cost = torch.index_select(costs, 0, due.long())
        leave = (cost > _NEAR) & (costs.min() < self.settings.trajectory.rejoin * cost)
        row = torch.where(leave, torch.argmin(costs)[None].to(due.dtype), due)
        return row, torch.index_select(costs, 0, row.long())

    def _rest(
        self, state: Tensor, row: Tensor, cost: Tensor, elapsed: Tensor, rest: Tensor, misses: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Seconds of rest still to come, and misses [1] each: a robot that was following is lost where ``cost`` is too high."""
        settings = self.settings.trajectory
        following = rest <= 0
        lost, stands = following & (cost > self.lost), following & (row == self.length - 1) & (cost < _NEAR)
        misses = torch.where(stands, torch.zeros_like(misses), misses + lost.to(misses.dtype))
        pause = settings.pause * 2.0 ** torch.clamp(misses - 1.0, 0.0, _LONGEST)
        still = (state[self.joints :].abs().max() < _STILL * settings.tracking.velocity)[None]
        waiting = torch.where(still, torch.clamp_min(rest - elapsed, 0.0), pause)
        return torch.where(lost, pause, torch.where(following, torch.zeros_like(rest), waiting)), misses

    def _deviations(self, point: Tensor) -> Tensor:
        """[N, S+A] of a state and the command before [S+A] from all rows, whole turns aside."""
        off = point - self.points
        return off - self.turning * torch.round(off / torch.clamp_min(self.turning, 1.0))

    def _off(self, row: Tensor, state: Tensor, before: Tensor) -> Tensor:
        """[S+A] from the row [1]."""
        off = torch.cat([state, before]) - torch.index_select(self.points, 0, row)[0]
        return off - self.turning * torch.round(off / torch.clamp_min(self.turning, 1.0))

    def _stand(self, row: Tensor, state: Tensor, before: Tensor, stand: Tensor) -> Tensor:
        """[S+A] by which the robot is to stand off the row [1]: 0 on the way."""
        tracking = self.settings.trajectory.tracking
        found = stands(self._off(row, state, before), state[self.joints :], stand, tracking)
        return torch.where(row >= self.arrived, found, torch.zeros_like(stand))

    def _command(self, row: Tensor, state: Tensor, before: Tensor, stand: Tensor) -> Tensor:
        """[A] that follows from the row [1], as shifted by ``stand`` [S+A]."""
        off = self._off(row, state, before) - stand
        change = torch.index_select(self.gains, 0, row)[0] @ off + self.free * off[self.state_size :]
        return torch.index_select(self.commands, 0, row)[0] + change

    def _way_back(self, state: Tensor) -> Tensor:
        """[A] that slows a lost robot down and leads it back to the start."""
        off = state - self.points[0, : self.state_size]
        turning = self.turning[: self.state_size]
        return self.points[0, self.state_size :] + self.back @ (off - turning * torch.round(off / torch.clamp_min(turning, 1.0)))

    def _allowed(self, wanted: Tensor, before: Tensor) -> Tensor:
        """[A] within the limits."""
        wanted = torch.minimum(torch.maximum(wanted, before - self.slew), before + self.slew)
        return torch.minimum(torch.maximum(wanted, self.lower), self.upper)
