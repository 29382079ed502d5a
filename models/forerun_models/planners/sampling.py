"""Planning by sampling, one whole decision as one graph: random shooting, CEM, iCEM (Pinneri et al. 2020) and MPPI.

Each iteration draws coloured noise around a mean, clips it to [-1, 1], lets the model imagine every sequence and refits mean and
standard deviation to what was best. iCEM also keeps elites from iteration to iteration and from tick to tick, shrinks its
population, tries the mean in the last iteration and executes the best sequence that it has seen; CEM and MPPI execute the mean.
What goes from tick to tick is shifted by the time that passed; the standard deviation starts afresh.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from forerun_models.planners.basis import Basis
from forerun_models.planners.colour import colouring
from forerun_models.planners.particles import ParticleRollout
from forerun_models.planners.problem import Problem
from forerun_models.planners.refit import elites_of, to_elites, to_weights
from forerun_models.planners.situation import Situation
from forerun_models.planners.slew import Slew
from forerun_models.recipe import Planner

_BLOCK = 16
"""Matrix products handle this many sequences at a time; a population of another size wastes the rest."""


class SamplingPlanner(nn.Module):
    """A planner over a rollout model.

    Args:
        rollout: the model.
        problem: what to solve.
        settings: the recipe's.
    """

    def __init__(self, rollout: ParticleRollout, problem: Problem, settings: Planner):
        super().__init__()
        self.rollout, self.problem, self.settings = rollout, problem, settings
        self.kind = settings.kind
        self.state_size, self.action_size, self.goal_size = problem.state_size, problem.action_size, problem.goal_size
        basis = Basis(settings.horizon, settings.knots, settings.spline, problem.substeps)
        self._shift, self.knots = basis.shift, basis.knots
        self.policy_samples = settings.policy_samples if problem.policy is not None else 0
        self.keep = max(1, round(settings.keep * settings.elites)) if self.kind == "icem" else 0
        iterations = 1 if self.kind == "random" else settings.iterations
        shrink = settings.shrink if self.kind == "icem" else 1.0
        self.populations = [self._population(settings.samples / shrink**number) for number in range(iterations)]
        # A limit that the largest possible change stays within is none.
        step = problem.slew / problem.substeps / torch.clamp_min(problem.half_range, 1e-9)
        self.limits_slew = bool((step < 2).any())
        self.held = problem.substeps if settings.knots is None else 1
        self.slew = Slew(step, self.held)
        self.colour: Tensor = nn.Buffer(torch.from_numpy(colouring(self.knots, settings.colour)))
        self.middle: Tensor = nn.Buffer(problem.middle[:, None])
        self.half_range: Tensor = nn.Buffer(problem.half_range[:, None])
        self.state_std: Tensor = nn.Buffer(problem.state_std[:, None].clone())
        self.basis: Tensor | None = nn.Buffer(basis.commands) if basis.commands is not None else None
        self.to_knots: Tensor | None = nn.Buffer(torch.linalg.pinv(basis.means)) if basis.means is not None else None
        # The first of the policy's sequences is the policy's own, so that a plan is at least as good.
        spread = torch.full((self.policy_samples,), settings.policy_std)
        spread[:1] = 0.0
        self.policy_spread: Tensor = nn.Buffer(spread)
        self.weights: Tensor = nn.Buffer(settings.discount ** torch.arange(settings.horizon, dtype=torch.float32)[:, None])

    def _population(self, wanted: float) -> int:
        """Sequences of an iteration, kept elites and all others included."""
        least = 2 * self.settings.elites if self.kind in ("icem", "cem") else 1
        count = max(least, round(wanted))
        return count if count < 2 * _BLOCK else -(-count // _BLOCK) * _BLOCK

    @property
    def fresh(self) -> list[int]:
        """Newly drawn sequences of each iteration."""
        last = len(self.populations) - 1
        mean = 0 if self.kind == "random" else 1
        others = [
            self.keep + (mean if self.kind != "icem" or number == last else 0) + (self.policy_samples if number == 0 else 0)
            for number in range(len(self.populations))
        ]
        return [max(1, count - other) for count, other in zip(self.populations, others, strict=True)]

    @property
    def _kick_size(self) -> int:
        """Numbers of the models' own noise: the same for all sequences, so that luck does not choose among them."""
        rollout = self.rollout
        drawn = self.settings.horizon * rollout.members * self.state_size * self.settings.particles
        return drawn if rollout.aleatoric else 0

    @property
    def noise_size(self) -> int:
        """Standard normal numbers that one decision takes."""
        drawn = sum(self.fresh) * self.knots * self.action_size
        return drawn + self._kick_size + self.policy_samples * self.settings.horizon * self.action_size

    @property
    def carry_shapes(self) -> dict[str, tuple[int, ...]]:
        """What goes from tick to tick; all start at 0."""
        if self.kind == "random":
            return {}
        mean = {"carry_mean": (self.knots, self.action_size)}
        return mean | ({"carry_elites": (self.keep, self.knots, self.action_size)} if self.keep else {})

    def forward(
        self, history: Tensor, goal: Tensor, noise: Tensor, elapsed: Tensor, delay: Tensor, *carry: Tensor
    ) -> tuple[Tensor, ...]:
        """One decision.

        Args:
            history: [1, K, S+A].
            goal: [1, G].
            noise: [noise_size].
            elapsed: [1] seconds since the last decision.
            delay: [1] seconds from the newest row to the moment at which the command that answers it acts, at most a period.
                Until then the command under way acts, and the action of a step is the mean of both, as it is in a trial.
            carry: what ``carry_shapes`` says: mean [Kn, A] in [-1, 1], elites [keep, Kn, A].

        Returns:
            plan [1, H * substeps, A] and predicted [1, H, S] in physical units, value [1], disagreement [1], what each member
            expects of the plan [1, M, H, S], and the next carry.
        """
        now = Situation.of(self.problem, history, goal, delay)
        white, kicks, tried = self._noise(noise)
        mean, kept = self._warm_start(elapsed, carry)
        std: Tensor | float = self.settings.std
        last = len(white) - 1
        commands, values, particles, spread = mean, noise, noise, noise
        for number, drawn in enumerate(white):
            samples = self._draw(drawn, mean, std)
            extra = [kept] if self.keep else []
            extra += [mean] if self.kind in ("cem", "mppi") or (self.kind == "icem" and number == last) else []
            extra += [self._policy_knots(now, tried)] if number == 0 and self.policy_samples else []
            samples = torch.cat([samples, *extra], dim=2) if extra else samples
            commands = self._commands(samples, now)
            # Without knots, a sequence that the robot can follow is a better start than what was drawn.
            samples = samples if self.basis is not None else commands if self.held == 1 else self._ends(commands)
            values, particles, spread = self._evaluate(self._actions(commands), now, kicks)
            if self.kind == "mppi":
                mean = to_weights(self.settings, samples, values, mean)
                continue
            elites, values, order = elites_of(samples, values, 1 if self.kind == "random" else self.settings.elites)
            kept = elites[:, :, : self.keep]
            mean, std = to_elites(self.settings, elites, values, mean, std)
        if self.kind in ("cem", "mppi"):
            commands = self._commands(mean, now)
            values, particles, spread = self._evaluate(self._actions(commands), now, kicks)
        else:
            best, commands = order[:1], torch.index_select(commands, 2, order[:1])
            particles, spread = torch.index_select(particles, 3, best), torch.index_select(spread, 1, best)
        imagined = self.rollout.by_particle(particles)[..., 0].transpose(0, 1) + now.turns
        following = [mean[:, :, 0], kept.permute(2, 0, 1)][: len(self.carry_shapes)]
        predicted = imagined.mean(dim=0)[None]
        plan = (self.middle + self.half_range * commands)[None, :, :, 0]
        return plan, predicted, values[:1], spread.mean(dim=0), imagined[None], *following

    # What is tried -----------------------------------------------------------------------------------------------------

    def _noise(self, noise: Tensor) -> tuple[list[Tensor], Tensor | None, Tensor]:
        """The numbers of each iteration [Kn, A, fresh], of the models [H, M, S, P] and of the policy [H, A, samples]."""
        settings, actions = self.settings, self.action_size
        sizes = [self.knots * actions * count for count in self.fresh]
        parts = torch.split(noise, [*sizes, self._kick_size, self.noise_size - sum(sizes) - self._kick_size])
        white = [part.reshape(self.knots, actions, count) for part, count in zip(parts, self.fresh, strict=False)]
        shape = (settings.horizon, self.rollout.members, self.state_size, settings.particles)
        kicks = parts[-2].reshape(shape) if self.rollout.aleatoric else None
        return white, kicks, parts[-1].reshape(settings.horizon, actions, self.policy_samples)

    def _warm_start(self, elapsed: Tensor, carry: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Mean [Kn, A, 1] and kept elites [Kn, A, keep] for a time ``elapsed`` later."""
        if not carry:
            nothing = torch.zeros(self.knots, self.action_size, 1)
            return nothing, nothing
        shift = self._shift(elapsed / self.problem.period)
        mean = (shift @ carry[0])[:, :, None]
        return mean, (shift @ carry[1]).permute(1, 2, 0) if self.keep else mean

    def _draw(self, white: Tensor, mean: Tensor, std: Tensor | float) -> Tensor:
        """New samples [Kn, A, N] of white noise of that shape."""
        coloured = (self.colour @ white.reshape(self.knots, -1)).reshape(white.shape)
        if self.kind == "random":
            # The normal distribution's own distribution function makes it uniform over [-1, 1].
            return torch.erf(coloured * 2**-0.5)
        return torch.clamp(mean + std * coloured, -1.0, 1.0)

    def _policy_knots(self, now: Situation, tried: Tensor) -> Tensor:
        """What the policy would do in the model, with some noise [Kn, A, samples]."""
        policy, rollout = self.problem.policy, self.rollout
        assert policy is not None
        count = self.policy_samples
        particles = rollout.begin(now.states, now.past, count)
        before, wanted = now.under_way[:, None].expand(-1, count), []
        for noise in torch.split(tried, 1):
            state = particles.newest.mean(dim=(0, 1)).transpose(0, 1)
            action = torch.clamp(policy(state, now.goal).transpose(0, 1) + self.policy_spread * noise[0], -1.0, 1.0)
            wanted.append(action)
            given = self.middle + self.half_range * action
            mixed = given + now.late * (before - given)
            _, particles = rollout.step(particles, mixed[None, None].expand(1, rollout.members, -1, -1))
            before = given
        sequence = torch.stack(wanted)
        return sequence if self.to_knots is None else torch.clamp(_along(self.to_knots, sequence), -1.0, 1.0)

    # What comes of it --------------------------------------------------------------------------------------------------

    def _commands(self, samples: Tensor, now: Situation) -> Tensor:
        """Commands [H * substeps, A, N] in [-1, 1] that the robot can follow from the one under way on, of samples [Kn, A, N]."""
        wanted = samples if self.basis is None else torch.clamp(_along(self.basis, samples), -1.0, 1.0)
        if not self.limits_slew:
            return wanted if self.held == 1 else torch.repeat_interleave(wanted, self.held, dim=0)
        start = (now.under_way[:, None] - self.middle) / torch.clamp_min(self.half_range, 1e-9)
        followed: Tensor = self.slew(torch.clamp(start, -1.0, 1.0), wanted)
        return followed

    def _actions(self, commands: Tensor) -> Tensor:
        """Means [H, A, N] over the control steps of commands [H * substeps, A, N]."""
        return commands if self.problem.substeps == 1 else self._by_step(commands).mean(dim=1)

    def _ends(self, commands: Tensor) -> Tensor:
        """The last command [H, A, N] of each control step: held for a step, it is what leads to these commands again."""
        return self._by_step(commands)[:, -1]

    def _by_step(self, commands: Tensor) -> Tensor:
        return commands.reshape(self.settings.horizon, self.problem.substeps, *commands.shape[1:])

    def _evaluate(self, sequences: Tensor, now: Situation, kicks: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Returns [N] (finite or -inf), mean states per member [H, M, S, N] and disagreement [H, N] of sequences [H, A, N]."""
        settings, count, copies = self.settings, sequences.shape[2], self.settings.particles
        given = self.middle + self.half_range * sequences
        acting, before = now.acting(given)
        if copies > 1:
            acting, before, given = (_repeated(tensor, copies) for tensor in (acting, before, given))
        if kicks is not None:
            kicks = kicks[..., None, :].expand(*kicks.shape[:-1], count, copies).flatten(-2)
        particles = self.rollout(now.states, now.past, acting, kicks)
        values = self._returns(particles, given, before, now)
        if copies > 1:
            values = values.reshape(-1, count, copies).mean(dim=2)
            particles = particles.reshape(*particles.shape[:-1], count, copies).mean(dim=-1)
        # One member's nan must reach the minimum, which runtimes do not agree on.
        values = _ranked(values).min(dim=0).values if settings.ensemble == "worst" else values.mean(dim=0)
        centre = particles.mean(dim=1, keepdim=True)
        spread = torch.sqrt((((particles - centre) / self.state_std) ** 2).mean(dim=(1, 2)))
        if settings.disagreement_weight != 0:
            values = values - settings.disagreement_weight * spread.sum(dim=0)
        return _ranked(values), particles, spread

    def _returns(self, particles: Tensor, given: Tensor, before: Tensor, now: Situation) -> Tensor:
        """Returns [M, N] along the particles [H, M, S, N] under commands and those before them [H, A, N]."""
        problem, goal, over = self.problem, now.goal, None
        action, previous = problem.along(given[:, None]), problem.along(before[:, None])
        if problem.done is not None or problem.value is not None or problem.transition is not None:
            particles = self.rollout.by_particle(particles)
        if problem.transition is not None:
            reached = problem.along(particles)
            left = torch.cat([now.states[-1].expand(1, *reached.shape[1:]), reached[:-1]])
            rewards = problem.transition(left, action, reached)
        else:
            rewards = problem.reward(problem.along(particles), action, previous, goal)
        if problem.done is not None:
            ended = problem.done(problem.along(particles)).to(rewards.dtype)
            count = torch.cumsum(ended, dim=0)
            # Chosen, not multiplied: what is no number after the end counts nothing either.
            rewards = torch.where(count > ended, torch.zeros_like(rewards), rewards)
            over = count[-1] > 0
        values = (rewards * self.weights[:, None]).sum(dim=0)
        if problem.value is not None:
            reached = particles[-1].transpose(-1, -2)
            bootstrap = problem.value(reached, goal) * self.settings.discount**self.settings.horizon
            values = values + (bootstrap if over is None else torch.where(over, torch.zeros_like(bootstrap), bootstrap))
        return values


def _ranked(values: Tensor) -> Tensor:
    """``values``, with -inf for what is not finite: it must never win."""
    return torch.where(torch.abs(values) < float("inf"), values, torch.full_like(values, -float("inf")))


def _along(matrix: Tensor, samples: Tensor) -> Tensor:
    """``matrix`` [R, Kn] times samples [Kn, A, N] over time."""
    return (matrix @ samples.flatten(1)).reshape(matrix.shape[0], *samples.shape[1:])


def _repeated(tensor: Tensor, copies: int) -> Tensor:
    """[H, A, N] with each sequence ``copies`` times in a row."""
    return tensor[..., None].expand(*tensor.shape, copies).flatten(-2)
