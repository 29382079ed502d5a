"""The same recordings in this process, in several, and on a Ray cluster; nothing is lost or doubled when workers are killed."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forerun.bags import load_trials
from forerun_sim.collect import Recording, collect
from forerun_sim.errors import ForerunError, InputError
from forerun_sim.executors import Executor, Here, Processes
from forerun_sim.spec import load_robot
from support.mortal import Mortal, doubling, refusing

FORERUN = [sys.executable, "-m", "forerun.cli.main"]
EPISODES = 14
ARRAYS = ("time", "position", "velocity", "effort", "command_time", "command")


def same(one: Recording, other: Recording) -> bool:
    return one.meta == other.meta and all(np.array_equal(getattr(one, key), getattr(other, key)) for key in ARRAYS)


def alone() -> list[Recording]:
    return list(collect(load_robot("pendulum"), episodes=EPISODES, seed=1, steps=30))


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def workers_of(pid: int) -> list[int]:
    """Worker processes of a running command."""
    return [child for child in children(pid) if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def wait_for(what: Any, seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_killed_workers_lose_and_double_nothing(tmp_path: Path) -> None:
    mortal = Mortal(tmp_path, deaths=(2, 5, 6))
    spread = list(collect(load_robot("pendulum"), episodes=EPISODES, seed=1, steps=30, policy=mortal, workers=2))
    assert len(list(tmp_path.iterdir())) == EPISODES + 3  # each of the three that died was begun again, and no other
    assert all(same(one, other) for one, other in zip(alone(), spread, strict=True))


def test_an_episode_that_kills_every_worker_is_named_and_ends_the_collection(tmp_path: Path) -> None:
    mortal = Mortal(tmp_path, deaths=tuple(range(4, 100)))
    runs = collect(load_robot("pendulum"), episodes=EPISODES, seed=1, steps=30, policy=mortal, workers=2)
    with pytest.raises(ForerunError, match=r"died 3 times over the same piece of work \(\d+\).*SIGKILL"):
        list(runs)


def test_what_a_worker_raises_is_raised_here() -> None:
    with pytest.raises(InputError, match="no policy today"):
        list(collect(load_robot("pendulum"), episodes=3, steps=5, policy=refusing, workers=2))


def test_a_collection_that_is_closed_early_ends_its_workers() -> None:
    before = set(children(os.getpid()))
    runs = collect(load_robot("pendulum"), episodes=1000, seed=1, steps=30, workers=2)
    next(runs)
    workers = [
        child for child in set(children(os.getpid())) - before if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    assert len(workers) == 2
    runs.close()
    assert all(gone(worker) for worker in workers)


@pytest.mark.parametrize("executor", [Here(), Processes(2)], ids=["here", "processes"])
def test_exactly_the_window_is_under_way_when_a_result_comes(executor: Executor) -> None:
    drawn: list[int] = []

    def items() -> Iterator[int]:
        for number in range(9):
            drawn.append(number)
            yield number

    seen = []
    for index, result in enumerate(executor.run(doubling, items(), window=3)):
        seen.append(int(result[0]))
        assert len(drawn) == min(index + 3, 9)
    assert seen == [2 * number for number in range(9)]


def simulate(bag: Path, *more: str) -> list[str]:
    return [*FORERUN, "simulate", "pendulum", "--episodes", "40", "--steps", "250", "--seed", "3", "--out", str(bag), *more]


def digests(bag: Path) -> list[str]:
    return [trial.digest() for trial in load_trials([bag], load_robot("pendulum"))]


def test_simulate_goes_on_when_a_worker_is_killed_and_leaves_nothing_when_it_is_killed_itself(tmp_path: Path) -> None:
    whole, robbed, killed = tmp_path / "whole", tmp_path / "robbed", tmp_path / "deep" / "killed"
    assert subprocess.run(simulate(whole), check=False).returncode == 0
    expected = digests(whole)
    assert len(set(expected)) == 40

    process = subprocess.Popen([*simulate(robbed, "--workers", "2"), "--json", str(tmp_path / "robbed.json")])
    os.kill(wait_for(lambda: workers_of(process.pid))[0], signal.SIGKILL)
    assert process.wait(timeout=120) == 0
    assert digests(robbed) == expected
    assert json.loads((tmp_path / "robbed.json").read_text())["trials"] == 40

    process = subprocess.Popen(simulate(killed, "--workers", "2"))
    wait_for(lambda: killed.parent.is_dir() and any(killed.parent.iterdir()))  # it has begun to write
    workers = wait_for(lambda: workers_of(process.pid))
    process.kill()
    process.wait(timeout=60)
    assert not killed.exists()
    wait_for(lambda: all(gone(worker) for worker in workers))
    assert subprocess.run(simulate(killed), check=False).returncode == 0
    assert digests(killed) == expected


def test_ctrl_c_in_the_terminal_ends_simulate_and_its_workers_quietly(tmp_path: Path) -> None:
    command = [*FORERUN, "simulate", "pendulum", "--episodes", "100000", "--out", str(tmp_path / "bag"), "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    workers = wait_for(lambda: len(workers_of(process.pid)) == 2 and workers_of(process.pid))
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT)
    assert "forerun: interrupted" in errors and "Traceback" not in errors
    wait_for(lambda: all(gone(worker) for worker in workers))
    assert list(tmp_path.iterdir()) == []


class Elsewhere:
    """An executor on a machine that does not have the robot's folder."""

    shares_files = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, begin: Any, items: Any, *, window: int | None = None) -> Generator[Any, None, None]:
        self._folder.rename(self._folder.with_name("away"))
        begin = pickle.loads(pickle.dumps(begin))
        yield from Here().run(begin, items, window=window)


