"""Real-robot logs, converted and read back. They are not part of this repository: without them these tests are skipped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from forerun.bags import inspect_bag, load_trials
from forerun.bags.convert import convert_npz
from forerun.bags.npz import Columns
from forerun.grid import LiveGrid
from forerun_sim.errors import InputError
from forerun_sim.spec import load_robot
from forerun_sim.trial import Trial

# One worker makes the bags, for all that read them.
pytestmark = pytest.mark.xdist_group("real bags")
Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def double_pendulum(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trial]:
    """All 69 trials by file name: two joints, and one joint for the simple pendulum's."""
    trials: dict[str, Trial] = {}
    files = sorted((shared_data / "double_pendulum").glob("*.npz"))
    assert len(files) == 69
    for name, chosen in (
        ("pendulum", [f for f in files if f.name[:2] == "SP"]),
        ("double_pendulum", [f for f in files if f.name[:2] != "SP"]),
    ):
        out, robot = tmp_path_factory.mktemp("bags") / name, load_robot(name)
        convert_npz(chosen, out, robot, Columns())
        found = load_trials(out, robot, note=lambda text: None)
        assert len(found) == len(chosen)
        trials |= {f"{trial.meta['id']}.npz": trial for trial in found}
    return trials


def protocol_grid(log: dict[str, Floats], period: float) -> tuple[Floats, Floats]:
    """States and actions of a log as the k-step protocol defines them, written down anew from its text."""
    t = log["t"] - log["t"][0]
    rows = np.arange(int(np.floor(t[-1] / period + 1e-6)) + 1) * period
    states = [np.interp(rows, t, column) for column in np.concatenate([log["q"], log["dq"]], axis=1).T]
    # The mean of a held command is the difference of its integral, which is straight between messages and after the last.
    until = np.append(t, t[-1] + 2 * period)
    integral = np.cumsum(np.pad(log["tau_cmd"] * np.diff(until)[:, None], ((1, 0), (0, 0))), axis=0)
    ends = [np.interp(rows + period, until, column) - np.interp(rows, until, column) for column in integral.T]
    return np.stack(states, axis=1), np.stack(ends, axis=1) / period


def test_grid_of_every_double_pendulum_trial_is_that_of_the_protocol(
    shared_data: Path, double_pendulum: dict[str, Trial]
) -> None:
    index = json.loads((shared_data / "double_pendulum" / "index.json").read_text())
    on_grid = [row["file"] for row in index["trials"] if row["grid100Hz"]]
    assert len(on_grid) > 50
    for name in on_grid:
        trial = double_pendulum[name]
        with np.load(shared_data / "double_pendulum" / name) as file:
            log = {key: file[key].astype(np.float64) for key in ("t", "q", "dq", "tau_cmd")}
        states, actions = protocol_grid(log, trial.period)
        assert len(trial) == len(states), name
        np.testing.assert_allclose(trial.states, states, rtol=0, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(trial.actions, actions, rtol=0, atol=1e-5, err_msg=name)


def test_live_stream_of_a_real_trial_gives_its_grid(shared_data: Path, double_pendulum: dict[str, Trial]) -> None:
    name = "C.1_pendubot_ilqr_tvlqr_lqr_621bc7.npz"
    trial = double_pendulum[name]
    offline = np.concatenate([trial.states, trial.actions], axis=1)
    with np.load(shared_data / "double_pendulum" / name) as file:
        t, q, dq, u = (file[key].astype(np.float64) for key in ("t", "q", "dq", "tau_cmd"))
    live, row = LiveGrid(trial.period, 8, 2, 2), 0
    for n in range(len(trial)):
        now = n * trial.period
        while row < len(t) and t[row] - t[0] <= now + 1e-9:
            live.add_state(t[row] - t[0], q[row], dq[row])
            live.add_command(t[row] - t[0], u[row])
            row += 1
        rows = np.maximum(np.arange(n - 7, n + 1), 0)
        np.testing.assert_allclose(live.history(now)[rows < n], offline[rows[rows < n]], rtol=1e-5, atol=1e-5)


def test_every_so101_motion_is_read_back(shared_data: Path, tmp_path: Path) -> None:
    files = sorted((shared_data / "so101").glob("*.npz"))
    assert len(files) == 29
    robot = load_robot("so101")
    convert_npz(files, tmp_path / "bags", robot, Columns(command="q_cmd"))
    trials = load_trials(tmp_path / "bags", robot, note=lambda text: None)
    assert len(trials) == 29
    for trial, file in zip(trials, files, strict=True):
        with np.load(file) as log:
            assert trial.duration == pytest.approx(log["t"][-1] - log["t"][0], abs=0.021)
            np.testing.assert_allclose(trial.states[0], np.concatenate([log["q"][0], log["dq"][0]]), atol=1e-6)
            assert trial.states.max() <= max(log["q"].max(), log["dq"].max()) + 1e-6


def test_panda_bag_without_metadata_and_commands_is_inspected_and_refused_for_training(shared_data: Path) -> None:
    bag, robot = shared_data / "bags" / "panda_exciting_trajectory", load_robot("panda")
    summary = inspect_bag(bag, robot)
    assert summary.storage == "sqlite3" and summary.messages == 727
    assert summary.joints[0].names == robot.joint_names and summary.joints[0].velocity
    assert summary.problem is not None and "no commands" in summary.problem
    with pytest.raises(InputError) as refused:
        load_trials(bag, robot)
    for part in (str(bag), "no commands", "'commands'", "/joint_states"):
        assert part in str(refused.value)
