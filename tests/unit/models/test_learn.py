"""The loop of all agents: its curve, its refusals, and what a kill leaves of it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Discrete
from typer.testing import CliRunner

from forerun.cli.app import app
from forerun_models.agents.base import Actor, Step
from forerun_models.agents.best import best_of
from forerun_models.agents.buffer import Buffer
from forerun_models.agents.environment import make_environment
from forerun_models.agents.learn import Progress, learn, load_learned
from forerun_models.agents.random import RandomAgent
from forerun_models.agents.registry import AGENTS, agent_class, make_agent, settings_of
from forerun_sim.errors import ForerunError, InputError
from support import small_learner
from support.small_learner import SmallActor, SmallLearner

LINE = "test/line-v0"


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "progress.csv").open() as file:
        return [{name: value for name, value in row.items() if not name.endswith("_s")} for row in csv.DictReader(file)]


def run_killed_at(out: Path, update: int) -> int:
    tests = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])}
    code = f"from support import small_learner; small_learner.main({str(out)!r}, {update})"
    return subprocess.run([sys.executable, "-c", code], env=environment).returncode


def test_a_run_killed_twice_and_resumed_has_the_curve_of_one_that_was_not(tmp_path: Path) -> None:
    small_learner.main(str(tmp_path / "whole"))
    assert run_killed_at(tmp_path / "killed", 165) == -9
    before = rows_of(tmp_path / "killed")
    assert [float(row["env_steps"]) for row in before] == [70, 140]
    assert run_killed_at(tmp_path / "killed", 166) == -9
    small_learner.main(str(tmp_path / "killed"))
    rows = rows_of(tmp_path / "whole")
    assert rows_of(tmp_path / "killed") == rows
    assert [float(row["env_steps"]) for row in rows] == [70, 140, 210, 280, 350, 400]
    assert rows[:2] == before
    episodes = (tmp_path / "whole" / "episodes.csv").read_text()
    assert (tmp_path / "killed" / "episodes.csv").read_text() == episodes
    assert len(episodes.splitlines()) - 1 == float(rows[-1]["episodes"])
    kept = [load_learned(tmp_path / name, best=True)[1].state_dict() for name in ("whole", "killed")]
    assert kept[0]["law"]["weight"].equal(kept[1]["law"]["weight"])


@pytest.mark.parametrize("tensorboard", [False, True])
def test_a_full_disk_is_told_and_the_run_goes_on_to_the_same_curve(
    mounted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tensorboard: bool
) -> None:
    monkeypatch.setattr("forerun_models.agents.learn._SHOWN_EVERY", 0.0)  # told at every step, however fast the machine
    disk, length = mounted(), {"eval_every": 70, "checkpoint_seconds": 0.0}

    def fill(progress: Progress) -> None:
        if progress.env_steps > 150 and not (disk / "filler").exists():
            (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free))

    with pytest.raises(ForerunError, match=f"{disk}/run.*the disk is full"):
        learn(LINE, "random", 400, 0, disk / "run", tensorboard=tensorboard, on_progress=fill, **length)
    (disk / "filler").unlink()
    assert not [path for path in (disk / "run").iterdir() if path.name.startswith(".")]
    learn(LINE, "random", 400, 0, disk / "run", resume=True, tensorboard=False, **length)
    learn(LINE, "random", 400, 0, tmp_path / "whole", tensorboard=False, **length)
    assert rows_of(disk / "run") == rows_of(tmp_path / "whole")


def test_an_untouched_run_is_kept_and_a_finished_one_is_not_repeated(tmp_path: Path) -> None:
    run = learn(LINE, "random", 100, 0, tmp_path / "run", eval_every=50, tensorboard=False)
    with pytest.raises(InputError, match=r"exists already.*--resume"):
        learn(LINE, "random", 100, 0, tmp_path / "run", eval_every=50)
    again = learn(LINE, "random", 100, 0, tmp_path / "run", eval_every=50, resume=True)
    assert again.rows == run.rows
    with pytest.raises(InputError, match="another seed"):
        learn(LINE, "random", 100, 1, tmp_path / "run", eval_every=50, resume=True)
    about, agent = load_learned(tmp_path / "run")
    assert (about.env, type(agent)) == (LINE, RandomAgent)


def test_a_run_that_goes_on_further_has_the_curve_of_one_that_was_that_long(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"eval_every": 60, "eval_episodes": 1, "tensorboard": False, "checkpoint_seconds": 0}
    learn(LINE, "small", 110, 0, tmp_path / "short", **settings)
    longer = learn(LINE, "small", 180, 0, tmp_path / "short", resume=True, **settings)
    whole = learn(LINE, "small", 180, 0, tmp_path / "whole", **settings)
    assert longer.rows[-1]["eval_return_mean"] == whole.rows[-1]["eval_return_mean"]


class Lucky(SmallLearner):
    """Evaluations are good after 60 updates, and better after 100."""

    def actor(self, explore: bool) -> Actor:
        law = torch.nn.Linear(2, 1)
        torch.nn.init.zeros_(law.weight)
        torch.nn.init.constant_(law.bias, {60: 0.5, 100: 1.0}.get(self._updates, -0.5))
        return super().actor(explore) if explore else SmallActor(law, 0.0)


def test_the_agent_of_the_best_evaluation_is_kept_beside_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(AGENTS, "lucky", f"{__name__}:Lucky")
    settings: dict[str, Any] = {"eval_every": 20, "tensorboard": False}
    out = tmp_path / "run"
    learn(LINE, "lucky", 140, 0, out, **settings)
    assert [path.name for path in (out / "best").iterdir()] == ["100.pt"]
    assert [load_learned(out, best=best)[1].state_dict()["updates"] for best in (True, False)] == [100, 140]
    (out / "agent.pt").unlink()  # as if it had been killed, and no checkpoint knew what came after 80 steps
    learn(LINE, "lucky", 80, 0, out, resume=True, **settings)
    assert [path.name for path in (out / "best").iterdir()] == ["60.pt"]
    assert load_learned(out, best=True)[1].state_dict()["updates"] == 60
    assert best_of([{"env_steps": step, "eval_return_mean": 9.0} for step in (1, 2)])["env_steps"] == 2
    (out / "best" / "60.pt").unlink()
    with pytest.raises(InputError, match=r"60.pt: the agent that did best is not there .*--last"):
        load_learned(out, best=True)


SMALL = {
    "random": "",
    "q-learning": "axes: [{low: -2, high: 2}, {low: -2, high: 2}]",
    "dyna-q": "axes: [{low: -2, high: 2}, {low: -2, high: 2}]\norder: prioritized\nplanning: 5\noutcomes: 3",
    "sac": "hidden: [8, 8]\nwarm_up: 40\nbatch: 16",
    "mbpo": """{hidden: [8, 8], warm_up: 40, batch: 16, updates_per_step: 2, fit_every: 30, rollouts: 30,
        model: {members: 2, elites: 2, hidden: 8, layers: 1, updates: 10},
        real_ratio: {start: 1.0, end: 0.5, begin: 40, finish: 60}}""",
    "dreamer": "{batch: 4, length: 6, every: 10, begin_at: 40, capacity: 99, model: {groups: 4, classes: 4, deter: 8}}",
}
"""Settings with which an agent learns next to nothing, but all of it, within some 100 steps."""


@pytest.mark.parametrize("agent", SMALL)
def test_every_agent_goes_on_from_its_checkpoint_to_the_same_curve(tmp_path: Path, agent: str) -> None:
    (tmp_path / "small.yaml").write_text(SMALL[agent])
    common: dict[str, Any] = {"recipe": tmp_path / "small.yaml", "eval_every": 50, "eval_episodes": 1, "tensorboard": False}
    learn(LINE, agent, 160, 0, tmp_path / "whole", **common)
    learn(LINE, agent, 110, 0, tmp_path / "stopped", checkpoint_seconds=0, **common)
    learn(LINE, agent, 160, 0, tmp_path / "stopped", resume=True, **common)
    assert rows_of(tmp_path / "stopped") == rows_of(tmp_path / "whole")


def test_each_advice_is_given_once(tmp_path: Path) -> None:
    told: list[str] = []
    learn(LINE, "small", 90, 0, tmp_path / "run", eval_every=30, tensorboard=False, advise=told.append)
    assert told == ["this agent is for tests"]
    assert (tmp_path / "run" / "advice.txt").read_text() == "30: this agent is for tests\n"


def test_actions_are_rescaled_to_the_environments_box_and_evaluations_have_their_own_seeds() -> None:
    environment = make_environment(LINE, RandomAgent)
    first = environment.reset(5)
    assert first.dtype == np.float32
    assert (environment.spec.action_size, environment.spec.horizon) == (1, 20)
    assert [environment.step(np.array([a], np.float32)).reward for a in (-1.0, 0.0, 1.0, 9.0)] == [-2.0, 2.0, 6.0, 6.0]
    assert np.array_equal(environment.reset(5), first)
    assert not np.array_equal(environment.reset(6), first)


def test_a_step_in_which_the_physics_explodes_is_no_experience(tmp_path: Path) -> None:
    run = learn("test/exploding-v0", "small", 40, 0, tmp_path / "run", eval_every=40, eval_episodes=1, tensorboard=False)
    kept = run.agent.state_dict()["buffer"]
    assert len(kept["episode"]) == 30 and len(set(kept["episode"].tolist())) == 10
    assert kept["columns"]["truncated"].sum() == 9, "all but the newest are cut where they broke off"
    assert "no time limit" in (tmp_path / "run" / "advice.txt").read_text()


def test_choices_are_counted_as_the_environment_counts_them() -> None:
    environment = make_environment("test/choices-v0", RandomAgent, {"spaces": {"action_space": Discrete(3, start=5)}})
    assert (environment.spec.discrete, environment.spec.action_size) == (3, 0)
    assert [environment.meant(choice) for choice in range(3)] == [5, 6, 7]


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ("Pendulum-v7", "no environment 'Pendulum-v7'; near: .*Pendulum-v1"),
        ("Pendulun-v1", "no environment 'Pendulun-v1'; near: .*Pendulum-v1"),
        ("nowhere/robot-v0", "no environment 'nowhere/robot-v0'.*--import"),
        ("test/unbounded-v0", "actions without bounds"),
        ("test/choices-v0", "3 choices as actions; this agent takes a Box"),
        ("test/switches-v0", "actions of type MultiBinary"),
        ("test/dict-v0", "observations of type Dict.*FlattenObservation"),
        ("test/numbered-v0", "observations of type Discrete.*tabular agent"),
        ("test/pictures-v0", r"pictures \[8, 8, 3\]"),
        ("test/table-v0", r"shape \[2, 2\]"),
    ],
)
def test_an_environment_that_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path, env: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        learn(env, "small", 10, 0, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_options_that_the_environment_does_not_know_and_broken_numbers_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be made: TypeError.*wings"):
        learn(LINE, "random", 10, 0, tmp_path / "run", options={"wings": 2})
    environment = make_environment(LINE, RandomAgent)
    environment.reset(0)
    environment.env.unwrapped._at = np.array([np.nan, 0.0])
    with pytest.raises(ForerunError, match="observation that is not finite"):
        environment.step(np.zeros(1, np.float32))


def test_every_agent_can_be_made_by_name_and_a_wrong_name_lists_them(tmp_path: Path) -> None:
    for name in AGENTS:
        assert settings_of(name) == settings_of(name)
        assert agent_class(name).Settings is type(settings_of(name))
    with pytest.raises(InputError, match=r"no agent named 'sacc'; there are: .*random"):
        agent_class("sacc")
    (tmp_path / "mine.yaml").write_text("rate: 0.5\n")
    assert settings_of("small", tmp_path / "mine.yaml").rate == 0.5  # type: ignore[attr-defined]
    (tmp_path / "mine.yaml").write_text("rates: 0.5\n")
    with pytest.raises(InputError, match=r"mine.yaml: unknown key 'rates'; allowed here: rate"):
        settings_of("small", tmp_path / "mine.yaml")


def test_the_same_seed_draws_the_same_weights() -> None:
    spec = make_environment(LINE, RandomAgent).spec
    settings = settings_of("small")
    weights = [make_agent("small", spec, settings, seed).state_dict()["law"]["weight"] for seed in (1, 1, 2)]
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(weights[2])


def test_the_command_writes_a_curve_and_refuses_with_code_2(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["learn", "--env", "Pendulum-v1", "--agent", "random", "--out", str(run), "--option", "g=9.0"]
    shown = CliRunner().invoke(app, [*command, "--steps", "400", "--eval-every", "200", "--eval-episodes", "1", "--json", "-"])
    assert shown.exit_code == 0, shown.output
    result = json.loads(shown.stdout)
    assert [row["env_steps"] for row in result["rows"]] == [200, 400]
    with (run / "progress.csv").open() as file:
        head = file.readline().strip().split(",")
    assert head[:5] == ["env_steps", "wall_s", "eval_return_mean", "eval_return_std", "model_error"]
    assert any((run / "tensorboard").iterdir())
    again = CliRunner().invoke(app, [*command, "--steps", "400"])
    assert (again.exit_code, "exists already" in again.stderr) == (2, True)
    bad = CliRunner().invoke(app, [*command[:-3], str(tmp_path / "no"), "--steps", "4", "--import", "no_such_module"])
    assert (bad.exit_code, "--import no_such_module: the module cannot be imported (ModuleNotFoundError" in bad.stderr) == (
        2,
        True,
    )


def steps_of(length: int, start: float, ended: bool = True) -> list[Step]:
    return [
        Step(np.array([start + k]), np.array([0.5]), k, np.array([start + k + 1]), ended and k == length - 1, False)
        for k in range(length)
    ]


def test_the_buffer_keeps_the_newest_and_knows_its_episodes() -> None:
    buffer = Buffer(10, (1,), np.float32, 1)
    for step in [*steps_of(4, 100), *steps_of(5, 200, ended=False), *steps_of(4, 300)]:
        buffer.add(step)
    kept = buffer.all()
    assert len(buffer) == 10
    assert kept["observation"][:, 0].tolist() == [103, 200, 201, 202, 203, 204, 300, 301, 302, 303]
    assert kept["truncated"].tolist() == [False] * 5 + [True] + [False] * 4, "an episode that broke off is cut, not continued"
    assert np.unique(kept["episode"]).size == 3
    drawn = buffer.sample_sequences(200, 4, np.random.default_rng(0))
    assert set(drawn["observation"][:, 0, 0].tolist()) == {200, 201, 300}
    assert np.array_equal(drawn["following"][:, :-1], drawn["observation"][:, 1:])
    assert drawn["first"].tolist() == [[True, False, False, False]] * 200
    across = buffer.sample_sequences(300, 4, np.random.default_rng(0), across=True)
    assert set(across["observation"][:, 0, 0].tolist()) == {103, 200, 201, 202, 203, 204, 300}
    begins = across["first"][:, 1:] == np.isin(across["observation"][:, 1:, 0], (200, 300))
    assert begins.all()
    assert buffer.sequences(6) == 0
    with pytest.raises(ValueError, match="no 6 steps in a row"):
        buffer.sample_sequences(1, 6, np.random.default_rng(0))


def test_a_restored_buffer_draws_and_goes_on_as_the_one_that_was_saved() -> None:
    buffer, other = (Buffer(6, (1,), np.float32, 0) for _ in range(2))
    for step in steps_of(4, 0) + steps_of(4, 50):
        buffer.add(step._replace(action=2))
    other.load_state_dict(buffer.state_dict())
    for one in (buffer, other):
        one.add(steps_of(1, 90)[0]._replace(action=1))
    for name, column in buffer.all().items():
        assert np.array_equal(column, other.all()[name])
    assert buffer.all()["action"].dtype == np.int64
    batches = [one.sample(5, np.random.default_rng(3)) for one in (buffer, other)]
    assert np.array_equal(batches[0]["observation"], batches[1]["observation"])


def test_imagined_transitions_come_many_at_once_and_push_out_the_oldest() -> None:
    buffer = Buffer(5, (1,), np.float32, 1)
    for start in (0, 10, 20):
        values = np.arange(start, start + 3, dtype=np.float32)
        column, flag = values[:, None], np.zeros(3, bool)
        buffer.extend(
            {
                "observation": column,
                "action": column,
                "reward": values,
                "following": column,
                "terminated": flag,
                "truncated": flag,
            }
        )
    assert buffer.all()["reward"].tolist() == [11, 12, 20, 21, 22]
    assert np.unique(buffer.all()["episode"]).size == 5
