"""Vector environments: the same trajectories over any number of processes, and nothing left behind however they end."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from forerun_sim.env import RobotEnv, RobotVectorEnv
from forerun_sim.errors import ForerunError, InputError
from forerun_sim.spec import RobotSpec

SWINGUP, BALANCE = "forerun/cartpole-swingup-v0", "forerun/cartpole-balance-v0"
Make = Callable[..., RobotVectorEnv]
Bob = Callable[..., RobotSpec]
STEPS = 60
"""Long enough that poles fall and episodes begin anew."""


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes vector environments and closes them."""
    made: list[RobotVectorEnv] = []

    def build(name: Any = BALANCE, num_envs: int = 3, **kwargs: Any) -> RobotVectorEnv:
        if isinstance(name, str):
            envs = gymnasium.make_vec(name, num_envs=num_envs, **kwargs)
        else:
            envs = RobotVectorEnv(num_envs, name, **kwargs)
        assert isinstance(envs, RobotVectorEnv)
        made.append(envs)
        return envs

    yield build
    for envs in made:
        envs.close()


def actions(steps: int, count: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1.0, 1.0, (steps, count, 1))


def run(envs: RobotVectorEnv, seed: int = 4) -> dict[str, np.ndarray]:
    """Everything that ``STEPS`` steps return."""
    seen = [(envs.reset(seed=seed)[0], *(np.zeros(envs.num_envs),) * 3, {})]
    seen += [envs.step(action) for action in actions(STEPS, envs.num_envs)]
    names = ("observations", "rewards", "terminated", "truncated")
    return {name: np.array([step[index] for step in seen]) for index, name in enumerate(names)}


