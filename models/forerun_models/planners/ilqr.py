"""iLQR: planning by derivatives (Li and Todorov 2004; regularisation and line search of Tassa, Erez and Todorov 2012; limits of
Tassa, Mansard and Todorov 2014). In torch and in double precision, for comparison with the sampling planners and for use off the
robot: it makes no ONNX graph.

    planner = make_planner(model, robot, recipe)          # the recipe says ``planner: {kind: ilqr, iterations: 50}``
    decision = Decider(planner, seed=0).decide(history, goal)

Each iteration takes the model's exact derivatives along the trajectory, solves the linear-quadratic problem around it backward
(``riccati.py``), and tries the new commands with several step sizes at once, as one batch. On a linear model with quadratic
rewards the first iteration is already LQR. Curvature of the rewards that is negative is left out, so that each step climbs. What
is found is a local optimum: where rewards are flat far from the goal, sampling may find a better one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from forerun_models.planners.basis import Basis
from forerun_models.planners.colour import colouring
from forerun_models.planners.problem import Problem
from forerun_models.planners.riccati import Expansion, Gains, backward
from forerun_models.planners.rollout import Particles, Rollout
from forerun_models.planners.situation import Situation
from forerun_models.recipe import Planner

_STEPS = 10.0 ** torch.linspace(0.0, -3.0, 10, dtype=torch.float64)
"""Step sizes of the line search (Tassa et al. 2012)."""
_LEAST_DAMPING, _MOST_DAMPING, _DAMPING_FACTOR = 1e-6, 1e10, 2.0
"""Of the damping's schedule (Tassa et al. 2012, section F)."""
_CALM = 1e-3
"""Damping up to which a small gain means that there is no larger one."""

Choice = Callable[[int, Tensor], Tensor]
"""(step t, state [n, N]) -> wanted commands [A, N]."""


@dataclass(frozen=True)
class Solution:
    """What ``ILQR.solve`` found.

    Attributes:
        commands: [H, A] in [-1, 1], which the robot can follow.
        states: [H+1, n] along them (see ``ILQR``).
        imagined: [M, H, S] what each member expects, whole turns taken out.
        value: return.
        iterations: that were spent.
        converged: whether the last one could gain no more than the recipe's tolerance.
    """

    commands: Tensor
    states: Tensor
    imagined: Tensor
    value: float
    iterations: int = 0
    converged: bool = False