def test_the_robots_folder_goes_to_machines_that_do_not_have_it(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pendulum"
    shutil.copytree(repository / "sim" / "robots" / "pendulum", folder)
    runs = list(collect(load_robot(folder), episodes=3, seed=1, steps=30, executor=Elsewhere(folder)))
    assert all(same(one, other) for one, other in zip(runs, alone()[:3], strict=True))
    away = folder.with_name("away")
    with (away / "monday.mcap").open("wb") as bag:
        bag.truncate(65 * 2**20)
    with pytest.raises(InputError, match=r"holds 65 MB.*a folder with nothing but its own files"):
        collect(load_robot(away), episodes=1, executor=Elsewhere(away))


def test_without_ray_the_extra_is_named(tmp_path: Path) -> None:
    code = "import sys; sys.modules['ray'] = None\nfrom forerun.cli.main import main\nmain()"
    run = subprocess.run(
        [sys.executable, "-c", code, *simulate(tmp_path / "bag", "--ray", "auto")[len(FORERUN) :]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "pip install 'forerun[scale]'" in run.stderr and "Traceback" not in run.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def cluster(repository: Path) -> Iterator[str]:
    """Address of a Ray cluster of two nodes on this machine, one processor each, that know the tests' modules."""
    pytest.importorskip("ray", reason="ray is not installed: pip install 'forerun[scale]'")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(repository / "tests"), prepend=os.pathsep)
        nodes = Cluster(initialize_head=True, head_node_args=node)
        nodes.add_node(num_cpus=1, object_store_memory=100 * 2**20)
        yield nodes.address
        nodes.shutdown()


def test_a_cluster_of_two_nodes_gives_the_same_recordings_when_workers_are_killed(cluster: str, tmp_path: Path) -> None:
    from forerun_sim.executors.ray_cluster import RayCluster

    mortal = Mortal(tmp_path, deaths=(2, 5))
    executor = RayCluster(cluster)
    spread = list(collect(load_robot("pendulum"), episodes=EPISODES, seed=1, steps=30, policy=mortal, executor=executor))
    assert all(same(one, other) for one, other in zip(alone(), spread, strict=True))
    with pytest.raises(InputError, match="no policy today"):
        list(collect(load_robot("pendulum"), episodes=3, steps=5, policy=refusing, executor=executor))


def test_simulate_on_a_cluster_writes_the_same_bag(cluster: str, tmp_path: Path) -> None:
    for bag, more in (("here", []), ("there", ["--ray", cluster])):
        assert subprocess.run(simulate(tmp_path / bag, *more), check=False).returncode == 0
    assert digests(tmp_path / "here") == digests(tmp_path / "there")


def test_no_cluster_at_an_address_is_bad_input() -> None:
    pytest.importorskip("ray", reason="ray is not installed: pip install 'forerun[scale]'")
    from forerun_sim.executors.ray_cluster import RayCluster

    with pytest.raises(InputError, match=r"127\.0\.0\.1:1: no Ray cluster"):
        list(collect(load_robot("pendulum"), episodes=1, steps=5, executor=RayCluster("127.0.0.1:1")))
