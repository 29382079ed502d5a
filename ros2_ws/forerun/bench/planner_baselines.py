"""What planners are compared with: the same decision as a loop over calls of a one-step ONNX graph, with numpy around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from forerun.bench.planner_sessions import session
from forerun_models.export.graphs import to_onnx
from forerun_models.planners.particles import ParticleRollout
from forerun_models.planners.rollout import Particles
from forerun_sim.spec import RobotSpec
from forerun_sim.tasks import TaskFunction

if TYPE_CHECKING:
    import onnxruntime

    from forerun_models.planners.sampling import SamplingPlanner

Array = NDArray[np.float32]


class StepGraph(nn.Module):
    """One step of all members on all sequences: the planner's own, with its fused layers and layout."""

    def __init__(self, rollout: ParticleRollout):
        super().__init__()
        self.rollout = rollout

    def forward(self, newest: Tensor, action: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """newest [1, M, S, N], action [1, 1, A, N], then window and kick where the model has them -> what follows, where the
        particles go on, and their window."""
        rest = list(others)
        window = rest.pop(0) if self.rollout.history > 1 else None
        kick = rest.pop(0) if self.rollout.aleatoric else None
        wide = action.expand(1, self.rollout.members, *action.shape[2:])
        particles = Particles(newest, window, torch.ones_like(newest[:, :, :1]))
        following, after = self.rollout.step(particles, wide, kick)
        return following, after.newest, *([after.window] if after.window is not None else [])


class StepLoop:
    """iCEM and CEM without knots, one ONNX call per step of the horizon.

    Tuned as one would by hand: graphs of fixed size, no copies between steps, states in the layout of the graph, disagreement of
    the best sequence alone unless it enters the return.

    Args:
        planner: whose decision is repeated.
        spec, task: the robot and the task that ``planner`` has.
        threads: of ONNX Runtime.

    Raises:
        ValueError: a planner of another kind, with knots, policy, value, substeps or a task that ends.
    """

    def __init__(self, planner: SamplingPlanner, spec: RobotSpec, task: str | None, threads: int):
        problem = planner.problem
        unlike = planner.kind not in ("icem", "cem") or planner.basis is not None or problem.substeps > 1
        if unlike or problem.policy is not None or problem.value is not None or problem.done is not None:
            raise ValueError("the loop of step graphs repeats iCEM and CEM alone: no knots, policy, value, substeps or ends")
        self.planner, self.settings, self.rollout = planner, planner.settings, planner.rollout
        self.task, self.period = TaskFunction(spec, task), problem.period
        for name in ("middle", "half_range", "state_std", "colour", "weights"):
            setattr(self, f"_{name}", getattr(planner, name).numpy())
        self._slew_step: Array = planner.slew.largest.numpy()
        self._turning = np.zeros(planner.state_size, np.float32)
        self._turning[: len(problem.continuous)] = problem.continuous.numpy()
        counts = {*planner.populations, *([1] if planner.kind == "cem" else [])}
        self._steps = {count: self._graph(count * self.settings.particles, threads) for count in counts}

    _middle: Array
    _half_range: Array
    _state_std: Array
    _colour: Array
    _weights: Array

    def _graph(self, count: int, threads: int) -> onnxruntime.InferenceSession:
        rollout, size = self.rollout, self.planner.state_size
        inputs = {"newest": torch.zeros(1, rollout.members, size, count)}
        inputs["action"] = torch.zeros(1, 1, self.planner.action_size, count)
        outputs = ["following", "after"]
        if rollout.history > 1:
            rows = (rollout.history - 1) * (size + self.planner.action_size)
            inputs["window"] = torch.zeros(1, rollout.members, rows, count)
            outputs.append("next_window")
        if rollout.aleatoric:
            inputs["kick"] = torch.zeros(1, rollout.members, size, count)
        return session(to_onnx(StepGraph(rollout), inputs, outputs), threads)

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """plan [1, H, A], value [1], disagreement [1] and imagined [1, M, H, S] for the inputs of act.onnx."""
        planner, settings = self.planner, self.settings
        rows, goal = inputs["history"][0], inputs["goal"][0]
        late = np.clip(inputs["delay"] / np.float32(self.period), 0, 1)
        turns = np.round(rows[-1, : planner.state_size] / (2 * np.pi)) * (2 * np.pi) * self._turning
        rows = np.concatenate([rows[:, : planner.state_size] - turns, rows[:, planner.state_size :]], axis=1).astype(np.float32)
        white, kicks = self._noise(inputs["noise"])
        mean, kept = self._warm_start(inputs)
        std: Array | float = settings.std
        best = mean
        values, particles = mean, mean
        order = np.zeros(1, int)
        for number, drawn in enumerate(white):
            coloured = (self._colour @ drawn.reshape(planner.knots, -1)).reshape(drawn.shape)
            parts = [np.clip(mean + std * coloured, -1, 1)]
            parts += [kept] if planner.keep else []
            parts += [mean] if planner.kind == "cem" or number == len(white) - 1 else []
            samples = self._slewed(np.concatenate(parts, axis=2), rows[-1, planner.state_size :])
            values, particles = self._evaluate(samples, rows, goal, late, kicks)
            order = np.argsort(-values, kind="stable")[: settings.elites]
            elites = samples[:, :, order]
            best, kept = elites[:, :, :1], elites[:, :, : planner.keep]
            centre = elites.mean(axis=2, keepdims=True)
            spread = np.sqrt(((elites - centre) ** 2).mean(axis=2, keepdims=True))
            keep = settings.momentum
            mean, std = keep * mean + (1 - keep) * centre, keep * std + (1 - keep) * spread
        if planner.kind == "cem":
            best, order = self._slewed(mean, rows[-1, planner.state_size :]), order[:1] * 0
            values, particles = self._evaluate(best, rows, goal, late, kicks)
        first, copies = int(order[0]), settings.particles
        imagined = particles[..., first * copies : (first + 1) * copies].mean(axis=3)
        spread = self._spread(imagined[..., None])[:, 0].mean(keepdims=True)
        if self.rollout.propagation == "switch":
            # Particle by particle: at each step, one member further.
            imagined = np.stack([np.roll(row, number, axis=0) for number, row in enumerate(imagined)])
        plan = self._middle + self._half_range * best
        return {
            "plan": plan[None, :, :, 0],
            "value": values[first : first + 1],
            "disagreement": spread,
            "imagined": imagined.transpose(1, 0, 2)[None] + turns,
        }

    def _noise(self, noise: Array) -> tuple[list[Array], Array | None]:
        planner, settings = self.planner, self.settings
        sizes = [planner.knots * planner.action_size * count for count in planner.fresh]
        parts = np.split(noise, np.cumsum(sizes))
        white = [
            part.reshape(planner.knots, planner.action_size, count) for part, count in zip(parts, planner.fresh, strict=False)
        ]
        if not self.rollout.aleatoric:
            return white, None
        return white, parts[-1].reshape(settings.horizon, self.rollout.members, planner.state_size, settings.particles)

    def _warm_start(self, inputs: Mapping[str, Array]) -> tuple[Array, Array]:
        knots = self.planner.knots
        at = np.clip(np.arange(knots, dtype=np.float32) + inputs["elapsed"] / np.float32(self.period), 0, knots - 1)
        low = at.astype(int)
        part = (at - low).astype(np.float32)[:, None]

        def shifted(values: Array) -> Array:
            result: Array = (1 - part) * values[..., low, :] + part * values[..., np.minimum(low + 1, knots - 1), :]
            return result

        mean = shifted(inputs["carry_mean"])[:, :, None]
        return mean, shifted(inputs["carry_elites"]).transpose(1, 2, 0) if self.planner.keep else mean

    def _slewed(self, wanted: Array, under_way: Array) -> Array:
        if not self.planner.limits_slew:
            return wanted
        half = np.maximum(self._half_range, np.float32(1e-9))
        previous = np.clip((under_way[:, None] - self._middle) / half, -1, 1)
        followed = np.empty_like(wanted)
        for step, target in enumerate(wanted):
            previous = previous + np.clip(target - previous, -self._slew_step, self._slew_step)
            followed[step] = previous
        return followed

    def _evaluate(self, samples: Array, rows: Array, goal: Array, late: Array, kicks: Array | None) -> tuple[Array, Array]:
        """Returns [N] and particles [H, M, S, N * particles] of samples [H, A, N]."""
        settings, size, members = self.settings, self.planner.state_size, self.rollout.members
        count, copies = samples.shape[2], settings.particles
        given = self._middle + self._half_range * samples
        before = np.concatenate([np.broadcast_to(rows[-1, size:, None], given[:1].shape), given[:-1]])
        acting = given + late * (before - given)
        if copies > 1:
            given, before, acting = (np.repeat(array, copies, axis=2) for array in (given, before, acting))
        if kicks is not None:
            kicks = np.tile(kicks, count)
        shape, graph = (1, members, -1, count * copies), self._steps[count]
        feed: dict[str, Any] = {"newest": _wide(rows[-1, :size], shape)}
        names = ["following", "after", *(["next_window"] if self.rollout.history > 1 else [])]
        if self.rollout.history > 1:
            feed["window"] = _wide(rows[:-1].reshape(-1), shape)
        particles = np.empty((settings.horizon, members, size, count * copies), np.float32)
        for step in range(settings.horizon):
            feed["action"] = acting[None, None, step]
            if kicks is not None:
                feed["kick"] = kicks[step : step + 1]
            particles[step], feed["newest"], *window = graph.run(names, feed)
            if window:
                feed["window"] = window[0]
        values = self._returns(particles, given, before, goal)
        if copies > 1:
            values = values.reshape(members, count, copies).mean(axis=2)
        values = values.min(axis=0) if settings.ensemble == "worst" else values.mean(axis=0)
        if settings.disagreement_weight > 0:
            means = particles.reshape(*particles.shape[:3], count, copies).mean(axis=4)
            values = values - settings.disagreement_weight * self._spread(means).sum(axis=0)
        return np.where(np.isnan(values), -np.inf, values), particles

    def _returns(self, particles: Array, given: Array, before: Array, goal: Array) -> Array:
        """[M, N]; states and commands are looked at with their quantities last, which copies nothing."""
        states, action, previous = (array.swapaxes(-1, -2) for array in (particles, given[:, None], before[:, None]))
        rewards: Array = self.task.reward(np, states, action, previous, goal)
        returns: Array = (rewards * self._weights[:, None]).sum(axis=0)
        return returns

    def _spread(self, means: Array) -> Array:
        """Disagreement [H, N] of members' means [H, M, S, N]."""
        centre = means.mean(axis=1, keepdims=True)
        spread: Array = np.sqrt((((means - centre) / self._state_std) ** 2).mean(axis=(1, 2)))
        return spread


def _wide(values: Array, shape: tuple[int, ...]) -> Array:
    """Every member's and sequence's copy of ``values`` [D]."""
    return np.ascontiguousarray(np.broadcast_to(values[None, None, :, None], (*shape[:2], len(values), shape[3])))
