"""Training finds known dynamics and known noise, resumes bit by bit, and survives being killed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.support import slider

from forerun_models.recipe import Recipe, load_recipe
from forerun_models.training.run import load_run, train
from forerun_models.training.split import hold_out, hold_out_some
from forerun_models.training.start import build, initialise
from forerun_models.training.trainer import Source, Trainer
from forerun_models.training.windows import Windows
from forerun_sim.errors import ForerunError, InputError


def trained(tmp_path: Path, **changes):
    spec = slider.robot(tmp_path / "robot")
    return train(slider.trials(12, noise=0.05), spec, slider.recipe().model_copy(update=changes), 0, tmp_path / "run")


def test_finds_the_dynamics_and_the_noise_of_a_known_system(tmp_path):
    model = trained(tmp_path).model
    states = torch.tensor(np.random.default_rng(0).normal(size=(200, 2)), dtype=torch.float32)
    actions = torch.full((200, 1), 2.0)
    wide = ([states.expand(3, -1, -1)], [actions.expand(3, -1, -1)])
    with torch.no_grad():
        mean, log_variance = model.step(*wide)
    expected = states.numpy() @ slider.A.T + 2.0 * slider.B[:, 0]
    np.testing.assert_allclose(mean[model.elites].mean(dim=0), expected, atol=0.02)
    std = torch.exp(0.5 * log_variance[..., 1]).mean()
    assert float(std) == pytest.approx(0.05, rel=0.2), "a kick of 0.05 m/s a step is in the data"


def test_training_lowers_the_error_on_held_out_trials(tmp_path):
    epochs = trained(tmp_path).epochs
    assert epochs[-1].best <= epochs[0].validation
    assert len(epochs) == 6


def test_the_same_seed_gives_the_same_weights(tmp_path):
    first, second = (trained(tmp_path / name).model.state_dict() for name in "ab")
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_run_is_loaded_as_it_was_trained(tmp_path):
    run = trained(tmp_path)
    again = load_run(tmp_path / "run")
    assert again.recipe == run.recipe
    assert again.epochs[-1].number == run.epochs[-1].number
    assert all(torch.equal(value, again.model.state_dict()[key]) for key, value in run.model.state_dict().items())


def test_a_rollout_that_overflows_moves_no_weight(tmp_path):
    spec, recipe, data = slider.robot(tmp_path / "robot"), slider.recipe(), slider.trials(4)
    data[0].states[50] = 1e30
    model = build(spec, recipe.model)
    windows = Windows(data, 1, 5)
    initialise(model, Windows(data[1:], 1, 5), 0)
    trainer = Trainer(model, [Source(windows)], windows, recipe.training.model_copy(update={"steps_per_epoch": 60}), 0)
    epoch = trainer.epoch()
    assert not np.isfinite(epoch.train), "it was met"
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


class Stop(Exception):
    """Ends a training from within."""


def test_a_resumed_training_ends_where_an_unbroken_one_does(tmp_path):
    spec, data, recipe = slider.robot(tmp_path / "robot"), slider.trials(12, noise=0.05), slider.recipe()
    whole = train(data, spec, recipe, 0, tmp_path / "whole")

    def stop(epoch, of):
        if epoch.number == 3:
            raise Stop

    with pytest.raises(Stop):
        train(data, spec, recipe, 0, tmp_path / "broken", on_epoch=stop)
    with pytest.raises(InputError, match=r"has not finished: go on with .*--resume"):
        load_run(tmp_path / "broken")
    seen: list[int] = []
    resumed = train(data, spec, recipe, 0, tmp_path / "broken", resume=True, on_epoch=lambda e, of: seen.append(e.number))
    assert seen == [4, 5], "the epochs before are not repeated"
    expected = whole.model.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in resumed.model.state_dict().items())


def test_resuming_with_other_data_is_refused(tmp_path):
    spec, recipe = slider.robot(tmp_path / "robot"), slider.recipe()
    train(slider.trials(12), spec, recipe, 0, tmp_path / "run")
    with pytest.raises(InputError, match=r"checkpoint.pt: belongs to other trials"):
        train(slider.trials(12, seed=1), spec, recipe, 0, tmp_path / "run", resume=True)
    with pytest.raises(InputError, match="exists already"):
        train(slider.trials(12), spec, recipe, 0, tmp_path / "run")


def test_a_damaged_checkpoint_is_refused(tmp_path):
    spec, recipe = slider.robot(tmp_path / "robot"), slider.recipe()
    train(slider.trials(12), spec, recipe, 0, tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be read"):
        train(slider.trials(12), spec, recipe, 0, tmp_path / "run", resume=True)


def test_a_full_disk_keeps_the_last_whole_checkpoint(mounted, tmp_path):
    disk, spec, data = mounted(), slider.robot(tmp_path / "robot"), slider.trials(12)

    def fill(epoch, of):
        if epoch.number == 2:
            kept["checkpoint"] = (disk / "run" / "checkpoint.pt").read_bytes()
            free = shutil.disk_usage(disk).free
            (disk / "filler").write_bytes(bytes(max(0, free - 4096)))

    kept: dict[str, bytes] = {}
    with pytest.raises(ForerunError, match="the disk is full"):
        train(data, spec, slider.recipe(), 0, disk / "run", on_epoch=fill)
    assert (disk / "run" / "checkpoint.pt").read_bytes() == kept["checkpoint"]
    (disk / "filler").unlink()
    seen: list[int] = []
    train(data, spec, slider.recipe(), 0, disk / "run", resume=True, on_epoch=lambda e, of: seen.append(e.number))
    assert seen == [3, 4, 5]


_ENDLESS = """
import sys
from pathlib import Path
from forerun_models.recipe import Phase
from forerun_models.training.run import train
from tests.support import slider
recipe = slider.recipe()
long = recipe.training.model_copy(update={"phases": (Phase(epochs=100000, horizon=5),), "patience": 100000})
spec = slider.robot(Path(sys.argv[1]) / "robot")
train(slider.trials(12, noise=0.05), spec, recipe.model_copy(update={"training": long}), 0, Path(sys.argv[1]) / "run",
      resume=sys.argv[2] == "resume", on_epoch=lambda e, of: print(e.number, flush=True))