def alive(process: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def gone(processes: tuple[int, ...]) -> bool:
    """Whether all of them end within a few seconds."""
    until = time.monotonic() + 10.0
    while any(map(alive, processes)) and time.monotonic() < until:
        time.sleep(0.01)
    return not any(map(alive, processes))


def open_files() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_trajectories_are_the_same_over_any_number_of_processes(make: Make, mode: str) -> None:
    wanted = run(make(workers=0, autoreset_mode=mode))
    assert wanted["terminated"].sum() > 3
    for workers in (1, 3):
        envs = make(workers=workers, autoreset_mode=mode)
        assert len(envs.processes) == workers
        got = run(envs)
        assert all(np.array_equal(got[key], wanted[key]) for key in wanted)


def test_each_is_the_single_environment_with_its_own_seed(make: Make) -> None:
    together = run(make(workers=2))
    for index in range(3):
        env = RobotEnv("cartpole", "balance")
        observations, rewards, over = [env.reset(seed=4 + index)[0]], [0.0], False
        for action in actions(STEPS, 3)[:, index]:
            if over:
                observation, reward, over = env.reset()[0], 0.0, False
            else:
                observation, reward, terminated, truncated, _ = env.step(action)
                over = terminated or truncated
            observations.append(observation)
            rewards.append(reward)
        assert np.array_equal(together["observations"][:, index], observations)
        assert np.array_equal(together["rewards"][:, index], rewards)
        env.close()


def test_infos_tell_where_episodes_end_and_begin(make: Make) -> None:
    envs = make(workers=1)
    infos = envs.reset(seed=4)[1]
    assert infos["seed"].tolist() == [4, 5, 6] and infos["_seed"].all() and infos["episode_number"].tolist() == [0, 0, 0]
    assert infos["parameters"].shape == (3, len(envs.parameter_names)) and "mass.pole" in envs.parameter_names
    ended = np.zeros(3, bool)
    for action in actions(STEPS, 3):
        _, _, terminated, truncated, infos = envs.step(action)
        assert infos.get("_episode_number", np.zeros(3, bool)).tolist() == ended.tolist()
        ended = terminated | truncated
        assert infos.get("_unstable", np.zeros(3, bool)).tolist() == ended.tolist()
        if ended.any():
            assert infos["_success"].tolist() == ended.tolist() and not infos["is_success"].any()
    assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP


def test_same_step_keeps_the_last_observation_of_the_old_episode(make: Make) -> None:
    later, at_once = make(workers=1), make(workers=1, autoreset_mode=AutoresetMode.SAME_STEP)
    later.reset(seed=4)
    at_once.reset(seed=4)
    for action in actions(STEPS, 3):
        wanted, _, terminated, truncated, _ = later.step(action)
        got, *_, infos = at_once.step(action)
        if (terminated | truncated).any():
            break
    row = int(np.flatnonzero(terminated | truncated)[0])
    assert np.array_equal(infos["final_obs"][row], wanted[row]) and infos["_final_obs"][row]
    assert infos["final_info"]["_unstable"][row] and infos["episode_number"][row] == 1
    assert np.array_equal(got[row], later.step(actions(1, 3)[0])[0][row])


def test_some_can_be_reset_alone(make: Make) -> None:
    envs = make(workers=2)
    with pytest.raises(ResetNeeded):
        envs.step(np.zeros((3, 1)))
    first, _ = envs.reset(seed=[9, 4, 9])
    assert np.array_equal(first[0], first[2])
    mask = np.array([False, True, False])
    again, infos = envs.reset(seed=[None, 9, None], options={"reset_mask": mask})
    assert np.array_equal(again[1], first[0]) and np.array_equal(again[[0, 2]], first[[0, 2]])
    assert infos["_seed"].tolist() == mask.tolist()


def test_exploding_physics_is_counted_and_shown(bob: Bob, make: Make) -> None:
    joints = [{"name": "swing", "type": "revolute", "interface": "position", "position": [-3.0, 3.0], "effort": 1e9}]
    tasks = {"swing": {"duration": 1.0, "terms": [{"kind": "quadratic", "feature": "position:swing"}]}}
    envs = make(bob(type="revolute", joints=joints, actuators={"stiffness": 1e9, "damping": 1e6}, tasks=tasks), 2, workers=1)
    envs.reset(seed=0)
    for _ in range(20):
        observations, rewards, _, truncated, infos = envs.step([[0.5], [0.5]])
        if truncated.all():
            break
    assert truncated.all() and infos["unstable"].all() and not rewards.any() and np.isfinite(observations).all()
    assert envs.unstable_episodes == 2
    assert np.isfinite(envs.step([[0.5], [0.5]])[0]).all()


def test_gymnasiums_own_wrappers_work(make: Make) -> None:
    envs = RecordEpisodeStatistics(make(workers=1))
    envs.reset(seed=4)
    lengths = [length for action in actions(STEPS, 3) for length in _lengths(envs.step(action)[4])]
    assert lengths and min(lengths) > 2


def _lengths(infos: dict[str, Any]) -> list[int]:
    return infos["episode"]["l"][infos["_episode"]].tolist() if "episode" in infos else []


def test_mistakes_are_named_and_leave_all_running(make: Make) -> None:
    for workers in (0, 2):
        envs = make(workers=workers)
        with pytest.raises(InputError, match="no plant parameters named"):
            envs.reset(seed=0, options={"parameters": {"mass.pale": 1.0}})
        envs.reset(seed=0, options={"parameters": {"mass.pole": 0.2}, "initial": (np.zeros(2), np.zeros(2))})
        with pytest.raises(InputError, match=r"actions of shape \(3, 2\): needs finite numbers of shape \(3, 1\)"):
            envs.step(np.zeros((3, 2)))
        with pytest.raises(InputError, match="needs finite numbers"):
            envs.step(np.full((3, 1), np.nan))
        with pytest.raises(InputError, match="seed: needs a number not below 0, or 3 of them"):
            envs.reset(seed=[1, 2])
        with pytest.raises(InputError, match="reset_mask: needs 3 truth values"):
            envs.reset(options={"reset_mask": np.ones(2, bool)})
        assert envs.step(np.zeros((3, 1)))[0].shape == (3, 4)
    with pytest.raises(InputError, match="num_envs 0: must be at least 1"):
        RobotVectorEnv(0, "cartpole")
    with pytest.raises(InputError, match="autoreset_mode 'Disabled' is not available"):
        RobotVectorEnv(1, "cartpole", autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(InputError, match="no robot named 'toaster'"):
        RobotVectorEnv(1, "toaster")


def test_closing_ends_the_processes(make: Make) -> None:
    envs = make(workers=2)
    envs.reset(seed=0)
    processes = envs.processes
    assert all(map(alive, processes))
    envs.close()
    envs.close()
    assert gone(processes)
    with pytest.raises(ClosedEnvironmentError):
        envs.step(np.zeros((3, 1)))


def test_what_is_forgotten_ends_too() -> None:
    envs = RobotVectorEnv(2, "cartpole", workers=2)
    processes, files = envs.processes, open_files()
    assert all(map(alive, processes))
    del envs
    gc.collect()
    assert gone(processes) and open_files() <= files - 4


def test_a_killed_worker_is_named_and_nothing_stays(make: Make) -> None:
    before = set(Path("/dev/shm").iterdir())
    envs = make(workers=2)
    envs.reset(seed=0)
    # Other programs of this machine may use that folder too.
    assert not {path for path in set(Path("/dev/shm").iterdir()) - before if path.name.startswith(("forerun", "psm_", "sem."))}
    processes = envs.processes
    os.kill(processes[1], signal.SIGKILL)
    said = rf"worker process {processes[1]}, which ran environments 1 to 2, was killed by signal 9 \(SIGKILL\)"
    with pytest.raises(ForerunError, match=said):
        for _ in range(100):
            envs.step(np.zeros((3, 1)))
    assert gone(processes)
    with pytest.raises(ForerunError, match="make the vector environment anew"):
        envs.step(np.zeros((3, 1)))


SCRIPT = f"""
import gymnasium, numpy
import forerun_sim.env

envs = gymnasium.make_vec("{SWINGUP}", num_envs=2, workers=2)
envs.reset(seed=0)
print(*envs.processes, flush=True)
try:
    while True:
        envs.step(numpy.zeros((2, 1)))
except KeyboardInterrupt:
    print("interrupted", flush=True)
    try:
        envs.step(numpy.zeros((2, 1)))
    except Exception as error:
        print(error, flush=True)
    raise
"""
"""A user's script, without a guard around it."""


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_workers_do_not_outlive_a_script_that_is_stopped(tmp_path: Path, kind: signal.Signals) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            line = process.stdout.readline()
            while line.startswith("pybullet"):
                line = process.stdout.readline()
            workers = tuple(map(int, line.split()))
            assert len(workers) == 2 and all(map(alive, workers))
            time.sleep(0.2)
            os.killpg(process.pid, kind)  # as a terminal sends Ctrl-C to all of a group
            output, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert gone(workers)
    if kind is signal.SIGINT:
        assert "interrupted" in output and errors.count("Traceback") == 1


def test_children_that_were_forked_keep_no_worker_alive(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    forking = "if os.fork() == 0:\n    print(os.getpid(), flush=True)\n    time.sleep(60)\nos.wait()\n"
    script.write_text("import os, time\n" + SCRIPT.replace("try:\n    while", f"{forking}try:\n    while", 1))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = (line for line in iter(process.stdout.readline, "") if not line.startswith("pybullet"))
        workers, child = tuple(map(int, next(lines).split())), int(next(lines))
        try:
            process.kill()
            assert gone(workers) and alive(child)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_worker_that_fails_says_why_and_ends_the_others(bob: Bob, make: Make, tmp_path: Path, monkeypatch: Any) -> None:
    source = "class Fragile:\n    def __init__(self, spec):\n        pass\n\n"
    source += "    def reward(self, xp, state, action, previous_action, goal):\n"
    source += "        if action[0] > 4.0:\n            raise ValueError('too hot')\n        return 1.0\n"
    (tmp_path / "fragile_term.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    tasks = {"swing": {"python": "fragile_term:Fragile"}}
    envs = make(bob(tasks=tasks), 2, workers=2)
    envs.reset(seed=0)
    assert envs.step([[0.0], [0.0]])[1].tolist() == [1.0, 1.0]
    processes = envs.processes
    with pytest.raises(ForerunError, match=r"(?s)a worker process failed, and all have been ended:.*fragile_term.*too hot"):
        envs.step([[1.0], [0.0]])
    assert gone(processes)
