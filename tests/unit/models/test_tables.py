"""Tables: Q-learning, Dyna-Q and prioritized sweeping, on the maze of the book and on grids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from hypothesis import given
from hypothesis import strategies as st

from forerun_models.agents.base import EnvSpec, Step
from forerun_models.agents.dyna_q import DynaQ, DynaSettings, Urgent
from forerun_models.agents.environment import make_environment
from forerun_models.agents.evaluate import seed_of
from forerun_models.agents.grid import Axis, Grid, choices_of
from forerun_models.agents.learn import learn, load_learned
from forerun_models.agents.q_learning import QLearning
from forerun_sim.errors import InputError
from support.maze import MAZE


def episodes_of(agent: QLearning, episodes: int, seed: int) -> list[int]:
    """Steps of each episode in the maze."""
    environment = make_environment(MAZE, type(agent))
    lengths = []
    for episode in range(episodes):
        observation, over, length = environment.reset(0), False, 0
        actor = agent.actor(explore=True)
        actor.reset(seed_of(seed, episode))
        while not over:
            action = actor.act(observation)
            outcome = environment.step(action)
            agent.observe(Step(observation, action, outcome.reward, outcome.observation, outcome.terminated, outcome.truncated))
            agent.update()
            observation, over, length = outcome.observation, outcome.terminated, length + 1
        lengths.append(length)
    return lengths


def maze_agent(seed: int, **settings: Any) -> DynaQ:
    return DynaQ(make_environment(MAZE, DynaQ).spec, DynaSettings(**settings), seed)


def test_more_planning_learns_the_maze_in_fewer_episodes_as_in_the_book() -> None:
    """Figure 8.2: about 1700 steps in the first episode whatever n is; then 0, 5 and 50 updates a step part ways."""
    seeds = range(6)
    steps = {
        planning: np.array([episodes_of(maze_agent(seed, planning=planning), 8, seed) for seed in seeds])
        for planning in (0, 5, 50)
    }
    assert np.array_equal(steps[0][:, 0], steps[5][:, 0]) and np.array_equal(steps[0][:, 0], steps[50][:, 0])
    mean = {planning: counts.mean(axis=0) for planning, counts in steps.items()}
    assert mean[50][1] < 0.5 * mean[5][1] < 0.25 * mean[0][1], "in the second episode"
    assert mean[50][2:].mean() < 25 and mean[5][5:].mean() < 60, "50 is there with the third episode, 5 after some more"
    assert mean[0][2:].mean() > 5 * mean[50][2:].mean()


def test_prioritized_sweeping_needs_fewer_updates_than_uniform_planning() -> None:
    """Example 8.4: what matters is propagated from the goal at once: the value of the start is right after one episode."""
    swept = maze_agent(0, planning=50, order="prioritized", learning_rate=1.0)
    uniform = maze_agent(0, planning=50, learning_rate=1.0)
    lengths = [episodes_of(agent, 2, 0)[1] for agent in (swept, uniform)]
    assert lengths[0] <= lengths[1]
    start = [agent.table.best(18) for agent in (swept, uniform)]
    assert start[0] == pytest.approx(0.95**13, rel=0.25)
    assert start[0] >= start[1]


def test_values_of_a_learned_maze_are_the_discounted_distance_to_the_goal() -> None:
    agent = maze_agent(0, planning=50, order="prioritized", learning_rate=1.0, epsilon=0.3, discount=0.9)
    episodes_of(agent, 60, 0)
    assert agent.table.best(18) == pytest.approx(0.9**13)
    environment = make_environment(MAZE, DynaQ)
    observation, actor, length, over = environment.reset(0), agent.actor(explore=False), 0, False
    while not over:
        outcome = environment.step(actor.act(observation))
        observation, over, length = outcome.observation, outcome.terminated, length + 1
    assert length == 14


def test_an_optimistic_table_tries_every_action_and_ties_are_broken_by_the_seed_alone() -> None:
    spec = make_environment(MAZE, DynaQ).spec
    agent = QLearning(spec, QLearning.Settings(epsilon=0.01, initial=1.0), 0)
    actor = agent.actor(explore=True)

    def drawn(seed: int) -> list[Any]:
        actor.reset(seed)
        return [actor.act(np.array([7])) for _ in range(40)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert set(drawn(1)) == {0, 1, 2, 3}
    greedy = agent.actor(explore=False)
    assert {greedy.act(np.array([7])) for _ in range(20)} == {0}


def spec_of(low: list[float], high: list[float], actions: int = 1) -> EnvSpec:
    return EnvSpec("a robot", Box(np.float32(low), np.float32(high), dtype=np.float32), actions)


AXES = (Axis(low=-1, high=1, bins=4), Axis(edges=(-0.5, 0.0, 2.0)), Axis(low=-np.pi, high=np.pi, bins=6, wrap=True))
FREE = spec_of([-np.inf] * 3, [np.inf] * 3)


@given(st.lists(st.floats(-50, 50, width=32), min_size=3, max_size=3))
def test_a_cell_is_the_same_in_the_table_and_in_the_exported_graph(numbers: list[float]) -> None:
    grid = Grid(FREE, AXES, 10)
    observation = np.array(numbers, np.float32)
    turned = (float(observation[2]) + np.pi) % (2 * np.pi) / (2 * np.pi) * 6
    found = int(grid.cells_of(torch.as_tensor(observation)[None]))
    if abs(turned - round(turned)) > 1e-4:  # within rounding of an edge either cell will do
        assert found == grid.cell(observation)
    assert 0 <= found < grid.cells == 4 * 4 * 6


def test_cells_are_counted_row_by_row_and_the_outermost_are_open() -> None:
    grid = Grid(FREE, AXES, 10)
    assert grid.cell(np.array([-9, -9, -3.1], np.float32)) == 0
    assert grid.cell(np.array([9, 9, 3.1], np.float32)) == grid.cells - 1
    assert grid.cell(np.array([-9, -9, 3.3], np.float32)) == 0, "an angle that went round"
    bounded = Grid(spec_of([0, 0], [1, 2]), (), 5)
    assert bounded.cells == 25 and bounded.cell(np.array([0.99, 0.0], np.float32)) == 20


def test_a_grid_without_bounds_asks_for_them() -> None:
    with pytest.raises(InputError, match=r"number 0 of the observations of 'a robot' has no bounds .*state low and high"):
        Grid(FREE, (), 10)
    with pytest.raises(InputError, match="axes: 2 are given, but an observation of 'a robot' has 3 numbers"):
        Grid(FREE, AXES[:2], 10)
    with pytest.raises(InputError, match="would have 531441 cells x 125 actions"):
        QLearning(spec_of([-1] * 4, [1] * 4, 3), QLearning.Settings(bins=27, levels=5), 0)
    for wrong, message in (({"low": 1, "high": 0}, "must be below"), ({"low": 1}, "or neither"), ({"wrap": True}, "wrap needs")):
        with pytest.raises(ValueError, match=message):
            Axis(**wrong)


def test_levels_of_actions_begin_with_the_weakest() -> None:
    table = choices_of(spec_of([0], [1], 2), 3)
    assert table is not None
    assert table[0].tolist() == [0, 0] and len(table) == 9
    assert np.linalg.norm(table[-1]) == pytest.approx(np.sqrt(2))


def test_the_most_urgent_pair_comes_first_and_each_once() -> None:
    urgent = Urgent()
    for pair, error in ((4, 0.5), (2, 0.9), (4, 1.5), (7, 0.9), (2, 0.1)):
        urgent.put(pair, error)
    assert [urgent.pop() for _ in range(4)] == [4, 2, 7, None]


@pytest.mark.parametrize("order", ["uniform", "prioritized"])
def test_a_restored_table_goes_on_as_if_it_had_not_stopped(order: str) -> None:
    agents = [maze_agent(3, planning=7, order=order, outcomes=3) for _ in range(2)]
    episodes_of(agents[0], 2, 0)
    agents[1].load_state_dict(agents[0].state_dict())
    lengths = [episodes_of(agent, 3, 1) for agent in agents]
    assert lengths[0] == lengths[1]
    assert agents[0].table.values == agents[1].table.values


def test_dyna_q_crosses_the_frozen_lake_and_learns_on_a_grid(tmp_path: Path) -> None:
    lake = learn("FrozenLake-v1", "dyna-q", 2000, 0, tmp_path / "lake", options={"is_slippery": False}, tensorboard=False)
    assert lake.rows[-1]["eval_return_mean"] == 1
    (tmp_path / "grid.yaml").write_text("bins: 7\nplanning: 10\noutcomes: 4\n")
    run = learn("Pendulum-v1", "dyna-q", 400, 0, tmp_path / "run", recipe=tmp_path / "grid.yaml", eval_every=200, eval_episodes=1)
    assert 0 <= run.rows[-1]["model_error"] <= 1
    _, agent = load_learned(tmp_path / "run")
    assert isinstance(agent, DynaQ)
    assert agent.grid.cells == 343
