"""A mass on a rail with known dynamics, known optimum and known noise, as robot.yaml and trials."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from forerun_models.dynamics.ensemble import Ensemble
from forerun_models.recipe import Finetuning, ModelSettings, Phase, Planner, Recipe, Training
from forerun_models.training.start import build, initialise
from forerun_models.training.windows import Windows
from forerun_sim.spec import RobotSpec, load_robot
from forerun_sim.trial import Trial

PERIOD = 0.05
FORCE = 4.0
A = np.array([[1.0, PERIOD], [0.0, 1.0]])
B = np.array([[0.5 * PERIOD**2], [PERIOD]])
"""Exact double integrator of 1 kg: x' = A x + B u."""

_YAML = """
format: 1
name: {name}
joints:
  - {{name: slider, type: prismatic, interface: effort, position: [-5, 5], velocity: 20, effort: {force}{extra}}}
control: {{rate: 20, physics_rate: 100, history: {history}}}
tasks:
  regulate:
    goal: {{names: [x], default: [0]}}
    terms:
      - {{kind: quadratic, feature: "position:slider", goal: 0, weight: 1.0}}
      - {{kind: quadratic, feature: "velocity:slider", weight: 0.1}}
      - {{kind: action, weight: 0.16}}
"""


def robot(folder: Path, *, name: str = "slider", history: int = 1, extra: str = "") -> RobotSpec:
    """The robot, its robot.yaml written into ``folder``; ``extra`` goes into its joint (``, slew: 10``)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "robot.yaml").write_text(_YAML.format(name=name, force=FORCE, history=history, extra=extra))
    return load_robot(folder)


def trials(
    count: int, *, seed: int = 0, rows: int = 100, noise: float = 0.0, gain: float = 1.0, name: str = "slider"
) -> list[Trial]:
    """Random pushes; ``noise`` [m/s] is the standard deviation of a random kick a step, ``gain`` a factor on the force."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        states, actions = np.zeros((rows, 2)), rng.uniform(-FORCE, FORCE, (rows, 1))
        states[0] = rng.normal(size=2)
        for i in range(1, rows):
            states[i] = A @ states[i - 1] + gain * B @ actions[i - 1] + [0.0, noise * rng.normal()]
        single = (array.astype(np.float32) for array in (states, actions))
        made.append(Trial(*single, PERIOD, name, source=f"slider-{seed}#{number}"))
    return made


def recipe(**planner: object) -> Recipe:
    """Small and quick."""
    tuning = Training(
        batch=64,
        steps_per_epoch=30,
        phases=(Phase(epochs=6, horizon=5),),
        learning_rate=3e-3,
        holdout=0.25,
        validation_horizon=10,
    )
    return Recipe(
        robot="slider",
        model=ModelSettings(members=3, elites=2, hidden=16, layers=1),
        training=Training(
            batch=64, steps_per_epoch=20, phases=(Phase(epochs=3, horizon=1), Phase(epochs=3, horizon=5)), validation_horizon=10
        ),
        finetuning=Finetuning(training=tuning),
        planner=Planner.model_validate({"horizon": 15, "samples": 64, "iterations": 4, **planner}),
    )


def exact_model(spec: RobotSpec, gain: float = 1.0) -> Ensemble:
    """An ensemble that predicts the double integrator to single precision: least squares finds it, the network is silent.

    Of a robot whose force is multiplied by ``gain``.
    """
    model = build(spec, recipe().model)
    initialise(model, Windows(trials(20), model.features.history, 1), 0)
    windows = Windows(trials(20, gain=gain), model.features.history, 1)
    states, actions = windows.cut(torch.arange(len(windows)))
    features = model.features
    inputs = features.inputs(states[:, :-1].unbind(1), actions.unbind(1))
    targets = (states[:, -1] - states[:, -2] - features.target_mean) / features.target_std
    model.fit_linear(inputs, targets, ridge=1e-9)
    for parameter in (*model.weights, *model.biases):
        parameter.data.zero_()
    return model.eval()


def riccati(horizon: int) -> NDArray[np.float64]:
    """Feedback gains [H, 1, 2] that minimise the costs of ``regulate``, sum of x_{t+1}' Q x_{t+1} + R u_t^2, limits aside."""
    q, r = np.diag([1.0, 0.1]), np.array([[0.16 / FORCE**2]])
    value, gains = np.zeros((2, 2)), []
    for _ in range(horizon):
        cost = q + value
        gain = np.linalg.solve(r + B.T @ cost @ B, B.T @ cost @ A)
        value = A.T @ cost @ (A - B @ gain)
        gains.append(gain)
    return np.array(gains[::-1])
