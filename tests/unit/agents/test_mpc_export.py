"""An agent that plans becomes a bundle that decides as its planner does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forerun_models.agents.environment import make_environment
from forerun_models.agents.experience import settings_of_robot
from forerun_models.agents.learn import learn, load_learned
from forerun_models.agents.mpc import MpcAgent
from forerun_models.bundle import load
from forerun_models.export.agents import export_run
from forerun_models.export.planning import export_planning, trials_of
from forerun_models.recipe import Recipe
from forerun_sim.errors import InputError

_AGENT = """
warmup: 100
train_every: 100
model: {members: 2, elites: 2, hidden: 8, updates: 20}
planner: {horizon: 4, samples: 16, elites: 4, iterations: 1}
"""
_RECIPE = Recipe.model_validate(
    {
        "robot": "cartpole",
        "task": "swingup",
        "model": {"members": 2, "elites": 2, "hidden": 8},
        "training": {"steps_per_epoch": 5, "phases": [{"epochs": 1, "horizon": 1}], "validation_horizon": 3, "holdout": 0.3},
        "planner": {"horizon": 4, "samples": 16, "elites": 4, "iterations": 1},
    }
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mpc")
    (folder / "small.yaml").write_text(_AGENT)
    options = {"duration": 1.0}
    out = folder / "run"
    learn("forerun/cartpole-swingup-v0", "mpc", 150, 0, out, recipe=folder / "small.yaml", options=options, eval_episodes=1)
    return out


def test_its_experience_becomes_trials_in_physical_units(run: Path) -> None:
    about, agent = load_learned(run)
    assert isinstance(agent, MpcAgent)
    environment = make_environment(about.env, MpcAgent, about.options)
    settings = settings_of_robot(environment.env, about.env)
    environment.close()
    trials, data = trials_of(agent, settings), agent.buffer.all()
    assert sum(len(trial) - 1 for trial in trials) == len(agent.buffer) == 150
    assert np.array_equal(trials[0].states[:-1], data["observation"][: len(trials[0]) - 1, :4])
    _, upper = settings.robot.action_limits(settings.task)
    assert np.allclose(trials[0].actions[:-1], upper * data["action"][: len(trials[0]) - 1], rtol=1e-5)


def test_the_bundle_plans(run: Path, tmp_path: Path) -> None:
    export_run(run, tmp_path / "bundle", _RECIPE)
    bundle = load(tmp_path / "bundle")  # checks act.onnx and dynamics.onnx against the planner and the model in torch
    assert bundle.manifest.agent == "mpc"
    assert bundle.manifest.task == "swingup"
    assert bundle.manifest.horizon == 4


def test_an_environment_that_shows_more_than_the_state_is_refused(run: Path, tmp_path: Path) -> None:
    about, agent = load_learned(run)
    assert isinstance(agent, MpcAgent)
    other = about.model_copy(update={"options": {"angles": "sincos"}})
    with pytest.raises(InputError, match="angles='plain'"):
        export_planning(tmp_path / "bundle", agent, other, {}, _RECIPE)
