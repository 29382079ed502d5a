"""The live loop over DDS: a robot is controlled, its trainer is killed while it trains, and yet the loop closes."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import QoSProfile

from forerun.bags import load_trials
from forerun.training.store import trials_of
from forerun_models.bundle import load
from support.probe import Probe, probing
from support.processes import Process, Processes
from support.quick_bundle import quick_bundle
from support.stream import SPEC, as_bag, recording


class Watch:
    """What the trainer says of itself."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self.values: dict[str, str] = {}
        probe.listen(DiagnosticArray, "/diagnostics", self._hear, QoSProfile(depth=100))

    def until(self, key: str, words: str, trainer: Process) -> None:
        """Spins until the value of ``key`` has ``words`` in it, from now on."""
        self.values = {}

        def said() -> bool:
            assert trainer.running, trainer.output
            return words in self.values.get(key, "")

        self._probe.until(said, f"{key} is {words}: {trainer.output[-2000:]}", timeout=240.0)

    def _hear(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == "trainer: learning":
                self.values = {"message": status.message, **{entry.key: entry.value for entry in status.values}}


def children(folder: Path) -> list[int]:
    """Processes that train for the trainer in ``folder``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"forerun.training.job" in words and any(word.startswith(str(folder).encode()) for word in words):
            found.append(int(path.parent.name))
    return found


def test_a_trainer_that_is_killed_loses_no_trial_and_its_bundle_is_swapped_in(
    processes: Processes, domain: int, tmp_path: Path
) -> None:
    bundle, folder = quick_bundle(tmp_path / "bundle"), tmp_path / "learning"
    settings = {"bundle": str(bundle), "folder": str(folder), "piece": 0.5, "every": 1e6, "step_back": False}
    with probing(domain) as probe:
        watch = Watch(probe)
        processes.node("simulator", robot="cartpole", engine="mujoco", randomize=False)
        swap = {"swap__shadow_ticks": 5, "swap__watch_ticks": 10, "swap__tolerance": 1000.0}
        processes.node("controller", bundle=str(bundle), autostart=True, **swap)
        trainer = processes.node("trainer", **settings)
        watch.until("lacking", "nothing", trainer)
        assert probe.trigger("trainer/train").success
        watch.until("state", "training", trainer)
        assert not probe.trigger("trainer/train").success, "one at a time"
        rows = float(watch.values["data [s]"]) * 50
        probe.until(lambda: len(children(folder)) == 1, "one process trains")
        trainer.send(signal.SIGKILL)
        probe.until(lambda: not children(folder), "the training ends with its trainer")
        before = {path.name: path.read_bytes() for path in (folder / "trials").glob("*.piece")}
        assert sum(len(trial) for trial in trials_of(folder / "trials", range(len(before)))) >= rows - 1
        half = folder / "bundles" / ".000001.x.tmp"
        half.mkdir()
        (half / "act.onnx").write_bytes(b"half")

        trainer = processes.node("trainer", **settings)
        watch.until("announced", "runs", trainer)
        assert watch.values["promoted"] == "1" and watch.values["reason of the last training"] == "asked for"
        announced = load(folder / "bundles" / "000002")
        probe.until(lambda: announced.digest in probe.statuses[-1][2].values(), "the controller says what it runs")
        assert announced.manifest.parent == load(bundle).digest
        after = {name: (folder / "trials" / name).read_bytes() for name in before}
        assert all(after[name].startswith(before[name][: len(after[name])]) for name in before)
        assert sorted(path.name for path in (folder / "bundles").iterdir()) == ["000002", "000002.verdict.json"]
        # The operator's word goes back at once, and the trainer follows: its next training starts from what runs again.
        assert probe.trigger("controller/rollback").success
        watch.until("sent back", "1", trainer)
        assert "went back" in watch.values["why the last one was"]
        assert watch.values["bundle"] == announced.manifest.parent
        trainer.send(signal.SIGINT)
        assert trainer.wait() == 0
    kept = trials_of(folder / "trials", range(10_000))
    assert max(len(trial) for trial in kept) > 25, "pieces of one trial and role are put together"


def test_a_bag_that_is_played_gives_the_trials_that_it_holds(processes: Processes, domain: int, tmp_path: Path) -> None:
    """Also where it is played fast: commands, which have no stamps, find their places between the states."""
    bag = as_bag(tmp_path / "bag", recording(np.random.default_rng(0), noise=0.0))
    settings = {"bundle": str(quick_bundle(tmp_path / "bundle")), "folder": str(tmp_path / "learning"), "every": 1e6}
    trainer = processes.node("trainer", **settings)
    player = processes.node("player", uri=str(bag), rate=4.0, publish_clock=True)
    assert player.wait(60) == 0, player.output
    trainer.send(signal.SIGINT)
    assert trainer.wait() == 0, trainer.output
    expected = load_trials(bag, SPEC, note=lambda text: None)
    # Each is shorter than a piece.
    trials = trials_of(tmp_path / "learning" / "trials", range(10))
    assert [trial.meta.get("id") for trial in trials] == [trial.meta.get("id") for trial in expected]
    for trial, other in zip(trials, expected, strict=True):
        assert abs(len(trial) - len(other)) <= 1 and len(trial) > 100
        assert trial.start == pytest.approx(other.start, abs=1.5 * trial.period)
        at, known = (one.start + one.period * np.arange(len(one)) for one in (trial, other))
        both = (at >= known[0]) & (at <= known[-2])
        for name, tolerance in (("states", 0.02), ("actions", 0.2)):
            there = np.stack([np.interp(at[both], known, column) for column in getattr(other, name).T], axis=1)
            np.testing.assert_allclose(getattr(trial, name)[both], there, atol=tolerance)
