"""An agent that plans becomes a bundle that decides as its planner does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession

from forerun_models.agents.environment import make_environment
from forerun_models.agents.experience import settings_of_robot
from forerun_models.agents.learn import learn, load_learned
from forerun_models.agents.mpc import MpcAgent
from forerun_models.bundle import Bundle, load
from forerun_models.export.agents import export_run
from forerun_models.export.export import act_inputs, act_onnx, act_outputs
from forerun_models.export.planning import export_planning, networks_of, states_of, trials_of
from forerun_models.planners.make import make_exportable
from forerun_models.planners.networks import Networks
from forerun_models.recipe import Recipe
from forerun_models.training.finetune import Parent, load_parent
from forerun_sim.errors import InputError
from forerun_sim.spec import load_robot

_AGENT = """
warmup: 100
train_every: 100
commands: 2
model: {members: 2, elites: 2, hidden: 8, updates: 20, mechanical: chosen}
planner: {horizon: 4, samples: 16, elites: 4, iterations: 1, policy_samples: 3}
value: {hidden: [8], batch: 16, rollouts: 20, updates_per_step: 1, discount: 0.97}
"""
_RECIPE = Recipe.model_validate(
    {
        "robot": "cartpole",
        "task": "swingup",
        "model": {"members": 2, "elites": 2, "hidden": 8},
        "training": {"steps_per_epoch": 5, "phases": [{"epochs": 1, "horizon": 1}], "validation_horizon": 3, "holdout": 0.3},
        "planner": {"horizon": 4, "samples": 16, "elites": 4, "iterations": 1, "policy_samples": 3},
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


@pytest.fixture(scope="module")
def bundle(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("exported") / "bundle"
    export_run(run, folder, _RECIPE)
    return load(folder)  # checks act.onnx and dynamics.onnx against the planner and the model in torch


@pytest.fixture(scope="module")
def parent(bundle: Bundle) -> Parent:
    return load_parent(bundle)


def test_the_bundle_plans(bundle: Bundle) -> None:
    assert bundle.manifest.agent == "mpc"
    assert bundle.manifest.task == "swingup"
    assert bundle.manifest.horizon == 4


def test_the_bundle_has_the_agents_value_and_policy(run: Path, parent: Parent) -> None:
    _, agent = load_learned(run)
    assert isinstance(agent, MpcAgent)
    assert agent.value is not None
    assert parent.networks is not None
    assert parent.recipe.planner.discount == 0.97
    states, goal = torch.randn(3, 5, 4), torch.zeros(0)
    torch.testing.assert_close(parent.networks.value(states, goal), agent.value.value(states))
    torch.testing.assert_close(parent.networks.act(states, goal), agent.value.policy(states))


def test_its_graph_decides_as_torch_does(run: Path, parent: Parent, tmp_path: Path) -> None:
    assert parent.networks is not None
    networks = parent.networks
    planner = make_exportable(parent.model, parent.robot, parent.recipe, value=networks.value, policy=networks.act)
    plain = make_exportable(parent.model, parent.robot, parent.recipe, policy=networks.act)
    session = InferenceSession(act_onnx(planner, planner.rollout.history), providers=["CPUExecutionProvider"])
    generator, without = torch.Generator().manual_seed(0), []
    for _ in range(4):
        inputs = act_inputs(planner, 0.3 * torch.randn(1, planner.rollout.history, 5, generator=generator), generator)
        names = {entry.name for entry in session.get_inputs()}
        found = session.run(act_outputs(planner), {name: value.numpy() for name, value in inputs.items() if name in names})
        with torch.no_grad():
            wanted = planner(*inputs.values())
            without.append(float((wanted[2] - plain(*inputs.values())[2]).abs()))
        for ours, theirs in zip(found, wanted, strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-4)
    assert min(without) > 1e-3, "the value must count"


def test_a_recipe_for_another_task_gets_no_value(run: Path, tmp_path: Path) -> None:
    planner = _RECIPE.planner.model_copy(update={"policy_samples": 0})
    other = next(name for name in load_robot("cartpole").tasks if name != "swingup")
    export_run(run, tmp_path / "bundle", _RECIPE.model_copy(update={"task": other, "planner": planner}))
    assert load_parent(load(tmp_path / "bundle")).networks is None


def test_an_agent_that_sees_sines_and_cosines_is_exported_too(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(_AGENT)
    options = {"duration": 1.0, "angles": "sincos", "randomize": False}
    about = learn(
        "forerun/cartpole-swingup-v0",
        "mpc",
        120,
        0,
        tmp_path / "run",
        recipe=tmp_path / "small.yaml",
        options=options,
        eval_episodes=1,
    ).about
    _, agent = load_learned(tmp_path / "run")
    assert isinstance(agent, MpcAgent) and agent.value is not None
    environment = make_environment(about.env, MpcAgent, about.options)
    settings = settings_of_robot(environment.env, about.env)
    environment.close()
    shown = agent.buffer.all()["observation"][:50]
    states = states_of(shown, settings)
    assert np.abs(np.diff(states[:, 1])).max() < np.pi, "the hinge goes on turning"
    networks = networks_of(agent.value, settings)
    seen, state, goal = torch.from_numpy(shown), torch.from_numpy(states), torch.zeros(0)
    torch.testing.assert_close(networks.value(state, goal), agent.value.value(seen), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(networks.act(state, goal), agent.value.policy(seen), rtol=1e-4, atol=1e-4)
    export_run(tmp_path / "run", tmp_path / "bundle", _RECIPE)
    assert load(tmp_path / "bundle").has_model


def test_damaged_networks_are_refused() -> None:
    with pytest.raises(InputError, match="holds no value and policy"):
        Networks.unpack(b"nothing", "value.safetensors")


def test_an_environment_that_shows_more_than_the_state_is_refused(run: Path, tmp_path: Path) -> None:
    about, agent = load_learned(run)
    assert isinstance(agent, MpcAgent)
    other = about.model_copy(update={"options": {"history": 2}})
    with pytest.raises(InputError, match="history=0"):
        export_planning(tmp_path / "bundle", agent, other, {}, _RECIPE)


def test_a_value_learned_from_plans_is_in_the_bundle(tmp_path: Path) -> None:
    text = _AGENT.replace(", policy_samples: 3", "").split("value:")[0]
    (tmp_path / "small.yaml").write_text(f"{text}value: {{kind: plans, hidden: [8], batch: 16, states: 20, discount: 0.97}}\n")
    out, options = tmp_path / "run", {"duration": 1.0}
    learn("forerun/cartpole-swingup-v0", "mpc", 110, 0, out, recipe=tmp_path / "small.yaml", options=options, eval_episodes=1)
    plain = _RECIPE.model_copy(update={"planner": _RECIPE.planner.model_copy(update={"policy_samples": 0})})
    export_run(out, tmp_path / "bundle", plain)
    load(tmp_path / "bundle")  # checks act.onnx against the planner in torch
    parent = load_parent(load(tmp_path / "bundle"))
    assert parent.networks is not None and parent.networks.policy is None
    agent = load_learned(out)[1]
    assert isinstance(agent, MpcAgent) and agent.value is not None
    seen = torch.from_numpy(agent.buffer.all()["observation"])
    foreseen = parent.networks.value(seen[:, :4], torch.zeros(0))
    assert torch.allclose(foreseen, agent.value.value(seen), rtol=1e-4, atol=1e-4), "the commands behind a state do not count"
