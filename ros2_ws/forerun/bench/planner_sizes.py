"""The sizes at which planners are measured, each as a robot without a simulator and an untrained model.

Speed depends on the sizes, not on the weights. A generated robot has state / 2 joints of which the first ones are driven; one
with two joints has a free, continuous second one, as a cartpole has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forerun_models.recipe import ModelSettings, Planner, Recipe, load_recipe
from forerun_sim.spec import RobotSpec, load_robot

if TYPE_CHECKING:
    import torch

    from forerun_models.dynamics.ensemble import Ensemble
    from forerun_models.planners.sampling import SamplingPlanner


@dataclass(frozen=True)
class Size:
    """One row of the table.

    Attributes:
        name: of the row.
        state, actions: S and A.
        members, hidden, layers: of the model; all members plan.
        samples, horizon, iterations: of the planner; without shrinking, so that each iteration has ``samples``.
        history: K.
        rate: control rate [Hz].
        planner: further settings of the planner.
        robot: a shipped robot whose recipe gives all sizes in place of the above.
    """

    name: str
    state: int = 4
    actions: int = 1
    members: int = 5
    hidden: int = 64
    layers: int = 2
    samples: int = 128
    horizon: int = 15
    iterations: int = 3
    history: int = 1
    rate: float = 50.0
    planner: Mapping[str, Any] = field(default_factory=dict)
    robot: str | None = None


PETS: Mapping[str, Any] = {"kind": "cem", "ensemble": "ts1", "aleatoric": True, "particles": 3, "momentum": 0.1, "elites": 35}
"""Chua et al. 2018: their 20 particles are 21 here, as each of 7 members has the same number."""

SIZES = (
    Size("small", layers=3),
    Size("cartpole", robot="cartpole"),
    Size("s8-a2-h64", state=8, actions=2, samples=256, iterations=2),
    Size("s6-a3-h128", state=6, actions=3, hidden=128, samples=64, iterations=2),
    Size("arm7", state=14, actions=7, hidden=128, samples=64, horizon=12, iterations=2, history=2, rate=100.0),
    Size("s12-a4-h128", state=12, actions=4, members=7, hidden=128, samples=128, iterations=2),
    Size("s16-a6-h256", state=16, actions=6, hidden=256, samples=32, horizon=10, iterations=2),
    Size("s18-a6-h256", state=18, actions=6, members=6, hidden=256, samples=128, horizon=10, iterations=2),
    Size("s24-a7-h256", state=24, actions=7, members=7, hidden=256, samples=512, horizon=10, iterations=2),
    Size("pets", members=7, hidden=200, layers=4, samples=350, iterations=5, planner=PETS),
)


@dataclass(frozen=True)
class Case:
    """A size made: ``inputs`` are of one decision, by name, in the planner's order."""

    spec: RobotSpec
    recipe: Recipe
    planner: SamplingPlanner
    model: Ensemble
    inputs: Mapping[str, torch.Tensor]
    history: int


def make_case(size: Size, folder: Path, seed: int = 0) -> Case:
    """Robot, untrained model and planner of ``size``; the robot's file is written into ``folder``."""
    import torch

    from forerun_models.dynamics.ensemble import Ensemble
    from forerun_models.export.export import act_inputs
    from forerun_models.planners.make import make_exportable
    from forerun_models.training.start import build

    spec = load_robot(size.robot) if size.robot else _robot(size, folder)
    recipe = load_recipe(size.robot, size.robot) if size.robot else _recipe(size, spec)
    model = build(spec, recipe.model).eval()
    assert isinstance(model, Ensemble), recipe.model.kind
    generator = torch.Generator().manual_seed(seed)
    model.reset_parameters(generator)
    planner = make_exportable(model, spec, recipe)
    history = 0.3 * torch.randn(1, model.features.history, planner.state_size + planner.action_size, generator=generator)
    return Case(spec, recipe, planner, model, act_inputs(planner, history, generator), model.features.history)


def _recipe(size: Size, spec: RobotSpec) -> Recipe:
    model = ModelSettings(members=size.members, elites=size.members, hidden=size.hidden, layers=size.layers)
    elites = max(2, min(10, size.samples // 4))
    settings = {
        "horizon": size.horizon,
        "samples": size.samples,
        "iterations": size.iterations,
        "shrink": 1.0,
        "elites": elites,
        **size.planner,
    }
    return Recipe(robot=spec.name, model=model, planner=Planner.model_validate(settings))


def _robot(size: Size, folder: Path) -> RobotSpec:
    """Joints that shall be at 0 (a continuous one: hang down), at a cost of actions."""
    count = size.state // 2
    joints, terms = [], []
    for number in range(count):
        free = count == 2 and number == 1
        driven = ", interface: effort, effort: 5" if number < size.actions else ", interface: none"
        kind = "type: continuous" if free else "type: revolute, position: [-3, 3], velocity: 5"
        joints.append(f"  - {{name: j{number}, {kind}{driven}}}")
        feature = f"{'cos' if free else 'position'}:j{number}"
        terms.append(f'      - {{kind: quadratic, feature: "{feature}", target: 1.0, weight: 1.0}}')
    lines = ["format: 1", "name: bench", "joints:", *joints]
    lines += [f"control: {{rate: {size.rate:g}, physics_rate: {10 * size.rate:g}, history: {size.history}}}"]
    lines += ["tasks:", "  go:", "    terms:", *terms, "      - {kind: action, weight: 0.1}"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "robot.yaml").write_text("\n".join(lines) + "\n")
    return load_robot(folder)
