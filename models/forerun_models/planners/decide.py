"""Decisions of any planner in torch, off the robot: for comparisons, for tests and for trying recipes without exporting them.

    planner = make_planner(model, load_robot("cartpole"), load_recipe(None, "cartpole"))
    decider = Decider(planner, seed=0)
    decision = decider.decide(history, goal)              # decision.plan [H, A] in physical units
    decision = decider.decide(later, goal, elapsed=0.02)  # starts from the last one

A bundle's graph decides the same from the same noise, to rounding; iLQR has no graph and decides here alone.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike

from forerun_models.bundle import Carry, Decision
from forerun_models.planners.ilqr import ILQR
from forerun_models.planners.sampling import SamplingPlanner
from forerun_models.planners.trajectory.tracker import Tracker


class Decider:
    """What ``bundle.act`` is to a bundle: one decision after another, each starting from the last one's carry.

    Args:
        planner: of any kind, from ``make_planner``.
        seed: of the planner's noise, drawn as the controller draws it.
    """

    def __init__(self, planner: SamplingPlanner | ILQR | Tracker, seed: int):
        self.planner = planner
        self._seed = seed
        self.reset()

    def reset(self) -> None:
        """Forgets all decisions: the next ones are those of a new ``Decider``."""
        self._random = np.random.default_rng(self._seed)
        self.carry: Carry = {name: np.zeros(shape, np.float32) for name, shape in self.planner.carry_shapes.items()}

    @torch.no_grad()
    def decide(self, history: ArrayLike, goal: ArrayLike, elapsed: float = 0.0, delay: float = 0.0) -> Decision:
        """One decision, in single precision as a bundle's.

        Args:
            history: [K, S+A], row i the state and the command given in it; the last row's command is the one under way.
            goal: [G].
            elapsed: seconds since the last decision (0 at the first).
            delay: seconds from the history's end to the moment at which the plan's first command acts, at most a period.

        Raises:
            ValueError: ``history`` or ``goal`` has not the model's shape.
        """
        rows, aim = np.asarray(history, np.float32), np.asarray(goal, np.float32)
        planner = self.planner
        expected = (planner.rollout.history, planner.state_size + planner.action_size)
        if rows.shape != expected or aim.shape != (planner.goal_size,):
            raise ValueError(
                f"the planner takes a history {list(expected)} and a goal [{planner.goal_size}]; "
                f"got {list(rows.shape)} and {list(aim.shape)}"
            )
        noise = self._random.standard_normal(planner.noise_size, dtype=np.float32)
        inputs = (rows[None], aim[None], noise, np.array([elapsed], np.float32), np.array([delay], np.float32))
        outputs = planner(*(torch.tensor(array) for array in (*inputs, *self.carry.values())))
        plan, predicted, value, disagreement, imagined, *after = (output.numpy() for output in outputs)
        self.carry = dict(zip(self.carry, after, strict=True))
        # The caller's carry is its own.
        carry = {name: array.copy() for name, array in self.carry.items()}
        return Decision(plan[0], predicted[0], float(value[0]), float(disagreement[0]), imagined[0], carry)
