"""iCEM: the improved cross-entropy method (Pinneri et al. 2020), one whole decision as one graph.

Maximise over u_0..u_{H-1} in [-1, 1] the mean over members of sum_t discount^t r(s_{t+1}, u_t), minus a penalty on the members'
disagreement. Each iteration draws coloured noise around the mean, clips, adds kept elites (the last one also the mean), and
refits mean and standard deviation to the elites. Mean and kept elites go to the next tick, shifted by the time that passed;
the standard deviation starts afresh. The best sequence evaluated is executed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from forerun_models.planners.colour import colouring
from forerun_models.planners.rollout import Rollout
from forerun_models.recipe import Planner

Reward = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(state reached [..., S], action [..., A], previous action [..., A], goal [..., G]) -> [...], physical units."""
Done = Callable[[Tensor], Tensor]


class ICEM(nn.Module):
    """A planner over a rollout model.

    Args:
        rollout: the model.
        reward: of one step; must be traceable.
        done: whether a state ends the episode, None where no state does; later rewards count nothing.
        lower, upper: command limits [A].
        slew: largest change of a command from one step to the next [A] (inf where unlimited).
        continuous: per joint, whether it may turn for ever.
        state_std: yardstick of the disagreement [S].
        goal_size: G.
        period: control period [s].
        settings: the recipe's.
    """

    def __init__(
        self,
        rollout: Rollout,
        reward: Reward,
        done: Done | None,
        lower: Tensor,
        upper: Tensor,
        slew: Tensor,
        continuous: Tensor,
        state_std: Tensor,
        goal_size: int,
        period: float,
        settings: Planner,
    ):
        super().__init__()
        self.rollout, self.reward, self.done = rollout, reward, done
        self.settings, self.period, self.goal_size = settings, period, goal_size
        self.state_size, self.action_size = len(state_std), len(lower)
        self.populations = [
            max(2 * settings.elites, round(settings.samples / settings.shrink**number)) for number in range(settings.iterations)
        ]
        self.keep = max(1, round(settings.keep * settings.elites))
        horizon = settings.horizon
        self.colour: Tensor = nn.Buffer(torch.from_numpy(colouring(horizon, settings.colour)))
        self.middle: Tensor = nn.Buffer((upper + lower) / 2)
        self.half_range: Tensor = nn.Buffer((upper - lower) / 2)
        step = slew / torch.clamp_min((upper - lower) / 2, 1e-9)
        self.limits_slew = bool((step < 2).any())
        self.slew_step: Tensor = nn.Buffer(torch.clamp(step, 1e-6, 2.0))
        self.turns: Tensor = nn.Buffer(torch.cat([continuous.float(), torch.zeros(len(continuous))]))
        self.state_std: Tensor = nn.Buffer(state_std.clone())
        self.steps: Tensor = nn.Buffer(torch.arange(horizon, dtype=torch.float32))
        self.weights: Tensor = nn.Buffer(settings.discount ** torch.arange(horizon, dtype=torch.float32))

    @property
    def noise_size(self) -> int:
        """Standard normal numbers that one decision takes."""
        return sum(self.populations) * self.settings.horizon * self.action_size

    @property
    def carry_shapes(self) -> dict[str, tuple[int, ...]]:
        """What goes from tick to tick; all start at 0."""
        horizon = self.settings.horizon
        return {"carry_mean": (horizon, self.action_size), "carry_elites": (self.keep, horizon, self.action_size)}

    def forward(
        self,
        history: Tensor,
        goal: Tensor,
        noise: Tensor,
        elapsed: Tensor,
        delay: Tensor,
        carry_mean: Tensor,
        carry_elites: Tensor,
    ) -> tuple[Tensor, ...]:
        """One decision.

        Args:
            history: [1, K, S+A].
            goal: [1, G].
            noise: [noise_size].
            elapsed: [1] seconds since the last decision.
            delay: [1] seconds from the newest row to the moment at which the command that answers it acts, at most a period.
                Until then the command under way acts, and the action of a step is the mean of both, as it is in a trial.
            carry_mean: [H, A] in [-1, 1].
            carry_elites: [keep, H, A].

        Returns:
            plan [1, H, A] and predicted [1, H, S] in physical units, value [1], disagreement [1], what each member expects of
            the plan [1, M, H, S], and the next carry.
        """
        rows = history[0]
        # Whole turns are taken out, so that single precision is spent on the angle.
        turns = torch.round(rows[-1, : self.state_size] / (2 * torch.pi)) * (2 * torch.pi) * self.turns
        states = list((rows[:, : self.state_size] - turns).unbind(0))
        commands = list(rows[:, self.state_size :].unbind(0))
        under_way = commands[-1]
        shift, late = self._shift(elapsed), torch.clamp(delay / self.period, 0.0, 1.0)
        mean, kept = shift @ carry_mean, shift @ carry_elites
        std: Tensor | float = self.settings.std
        used = 0
        elites, values, particles, spread = kept, noise, noise, noise
        for number, count in enumerate(self.populations):
            size = count * self.settings.horizon * self.action_size
            white = noise[used : used + size].reshape(count, self.settings.horizon, self.action_size)
            used += size
            samples = torch.clamp(mean + std * (self.colour @ white), -1.0, 1.0)
            extra = [kept, mean[None]] if number == len(self.populations) - 1 else [kept]
            samples = self._slew(torch.cat([samples, *extra]), under_way)
            values, particles, spread = self._evaluate(samples, states, commands[:-1], under_way, late, goal)
            values, order = torch.topk(values, self.settings.elites)
            elites = samples[order]
            kept = elites[: self.keep]
            momentum = self.settings.momentum
            fresh_std = torch.sqrt(((elites - elites.mean(dim=0)) ** 2).mean(dim=0))
            mean = momentum * mean + (1 - momentum) * elites.mean(dim=0)
            std = momentum * std + (1 - momentum) * fresh_std
            best = order[:1]
        plan = self._physical(elites[:1])
        imagined = torch.index_select(particles, 2, best)[:, :, 0].transpose(0, 1) + turns
        disagreement = torch.index_select(spread, 1, best)[:, 0].mean()
        return plan, imagined.mean(dim=0)[None], values[:1], disagreement[None], imagined[None], mean, kept

    def _shift(self, elapsed: Tensor) -> Tensor:
        """Matrix [H, H] that moves a sequence on by ``elapsed``, interpolating between steps and holding the last one."""
        wanted = torch.clamp_max(self.steps + elapsed / self.period, self.settings.horizon - 1.0)
        return torch.relu(1.0 - torch.abs(wanted[:, None] - self.steps[None, :]))

    def _physical(self, samples: Tensor) -> Tensor:
        return self.middle + self.half_range * samples

    def _slew(self, samples: Tensor, under_way: Tensor) -> Tensor:
        """Sequences [N, H, A] that the robot can follow from the command under way on."""
        if not self.limits_slew:
            return samples
        now = torch.clamp((under_way - self.middle) / torch.clamp_min(self.half_range, 1e-9), -1.0, 1.0)
        # In units of the largest step, so that the clip's limits are constants.
        previous, followed = now / self.slew_step, []
        for wanted in torch.split(samples / self.slew_step, 1, dim=1):
            previous = previous + torch.clamp(wanted - previous, -1.0, 1.0)
            followed.append(previous)
        return torch.cat(followed, dim=1) * self.slew_step

    def _evaluate(
        self, samples: Tensor, states: list[Tensor], past: list[Tensor], under_way: Tensor, late: Tensor, goal: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns [N] (never nan), states [H, M, N, S] and disagreement [H, N] of sequences [N, H, A]."""
        actions = self._physical(samples)
        before = torch.cat([under_way.expand(actions.shape[0], 1, -1), actions[:, :-1]], dim=1)
        particles = self.rollout(states, past, actions + late * (before - actions))
        given, previous = (array.transpose(0, 1)[:, None] for array in (actions, before))
        rewards = self.reward(particles, given, previous, goal[0]).mean(dim=1)
        if self.done is not None:
            ended = self.done(particles).to(rewards.dtype).mean(dim=1)
            rewards = rewards * torch.clamp_min(1.0 - (torch.cumsum(ended, dim=0) - ended), 0.0)
        centre = particles.mean(dim=1, keepdim=True)
        spread = torch.sqrt((((particles - centre) / self.state_std) ** 2).mean(dim=(1, 3)))
        values = (rewards * self.weights[:, None]).sum(dim=0)
        if self.settings.disagreement_weight > 0:
            values = values - self.settings.disagreement_weight * spread.sum(dim=0)
        # A nan return must never win: it is worse than the worst.
        values = torch.where(values == values, values, torch.full_like(values, -float("inf")))
        return values, particles, spread
