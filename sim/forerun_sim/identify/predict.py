"""A simulator as a predictor, for the k-step protocol that models are judged by."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from forerun_sim.identify.segments import Segments
from forerun_sim.identify.work import Crew, Kind
from forerun_sim.spec import RobotSpec


class SimulatedPredictor:
    """(past_states [N, P, S], past_actions [N, P - 1, A], actions [N, H, A]) -> states [N, H, S], open loop in the engine.

    Args:
        spec: the robot.
        engine: by name.
        values: parameters to use instead of the nominal ones.
        start: begin at the last state as it was ``measured``, or as it is ``observed`` over the past rows.
        workers: processes.
    """

    def __init__(
        self, spec: RobotSpec, engine: str, values: Mapping[str, float], start: Kind = "measured", workers: int = 1
    ) -> None:
        self._spec, self._engine, self._values, self._start, self._workers = spec, engine, dict(values), start, workers

    def __call__(
        self, past_states: NDArray[np.float32], past_actions: NDArray[np.float32], actions: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """States [N, H, S]; where the physics explodes the last good state stays."""
        count, steps, size = len(actions), actions.shape[1], past_states.shape[2]
        segments = Segments(
            past_states.astype(np.float64),
            past_actions.astype(np.float64),
            actions.astype(np.float64),
            np.zeros((count, steps, size)),
            np.zeros(count, dtype=np.int64),
        )
        crew = Crew(self._spec, self._engine, segments, self._workers)
        try:
            which = np.arange(count)
            starts = crew.starts(self._start, self._values, which)
            crew.at_once = False  # the engine itself is judged
            found = crew.predictions([self._values], which, starts[None])[0]
        finally:
            crew.close()
        for step in range(steps):
            before = found[:, step - 1] if step else starts
            found[:, step] = np.where(np.isfinite(found[:, step]), found[:, step], before)
        return np.asarray(found, dtype=np.float32)