"""


def test_a_killed_training_loses_at_most_the_running_epoch(tmp_path, repository):
    def start(how: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _ENDLESS, str(tmp_path), how]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=repository)

    last, process = -1, start("new")
    for kind in (signal.SIGKILL, signal.SIGINT):
        assert process.stdout is not None
        first = int(process.stdout.readline())
        assert last < first <= last + 2
        while (last := int(process.stdout.readline())) < first + 5:
            pass
        time.sleep(np.random.default_rng().uniform(0, 0.05))
        process.send_signal(kind)
        last = max([last, *(int(line) for line in process.stdout)])
        process.wait()
        process = start("resume")
    assert process.stdout is not None
    assert last < int(process.stdout.readline()) <= last + 2
    process.kill()
    process.wait()
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left <= {"checkpoint.pt", "progress.csv", "recipe.yaml", "robot"} | {n for n in left if n.endswith(".tmp")}


@given(st.lists(st.integers(2, 200), min_size=2, max_size=30), st.floats(0.01, 0.99), st.integers(0, 1000))
def test_whole_trials_are_held_out(lengths, fraction, seed):
    data = [slider.trials(1, seed=i, rows=rows)[0] for i, rows in enumerate(lengths)]
    learn, held = hold_out(data, fraction, seed)
    assert learn
    assert held
    assert sorted(map(id, learn + held)) == sorted(map(id, data))
    assert hold_out(data, fraction, seed)[1] == held


def test_one_trial_cannot_be_split():
    with pytest.raises(InputError, match="record at least two trials"):
        hold_out(slider.trials(1), 0.1, 0)


@given(st.lists(st.integers(2, 300), min_size=1, max_size=6), st.floats(0.01, 0.3), st.integers(0, 1000))
def test_of_a_handful_of_trials_a_stretch_is_held_out(lengths, fraction, seed):
    data = [slider.trials(1, seed=i, rows=rows)[0] for i, rows in enumerate(lengths)]
    total, least = sum(lengths), max(20, round(fraction * sum(lengths)))
    if 2 * fraction * len(data) >= 1 or max(lengths) < 3 * least:
        if len(data) > 1:
            assert hold_out_some(data, fraction, seed, 20) == hold_out(data, fraction, seed)
        return
    learn, held = hold_out_some(data, fraction, seed, 20)
    assert [len(trial) for trial in held] == [least]
    assert sum(map(len, learn)) == total - least, "no row is lost, and none is on both sides"
    everything = np.concatenate([trial.states for trial in data])
    assert all((everything == row).all(axis=1).any() for row in held[0].states)
    assert hold_out_some(data, fraction, seed, 20)[1][0].source == held[0].source


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(1, 5), st.integers(1, 10))
def test_windows_never_cross_trials(lengths, history, horizon):
    data = [slider.trials(1, seed=i, rows=rows)[0] for i, rows in enumerate(lengths)]
    for number, trial in enumerate(data):
        trial.states[:] = number
    if max(lengths) <= horizon:
        with pytest.raises(InputError, match="no trial is long enough"):
            Windows(data, history, horizon)
        return
    windows = Windows(data, history, horizon)
    states, actions = windows.cut(torch.arange(len(windows)))
    assert len(windows) == sum(max(0, rows - horizon) for rows in lengths)
    assert states.shape[1:] == (history + horizon, 2)
    assert actions.shape[1:] == (history + horizon - 1, 1)
    assert bool((states == states[:, :1]).all())


def test_a_large_table_is_mapped_from_a_file_and_gives_the_same_windows(monkeypatch):
    data = slider.trials(3, seed=0, rows=40)
    inside = Windows(data, 3, 4)
    monkeypatch.setattr("forerun_models.training.windows.IN_MEMORY", 0)
    mapped = Windows(data, 3, 4)
    index = torch.randint(len(inside), (5, 7))
    for one, other in zip(inside.cut(index), mapped.cut(index), strict=True):
        assert torch.equal(one, other)
    address = mapped.states.data_ptr()
    spans = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if "(deleted)" in line]
    assert any(int(begin, 16) <= address < int(end, 16) for begin, end in (span[0].split("-") for span in spans))


def test_recipe_errors_name_file_and_key(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("robot: slider\nmodel: {hiden: 3}\n")
    with pytest.raises(InputError, match=r"recipe.yaml: unknown key 'model.hiden'; allowed here: .*hidden"):
        load_recipe(path, "slider")
    path.write_text("robot: slider\nmodel: {members: 3, elites: 5}\n")
    with pytest.raises(InputError, match="5 elites of 3 members"):
        load_recipe(path, "slider")
    assert load_recipe(None, "slider") == Recipe(robot="slider")
