"""One definition of a task: numpy, torch and ONNX give the same reward, and terms mean what robot.yaml's words say."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from forerun_sim.errors import InputError
from forerun_sim.spec import RobotSpec, load_robot
from forerun_sim.tasks import TaskFunction

Robot = Callable[..., RobotSpec]
SHIPPED = [(name, task) for name in ("cartpole", "pendulum", "double_pendulum") for task in load_robot(name).tasks]


class Reward(torch.nn.Module):
    """A task as a graph."""

    def __init__(self, task: TaskFunction) -> None:
        super().__init__()
        self.task = task

    def forward(self, state: Any, action: Any, previous: Any, goal: Any) -> Any:
        return self.task.reward(torch, state, action, previous, goal), self.task.done(torch, state)


def inputs(spec: RobotSpec, task: TaskFunction, batch: int = 64) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    lower, upper = spec.action_limits()
    actions = [rng.uniform(lower, upper, (batch, spec.action_size)).astype(np.float32) for _ in range(2)]
    state = rng.normal(0, 2.0, (batch, spec.state_size)).astype(np.float32)
    goal = np.broadcast_to(task.default_goal, (batch, task.goal_size)).astype(np.float32)
    return state, *actions, goal


def check_equal(spec: RobotSpec, name: str) -> None:
    task = TaskFunction(spec, name)
    arrays = inputs(spec, task)
    reward, done = task.reward(np, *arrays), task.done(np, arrays[0])
    assert reward.shape == done.shape == (64,) and reward.dtype == np.float32 and done.dtype == np.bool_
    assert np.ptp(reward) > 0
    tensors = tuple(torch.from_numpy(array.copy()) for array in arrays)
    in_torch = Reward(task)(*tensors)
    assert np.allclose(in_torch[0].numpy(), reward, rtol=1e-5, atol=1e-5)
    assert np.array_equal(in_torch[1].numpy(), done)
    graph = io.BytesIO()
    names = ["state", "action", "previous", "goal"]
    torch.onnx.export(
        Reward(task), tensors, graph, input_names=names, dynamo=False, dynamic_axes={name: {0: "batch"} for name in names}
    )
    session = onnxruntime.InferenceSession(graph.getvalue(), providers=["CPUExecutionProvider"])
    wanted = {node.name for node in session.get_inputs()}
    feeds = {key: array for key, array in zip(names, arrays, strict=True) if key in wanted}
    in_graph = session.run(None, feeds)
    assert np.allclose(in_graph[0], reward, rtol=1e-5, atol=1e-5)
    assert np.array_equal(in_graph[1], done)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore::UserWarning")
@pytest.mark.parametrize(("name", "task"), SHIPPED)
def test_shipped_task_is_the_same_in_numpy_torch_and_onnx(name: str, task: str) -> None:
    check_equal(load_robot(name), task)


EVERYTHING = {
    "goal": {"names": ["angle", "x", "y", "z"], "default": [0.5, 0.1, 0.2, 0.3]},
    "terms": [
        {"kind": "tolerance", "feature": "position:swing", "goal": 0, "bounds": [-0.1, 0.2], "margin": 0.7},
        {"kind": "quadratic", "feature": "velocity:swing", "target": 1.0, "weight": 0.3},
        {"kind": "action", "weight": 0.2},
        {"kind": "slew", "weight": 0.1},
        {"kind": "alive", "weight": 0.5},
        {"kind": "limit", "feature": "sin:swing", "bounds": [-1, 1], "margin": 0.4},
        {"kind": "distance", "link": "arm", "goal": 1},
        {"kind": "quadratic", "feature": "link:arm.z", "target": 1.0},
        {"kind": "quadratic", "feature": "link:arm.zx", "target": 0.3},
        {
            "kind": "product",
            "weight": 2.0,
            "terms": [
                {"kind": "tolerance", "feature": "cos:swing"},
                {"kind": "tolerance", "feature": "command:swing", "margin": 9},
            ],
        },
    ],
    "termination": [{"feature": "velocity:swing", "bounds": [-2, 2]}, {"feature": "link:arm.x", "bounds": [-1, 1]}],
}


class Reversed:
    """A term in Python, as a user would write one."""

    def __init__(self, spec: RobotSpec) -> None:
        self.column = spec.joint_names.index("swing")

    def reward(self, xp: Any, state: Any, action: Any, previous_action: Any, goal: Any) -> Any:
        return xp.cos(state[..., self.column]) * -3.0


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore::UserWarning")
def test_every_kind_of_term_is_the_same_in_numpy_torch_and_onnx(bob: Robot) -> None:
    check_equal(bob(tasks={"all": EVERYTHING | {"python": f"{__name__}:Reversed"}}), "all")


def value(bob: Robot, term: dict[str, Any], state: list[float], action: float = 0.0, previous: float = 0.0, **task: Any) -> float:
    function = TaskFunction(bob(tasks={"one": {"terms": [term]} | task}))
    return float(function.reward(np, np.array(state), np.array([action]), np.array([previous]), function.default_goal))


def test_terms_mean_what_they_say(bob: Robot) -> None:
    near = {"kind": "tolerance", "feature": "position:swing", "target": 1.0, "bounds": [-0.1, 0.1], "margin": 0.5, "weight": 2.0}
    assert value(bob, near, [1.05, 0]) == 2.0
    assert value(bob, near, [1.6, 0]) == pytest.approx(0.2)
    assert value(bob, {"kind": "quadratic", "feature": "velocity:swing", "target": 1, "weight": 3}, [0, 3.0]) == -12.0
    assert value(bob, {"kind": "action", "weight": 2}, [0, 0], action=2.5) == pytest.approx(-0.5)
    assert value(bob, {"kind": "slew", "weight": 2}, [0, 0], action=2.5, previous=-2.5) == pytest.approx(-2.0)
    assert value(bob, {"kind": "alive", "weight": 2}, [3.0, 3.0]) == 2.0
    limit = {"kind": "limit", "feature": "position:swing", "bounds": [-2, 2], "margin": 0.5}
    assert value(bob, limit, [1.5, 0]) == 0.0 and value(bob, limit, [2.5, 0]) == pytest.approx(-4.0)
    assert value(bob, limit, [-2.0, 0]) == pytest.approx(-1.0)
    goal = {"names": ["x", "y", "z"], "default": [3.0, 0.0, 4.0]}
    assert value(bob, {"kind": "distance", "link": "arm", "goal": 0}, [0.3, 0], goal=goal) == pytest.approx(-5.0)


def test_goal_is_an_input(bob: Robot) -> None:
    term = {"kind": "quadratic", "feature": "position:swing", "goal": 0}
    task = TaskFunction(bob(tasks={"reach": {"goal": {"names": ["angle"], "default": [1.0]}, "terms": [term]}}))
    state, action = np.zeros((2, 2)), np.zeros((2, 1))
    assert np.allclose(task.reward(np, state, action, action, np.array([[1.0], [2.0]])), [-1.0, -4.0])
    assert task.default_goal.tolist() == [1.0] and task.goal_size == 1


def test_locked_joint_does_not_count_in_the_action_cost() -> None:
    spec = load_robot("double_pendulum")
    task, free = TaskFunction(spec, "acrobot"), TaskFunction(spec, "full")
    state, action, goal = np.zeros(4), np.array([0.0, 6.0]), np.zeros(0)
    cost = [
        function.reward(np, state, np.zeros(2), action * 0, goal) - function.reward(np, state, action, action, goal)
        for function in (task, free)
    ]
    assert cost[0] == pytest.approx(2 * cost[1])


def test_success_is_holding_the_goal_to_the_end() -> None:
    task = TaskFunction(load_robot("cartpole"), "swingup")
    upright, hanging = np.array([0.0, np.pi, 0.0, 0.0]), np.zeros(4)
    down_then_up = np.concatenate([np.tile(hanging, (200, 1)), np.tile(upright, (120, 1))])
    assert task.success(down_then_up, 0.02)
    assert task.success(down_then_up + np.array([0, -4 * np.pi, 0, 0]), 0.02)
    assert not task.success(down_then_up[:-50], 0.02)
    assert not task.success(down_then_up[::-1], 0.02)
    assert not task.success(np.tile(upright, (50, 1)), 0.02)
    broken = down_then_up.copy()
    broken[-1] = np.nan
    assert not task.success(broken, 0.02)


@pytest.mark.parametrize("name", ["cartpole", "pendulum"])
def test_to_fall_soon_does_not_pay(name: str) -> None:
    """Until it ends the episode, a pole that falls still earns: nothing comes after a fall, and nothing is not better."""
    spec = load_robot(name)
    task, joints = TaskFunction(spec, "balance"), len(spec.joints)
    for tilt in np.linspace(0.0, 1.0, 11):
        state = np.zeros(2 * joints)
        state[joints - 1], state[-1] = np.pi - tilt, -4.0 * tilt
        if not task.done(np, state):
            nothing = np.zeros(len(spec.action_names))
            assert task.reward(np, state, nothing, nothing, task.default_goal) > 0.0


def test_fallen_pole_ends_the_balance() -> None:
    task = TaskFunction(load_robot("cartpole"), "balance")
    states = np.array([[0, np.pi, 0, 0], [0, 1.0, 0, 0], [2.15, np.pi, 0, 0]])
    assert task.done(np, states).tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("nowhere_at_all:Class", "module 'nowhere_at_all' is not installed"),
        ("math:Class", "module 'math' has no class 'Class'"),
        ("math", "not of the form module:Class"),
        ("collections:OrderedDict", "needs a method reward"),
    ],
)
def test_wrong_python_term_is_explained(bob: Robot, path: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        TaskFunction(bob(tasks={"one": {"python": path}}))
