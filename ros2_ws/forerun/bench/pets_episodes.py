"""Episodes of a planner on a simulated robot that waits for it, kept in a file so that a stopped measurement goes on."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from forerun.bench.planner_row import Act
from forerun_models.recipe import Recipe
from forerun_sim.plant import Plant
from forerun_sim.spec import RobotSpec
from forerun_sim.tasks import TaskFunction

if TYPE_CHECKING:
    from forerun_models.dynamics.ensemble import Ensemble

Inputs = dict[str, NDArray[np.float32]]
_END = 25
"""Last steps whose mean reward tells whether the robot is where it should be."""
_TRIED = 3
"""Plans by which the faster way to run a planner is chosen."""


class Control:
    """A planner as it runs fastest with ``threads``: as an ONNX graph, or eager in torch.

    Attributes:
        runs: ``onnx`` or ``torch``.
        start: inputs of a first plan.
    """

    def __init__(self, model: Ensemble, spec: RobotSpec, recipe: Recipe, threads: int):
        import torch

        from forerun_models.export.export import act_inputs, act_onnx, act_outputs
        from forerun_models.planners.make import make_exportable

        torch.set_num_threads(threads)
        self._planner = make_exportable(model, spec, recipe)
        self.history, planner = model.features.history, self._planner
        row = planner.state_size + planner.action_size
        given = act_inputs(planner, torch.zeros(1, self.history, row), torch.Generator().manual_seed(0))
        self._names, self._outputs = list(given), act_outputs(planner)
        self.start: Inputs = {name: tensor.numpy() for name, tensor in given.items()}
        self._act = Act(act_onnx(planner, self.history), threads)
        ways = {"onnx": self._onnx, "torch": self._torch}
        taken = {name: min(_seconds(way, self.start) for _ in range(_TRIED)) for name, way in ways.items()}
        self.runs = min(taken, key=lambda name: taken[name])
        self._way = ways[self.runs]

    def plan(self, inputs: Inputs) -> Inputs:
        """Outputs by name."""
        return self._way(inputs)

    def _onnx(self, inputs: Inputs) -> Inputs:
        return self._act(inputs)

    def _torch(self, inputs: Inputs) -> Inputs:
        import torch

        with torch.inference_mode():
            results = self._planner(*(torch.from_numpy(inputs[name]) for name in self._names))
        return {name: result.numpy() for name, result in zip(self._outputs, results, strict=True)}


class Episodes:
    """Episodes of one task on the nominal plant; everything random in one follows from its seed.

    Args:
        path: JSON lines, one an episode.
        spec: the robot.
        task: its task, the first if None.
        steps: control steps whose rewards count.
    """

    def __init__(self, path: Path, spec: RobotSpec, task: str | None, steps: int):
        self._path, self._spec, self._steps = path, spec, steps
        self._task = TaskFunction(spec, task)

    def find(self, key: str, seed: int) -> dict[str, Any] | None:
        """What an earlier run of the same setting and length found."""
        if not self._path.exists():
            return None
        name = self._name(key)
        for line in self._path.read_text().splitlines():
            row: dict[str, Any] = json.loads(line)
            if (row["name"], row["seed"], row["steps"]) == (name, seed, self._steps):
                return row
        return None

    def run(self, key: str, control: Control, seed: int, extra: int) -> dict[str, Any]:
        """Runs and keeps one episode, with ``extra`` steps whose rewards do not count."""
        rewards, plan_ms = self._control(control, seed, extra)
        row = {
            "name": self._name(key),
            "seed": seed,
            "steps": self._steps,
            "return": float(sum(rewards[: self._steps])),
            "end_reward": float(np.mean(rewards[: self._steps][-_END:])),
            "runs": control.runs,
            "plan_ms": [round(value, 3) for value in plan_ms],
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        return row

    def _name(self, key: str) -> str:
        return hashlib.sha256(key.encode()).hexdigest()[:16]

    def _control(self, control: Control, seed: int, extra: int) -> tuple[list[float], list[float]]:
        """Reward of each step and milliseconds of each plan."""
        spec, period = self._spec, self._spec.control.period
        plant = Plant(spec, task=self._task.name, seed=seed, randomize=False)
        random = np.random.default_rng(seed)
        lower, upper = spec.action_limits(self._task.name)
        slew = np.array([np.inf if joint.slew is None else joint.slew for joint in spec.actuated]) * period
        reading, command = plant.reset(0), np.zeros(spec.action_size)
        rows, rewards, taken = [], [], []
        inputs, goal = dict(control.start), self._task.default_goal
        inputs["goal"] = np.asarray(goal, np.float32).reshape(inputs["goal"].shape)
        for step in range(self._steps + extra):
            state = np.concatenate([reading.position, reading.velocity])
            rows.append(np.concatenate([state, command]))
            window = rows[-control.history :]
            window = [window[0]] * (control.history - len(window)) + window
            inputs["history"] = np.array(window, np.float32)[None]
            inputs["noise"] = random.standard_normal(inputs["noise"].shape).astype(np.float32)
            inputs["elapsed"] = np.array([period if step else 0.0], np.float32)
            began = time.perf_counter()
            outputs = control.plan(inputs)
            taken.append((time.perf_counter() - began) * 1e3)
            inputs |= {name.removeprefix("next_"): value for name, value in outputs.items() if name.startswith("next_")}
            before = command
            command = np.clip(np.clip(outputs["plan"][0, 0].astype(float), lower, upper), before - slew, before + slew)
            reading = plant.step(command) or reading
            after = plant.true_state()
            rewards.append(float(self._task.reward(np, after, command, before, goal)))
        plant.close()
        return rewards, taken


def _seconds(way: Any, inputs: Inputs) -> float:
    began = time.perf_counter()
    way(inputs)
    return time.perf_counter() - began