class ILQR(nn.Module):
    """A planner over a rollout model, with the interface of ``SamplingPlanner``.

    The state that it plans in, [n], is all that the future depends on: K-1 older rows of (state, action), the newest state, and
    the command before, physical units. The start is the best of the shifted last plan, of ``samples`` coloured draws around it,
    of doing nothing, and of the policy where there is one. An episode's end counts in every return, but has no derivative.

    Of the recipe's planner it reads horizon, iterations, tolerance, samples, colour, std, discount and members, and
    policy_samples for whether to ask the policy. The members' mean is the model; the other settings mean nothing here.

    Args:
        rollout: the model, with propagation ``mean``; it is cast to double precision.
        problem: what to solve. Value and policy are asked in single precision.
        settings: the recipe's.
    """

    def __init__(self, rollout: Rollout, problem: Problem, settings: Planner):
        super().__init__()
        if rollout.propagation != "mean" or rollout.aleatoric:
            raise ValueError("iLQR plans in the members' mean: its rollout needs propagation 'mean' and no aleatoric noise")
        self.rollout, self.problem, self.settings = rollout.double(), problem, settings
        self.kind = settings.kind
        self.state_size, self.action_size, self.goal_size = problem.state_size, problem.action_size, problem.goal_size
        self._window = (rollout.history - 1) * (problem.state_size + problem.action_size)
        self._size = self._window + problem.state_size + problem.action_size
        basis = Basis(settings.horizon, None, "linear", problem.substeps)
        self._shift = basis.shift
        half = problem.half_range.double()
        step = problem.slew.double() / torch.clamp_min(half, 1e-9)
        self.limits_slew = bool((step < 2).any())
        self.slew_step: Tensor = nn.Buffer(torch.clamp(step, 1e-6, 2.0)[:, None])
        # A command that the task leaves no range stays in the middle of it.
        self.free: Tensor = nn.Buffer((half > 0).double()[:, None])
        self.middle: Tensor = nn.Buffer(problem.middle.double()[:, None])
        self.half_range: Tensor = nn.Buffer(half[:, None])
        self.colour: Tensor = nn.Buffer(torch.from_numpy(colouring(settings.horizon, settings.colour)).double())
        self.weights: Tensor = nn.Buffer(settings.discount ** torch.arange(settings.horizon, dtype=torch.float64))

    @property
    def noise_size(self) -> int:
        """Standard normal numbers that one decision takes."""
        return self.settings.samples * self.settings.horizon * self.action_size

    @property
    def carry_shapes(self) -> dict[str, tuple[int, ...]]:
        """What goes from tick to tick; all start at 0."""
        return {"carry_mean": (self.settings.horizon, self.action_size)}

    def forward(
        self, history: Tensor, goal: Tensor, noise: Tensor, elapsed: Tensor, delay: Tensor, *carry: Tensor
    ) -> tuple[Tensor, ...]:
        """One decision; arguments and results as those of ``SamplingPlanner.forward``, in the precision of ``history``. The carry
        is the last plan [H, A] in [-1, 1]. Never raises on numbers: where the model or the task give none, the plan is the best
        that had a return, at worst the middle of the limits."""
        # Derivatives are taken by transforms, which inference mode would forbid.
        with torch.inference_mode(False), torch.no_grad():
            now, found = self._decide(history, goal, noise, elapsed, delay, *carry)
            imagined = found.imagined
            spread = torch.sqrt((((imagined - imagined.mean(dim=0)) / self.problem.state_std) ** 2).mean(dim=(0, 2)))
            imagined = imagined + now.turns
            value = torch.full((1,), found.value, dtype=torch.float64)
            outputs = (self._plan(found.commands, now), imagined.mean(dim=0)[None], value, spread.mean()[None], imagined[None])
            plan, *others = (output.to(history.dtype) for output in (*outputs, found.commands))
            return (torch.clamp(plan, self.problem.lower, self.problem.upper), *others)

    def solve(self, history: Tensor, goal: Tensor, noise: Tensor, elapsed: Tensor, delay: Tensor, *carry: Tensor) -> Solution:
        """What ``forward`` decides on, and how it got there; same arguments."""
        with torch.inference_mode(False), torch.no_grad():
            return self._decide(history, goal, noise, elapsed, delay, *carry)[1]

    def _decide(self, *inputs: Tensor) -> tuple[Situation, Solution]:
        history, goal, noise, elapsed, delay, carried = (tensor.detach().clone().double() for tensor in inputs)
        now = Situation.of(self.problem, history, goal, delay)
        return now, self._solve(now, self._best_start(now, noise, elapsed, carried))

    # The iteration -----------------------------------------------------------------------------------------------------

    def _solve(self, now: Situation, best: Solution) -> Solution:
        damping, factor = 0.0, 1.0
        around: Expansion | None = None
        number, converged = 0, False
        while number < self.settings.iterations and not converged and damping <= _MOST_DAMPING:
            number += 1
            around = around or self._expand(best, now)
            if not around.finite or best.value == -torch.inf:
                break
            gains = backward(around, damping)
            while gains is None and damping <= _MOST_DAMPING:
                damping, factor = _raised(damping, factor)
                gains = backward(around, damping)
            if gains is None:
                break
            least = self.settings.tolerance * abs(best.value)
            tried = self._line_search(best, gains, now)
            gain = tried.value - best.value
            # A damped or shortened step that gains little says nothing yet.
            converged = damping <= _CALM and gain <= least and gains.expected <= max(least, 10 * gain)
            if gain > 0:
                best, around = tried, None
                damping, factor = _lowered(damping, factor)
            else:
                damping, factor = _raised(damping, factor)
        return Solution(best.commands, best.states, best.imagined, best.value, number, converged)

    def _line_search(self, best: Solution, gains: Gains, now: Situation) -> Solution:
        """The best of all step sizes along ``gains``, imagined as one batch."""

        def choose(t: int, state: Tensor) -> Tensor:
            feedback = gains.feedback[t] @ (state - best.states[t][:, None])
            return best.commands[t][:, None] + gains.feedforward[t][:, None] * _STEPS + feedback

        return self._imagine(now, len(_STEPS), choose)

    def _best_start(self, now: Situation, noise: Tensor, elapsed: Tensor, carried: Tensor) -> Solution:
        settings = self.settings
        warm = (self._shift(elapsed / self.problem.period) @ carried)[:, :, None]
        white = noise.reshape(settings.horizon, self.action_size, settings.samples)
        drawn = (self.colour @ white.flatten(1)).reshape(white.shape)
        starts = torch.cat([torch.zeros_like(warm), warm, warm + settings.std * drawn], dim=2)
        starts = torch.where(torch.isfinite(starts), starts, torch.zeros_like(starts))
        best = self._imagine(now, starts.shape[2], lambda t, state: starts[t])
        policy = self.problem.policy
        if policy is None or not settings.policy_samples:
            return best
        newest = slice(self._window, self._window + self.state_size)
        goal = now.goal.float()
        advised = self._imagine(now, 1, lambda t, state: policy(state[newest].T.float(), goal).T.double())
        return advised if advised.value > best.value else best

    # What comes of commands --------------------------------------------------------------------------------------------

    def _imagine(self, now: Situation, count: int, choose: Choice) -> Solution:
        """The best of ``count`` runs under the commands that ``choose`` wants, cut to what the robot can follow. A return that is
        no number is worse than all others."""
        rows = [value for pair in zip(now.states[:-1], now.past, strict=True) for value in pair]
        state = torch.cat([*rows, now.states[-1], now.under_way])[:, None].expand(-1, count)
        states, commands, imagined = [state], [], []
        for t in range(self.settings.horizon):
            lower, upper = self._limits(state)
            command = torch.minimum(torch.maximum(choose(t, state), lower), upper)
            each, state = self._advance(state, command, now.late)
            commands.append(command)
            imagined.append(each)
            states.append(state)
        along, given = torch.stack(states), torch.stack(commands)
        weights, last = self._weights(along)
        returns = (weights * self._rewards(self._outcome(along, given), now.goal)).sum(dim=0)
        if self.problem.value is not None:
            returns = returns + last * self._horizon_value(along[-1], now.goal)
        returns = torch.where(torch.isfinite(returns), returns, torch.full_like(returns, -torch.inf))
        best = int(torch.argmax(returns))
        members = torch.stack(imagined)[..., best].transpose(0, 1)
        return Solution(given[..., best], along[..., best], members, float(returns[best]))

    def _advance(self, state: Tensor, command: Tensor, late: Tensor) -> tuple[Tensor, Tensor]:
        """What each member expects [M, S, N] of ``command`` [A, N] in [-1, 1], and the next state [n, N]."""
        rollout, first, last = self.rollout, self._window, self._size - self.action_size
        given, before = self.middle + self.half_range * command, state[last:]
        acting = given + late * (before - given)
        wide = (1, rollout.members, -1, -1)
        window = state[:first].expand(wide) if first else None
        one = torch.ones(1, rollout.members, 1, state.shape[1], dtype=state.dtype)
        each, after = rollout.step(Particles(state[first:last].expand(wide), window, one), acting.expand(wide))
        older = [] if after.window is None else [after.window[0, 0]]
        return each[0], torch.cat([*older, after.newest[0, 0], given])

    def _limits(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Lowest and highest command [A, N] in [-1, 1] that may follow in ``state`` [n, N]."""
        if not self.limits_slew:
            upper = self.free.expand(-1, state.shape[1])
            return -upper, upper
        before = (state[self._size - self.action_size :] - self.middle) / torch.clamp_min(self.half_range, 1e-9)
        before = self.free * torch.clamp(before, -1.0, 1.0)
        return torch.maximum(-self.free, before - self.slew_step), torch.minimum(self.free, before + self.slew_step)

    def _outcome(self, states: Tensor, commands: Tensor) -> Tensor:
        """All that rewards look at [H, S+2A, N]: the states reached, the commands in [-1, 1] and those before them, physical."""
        last = self._size - self.action_size
        return torch.cat([states[1:, self._window : last], commands, states[:-1, last:]], dim=1)

    def _rewards(self, outcome: Tensor, goal: Tensor) -> Tensor:
        """[..., N] of what ``_outcome`` gives [..., S+2A, N]."""
        problem = self.problem
        sizes = [self.state_size, self.action_size, self.action_size]
        state, command, before = torch.split(outcome, sizes, dim=-2)
        given = self.middle + self.half_range * command
        return problem.reward(problem.along(state), problem.along(given), problem.along(before), goal)

    def _weights(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """How much each step's reward counts [H, N], and the value at the horizon [N], along ``states`` [H+1, n, N]."""
        problem, horizon = self.problem, self.settings.horizon
        weights = self.weights[:, None].expand(-1, states.shape[2])
        last = torch.full_like(weights[0], self.settings.discount**horizon)
        if problem.done is None:
            return weights, last
        reached = states[1:, self._window : self._window + self.state_size]
        ended = problem.done(problem.along(reached)).to(weights.dtype)
        count = torch.cumsum(ended, dim=0)
        return weights * torch.clamp_min(1.0 - (count - ended), 0.0), last * torch.clamp_min(1.0 - count[-1], 0.0)

    def _horizon_value(self, state: Tensor, goal: Tensor) -> Tensor:
        """[N] of states [n, N]."""
        assert self.problem.value is not None
        newest = state[self._window : self._window + self.state_size]
        return self.problem.value(newest.T.float(), goal.float()).to(state.dtype)

    def _plan(self, commands: Tensor, now: Situation) -> Tensor:
        """Commands [1, H * substeps, A] in physical units of ``commands`` [H, A]."""
        substeps = self.problem.substeps
        wanted = torch.repeat_interleave(commands, substeps, dim=0)
        if self.limits_slew and substeps > 1:
            start = (now.under_way - self.middle[:, 0]) / torch.clamp_min(self.half_range[:, 0], 1e-9)
            previous, step = torch.clamp(start, -1.0, 1.0), self.slew_step[:, 0] / substeps
            followed = []
            for target in wanted:
                previous = previous + torch.clamp(target - previous, -step, step)
                followed.append(previous)
            wanted = torch.stack(followed)
        return (self.middle[:, 0] + self.half_range[:, 0] * wanted)[None]

    # Derivatives -------------------------------------------------------------------------------------------------------

    def _expand(self, around: Solution, now: Situation) -> Expansion:
        """Dynamics and costs around a trajectory, all steps at once."""
        size, actions, reached = self._size, self.action_size, slice(self._window, self._size - self.action_size)
        states, commands = around.states[..., None], around.commands[..., None]
        along, given = around.states[:-1].T, around.commands.T
        point = torch.cat([along, given])
        _, slope = _jacobian(lambda x: self._advance(x[:size], x[size:], now.late)[1][reached], point)
        dynamics = self._moved(now.late).repeat(self.settings.horizon, 1, 1)
        dynamics[:, reached] = slope
        outcome = self._outcome(states, commands)[..., 0].T
        gradient, curvature = _second_order(lambda z: self._rewards(z, now.goal), outcome)
        weights, last = self._weights(states)
        # What a step's outcome is made of, in terms of (state, command).
        parts = torch.zeros(self.settings.horizon, len(outcome), size + actions, dtype=slope.dtype)
        parts[:, : self.state_size] = slope
        parts[:, self.state_size : -actions, size:] = torch.eye(actions, dtype=slope.dtype)
        parts[:, -actions:, size - actions : size] = torch.eye(actions, dtype=slope.dtype)
        last_gradient = torch.zeros(size, dtype=slope.dtype)
        last_curvature = torch.zeros(size, size, dtype=slope.dtype)
        if self.problem.value is not None:
            final = _second_order(lambda x: self._horizon_value(x, now.goal), around.states[-1][:, None])
            last_gradient, last_curvature = -last * final[0][0], _convex(-last * final[1])[0]
        lower, upper = self._limits(along)
        return Expansion(
            dynamics=dynamics,
            gradient=torch.einsum("hzx,hz->hx", parts, -weights * gradient),
            curvature=parts.transpose(1, 2) @ _convex(-weights[..., None] * curvature) @ parts,
            last_gradient=last_gradient,
            last_curvature=last_curvature,
            lower=(lower - given).T,
            upper=(upper - given).T,
            lower_slope=self._limit_slope(lower > -self.free),
            upper_slope=self._limit_slope(upper < self.free),
        )

    def _moved(self, late: Tensor) -> Tensor:
        """Derivative [n, n+A] of the next state by (state, command) in all but the newest state, whose rows are 0."""
        size, actions, window = self._size, self.action_size, self._window
        row, half = self.state_size + actions, torch.diag(self.half_range[:, 0])
        moved = torch.zeros(size, size + actions, dtype=half.dtype)
        moved[size - actions :, size:] = half
        if window:
            moved[: window - row, row:window] = torch.eye(window - row, dtype=half.dtype)
            moved[window - row : window - actions, window : size - actions] = torch.eye(self.state_size, dtype=half.dtype)
            moved[window - actions : window, size - actions : size] = late * torch.eye(actions, dtype=half.dtype)
            moved[window - actions : window, size:] = (1 - late) * half
        return moved

    def _limit_slope(self, by_slew: Tensor) -> Tensor:
        """[H, A, n]: limits ``by_slew`` [A, H] move with the command before; the others stand still."""
        slope = torch.zeros(by_slew.shape[1], self.action_size, self._size, dtype=self.half_range.dtype)
        share = by_slew.to(slope.dtype) / torch.clamp_min(self.half_range, 1e-9)
        slope[:, :, self._size - self.action_size :] = torch.diag_embed(share.T)
        return slope


def _raised(damping: float, factor: float) -> tuple[float, float]:
    factor = max(_DAMPING_FACTOR, factor * _DAMPING_FACTOR)
    return max(_LEAST_DAMPING, damping * factor), factor


def _lowered(damping: float, factor: float) -> tuple[float, float]:
    factor = min(1 / _DAMPING_FACTOR, factor / _DAMPING_FACTOR)
    return damping * factor if damping * factor >= _LEAST_DAMPING else 0.0, factor


def _jacobian(function: Callable[[Tensor], Tensor], point: Tensor) -> tuple[Tensor, Tensor]:
    """``function`` takes columns [D, N] to columns [R, N], each by itself: its value and its derivative [N, R, D]."""
    value, pull, *_ = torch.func.vjp(function, point)
    basis = torch.eye(len(value), dtype=value.dtype)[:, :, None].expand(-1, -1, value.shape[1])
    (rows,) = torch.func.vmap(pull)(basis)
    return value, rows.permute(2, 0, 1)


def _second_order(function: Callable[[Tensor], Tensor], point: Tensor) -> tuple[Tensor, Tensor]:
    """``function`` takes columns [D, N] to numbers [N], each by itself: its gradient [N, D] and curvature [N, D, D]."""
    gradient, curvature = _jacobian(torch.func.grad(lambda x: function(x).sum()), point)
    return gradient.T, 0.5 * (curvature + curvature.transpose(1, 2))


def _convex(curvature: Tensor) -> Tensor:
    """[N, D, D] without its negative part; unchanged where it is not finite."""
    if not bool(torch.isfinite(curvature).all()):
        return curvature
    values, vectors = torch.linalg.eigh(curvature)
    kept: Tensor = (vectors * torch.clamp_min(values, 0.0)[:, None]) @ vectors.transpose(1, 2)
    return kept
