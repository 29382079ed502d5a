"""The live loop without ROS and without waiting: trainings are played by the test."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.support.quick_bundle import TUNING, other_bundle
from tests.support.tiny_bundle import Body, Law, Model, tiny_bundle

from forerun.training import learner as learner_module
from forerun.training.choice import choose, everything, lacking
from forerun.training.collect import Rows
from forerun.training.job import Request
from forerun.training.learner import Learner, Settings
from forerun.training.occasions import Occasions
from forerun.training.store import Entry, role_of
from forerun_models.bundle import Bundle, load
from forerun_sim.errors import InputError
from forerun_sim.spec import load_robot


class PlayedChild:
    """A training that ends when the test says so."""

    def __init__(self, folder: Path) -> None:
        self.progress_file = folder / "progress.json"
        self.request: Request | None = None
        self.running = False
        self.end = ""
        self.killed = 0

    def start(self, request: Request) -> None:
        self.request, self.running = request, True

    def ended(self) -> str | None:
        said, self.end = self.end, ""
        self.running = self.running and not said
        return said or None

    def kill(self) -> None:
        self.killed += self.running
        self.running = False

    def progress(self) -> dict[str, Any]:
        return {"phase": "training", "epoch": 1, "of": 3} if self.running else {}

    def conclude(self, *, promoted: bool) -> str:
        """Ends it with a verdict; the digest of the bundle."""
        request = self.request
        assert request is not None
        digest = ""
        if promoted:
            made = other_bundle(Path(request.parent), Path(request.out), parent=request.sha256, trained_on={"by": request.out})
            digest = load(made).digest
        content = {"promoted": promoted, "reason": "of the test", "parent": request.sha256, "started_from": request.parent}
        Path(request.verdict).write_text(json.dumps(content))
        self.end = "it ended"
        return digest


class Rig:
    """A learner whose clock and child belong to the test."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.folder, self.first = folder, bundle
        self.now = 0.0
        self.time = 0.0
        self.start()

    def start(self, **settings: Any) -> None:
        self.notes: list[str] = []
        self.announced: list[tuple[str, str]] = []
        told = {"every": 4.0, "piece": 0.5, "keep": 2} | settings
        self.learner = Learner(
            self.folder,
            str(self.first),
            Settings(**told),
            note=self.notes.append,
            announce=lambda path, digest: self.announced.append((path, digest)),
            clock=lambda: self.now,
        )
        self.child: Any = self.learner._child

    def kill(self) -> None:
        """As ``kill -9`` would: only the lock goes."""
        self.learner._lock.close()

    def live(self, seconds: float) -> None:
        rng, count = np.random.default_rng(0), round(50 * seconds)
        rows = (rng.normal(size=(count, width)).astype(np.float32) for width in (4, 1))
        self.learner.add(Rows(*rows, self.time, {}, self.time == 0.0, False))
        self.time += seconds

    def poll(self, after: float = 0.3) -> None:
        self.now += after
        self.learner.poll()

    def said(self, key: str) -> str:
        return str(self.learner.describe()[key])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cart that keeps its speed, with what a trainer looks for in a bundle; no weights are in it."""
    folder = tmp_path_factory.mktemp("quick")
    drift = np.eye(4) + np.eye(4, k=2) * 0.02
    metrics = {"metrics": {"state_std": [1.0] * 4}, "thresholds": {"disagreement": 0.1}}
    made = tiny_bundle(folder / "tiny", Law(), Body(overrides=metrics), Model(drift.tolist(), np.zeros((4, 1)).tolist()))
    train = folder / "bundle" / "train"
    shutil.copytree(made, folder / "bundle")
    shutil.copytree(load_robot("cartpole").folder, train / "robot")
    (train / "recipe.yaml").write_text(yaml.safe_dump({"robot": "cartpole", "finetuning": {"training": TUNING}}))
    (train / "weights.safetensors").write_bytes(b"")
    return folder / "bundle"


@pytest.fixture
def rig(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setattr(learner_module, "Child", PlayedChild)
    return Rig(tmp_path / "learning", bundle)


def test_enough_data_begin_a_training_and_its_bundle_is_announced_and_followed(rig: Rig) -> None:
    rig.live(1.0)
    assert not rig.learner.ask()[0] and "no piece of 11 rows yet to stop" in rig.learner.ask()[1]
    rig.live(3.5)
    rig.poll()
    request = rig.child.request
    assert (rig.said("state"), rig.said("epoch")) == ("training", "1 of 3")
    assert "225 steps since the last training (every 200)" in request.reason
    assert request.sha256 == load(rig.first).digest and request.pieces["judge"] == [
        1,
        *[n for n in range(5, 9) if role_of(n) == "judge"],
    ]
    assert not rig.learner.ask()[0]
    rig.now += 7.0
    assert float(rig.said("training for [s]")) == pytest.approx(7.0), "on a busy machine it may take long"
    digest = rig.child.conclude(promoted=True)
    rig.poll()
    assert rig.announced == [(request.out, digest)] and rig.learner.bundle.digest == digest
    assert rig.said("last verdict") == "promoted: of the test" and rig.said("promoted") == "1"
    # Where no controller is heard, the next one starts from there.
    rig.live(5.0)
    rig.poll()
    assert rig.child.request.sha256 == digest
    rig.child.conclude(promoted=False)
    rig.poll()
    assert len(rig.announced) == 1 and rig.said("last verdict").startswith("not promoted")


def test_a_bundle_that_the_controller_goes_back_from_is_noted_and_no_training_starts_from_it(rig: Rig) -> None:
    first = load(rig.first)

    def hear(bundle: Bundle, refused: str = "") -> None:
        rig.learner.controller(bundle.digest, str(bundle.path), refused, 0.01)

    rig.live(5.0)
    hear(first)
    rig.poll()
    digest = rig.child.conclude(promoted=True)
    rig.poll()
    second = load(rig.child.request.out)
    assert rig.learner.bundle.digest == first.digest, "the controller has not taken it yet"
    assert rig.learner.ask()[0]
    hear(first)
    rig.poll()
    assert not rig.child.running, "nothing begins before the controller has decided"
    hear(second)
    rig.poll()
    assert rig.said("announced").endswith("runs") and rig.child.running and rig.child.request.sha256 == digest
    hear(first, f"rolled back: {digest[:12]} predicts worse since it took over: 2 against 1")
    assert rig.child.killed == 1 and rig.learner.bundle.digest == first.digest
    assert "predicts worse" in rig.said("why the last one was") and rig.announced[-1] == (str(rig.first), first.digest)
    hear(first, f"rolled back: {digest[:12]} predicts worse since it took over: 2 against 1")
    rig.poll()
    assert rig.child.request.sha256 == first.digest and digest[:12] in rig.child.request.reason
    rig.kill()
    rig.start()
    assert rig.learner.bundle.digest == first.digest and rig.said("sent back") == "1"


def test_a_candidate_that_the_controller_refuses_is_noted(rig: Rig) -> None:
    rig.live(5.0)
    rig.poll()
    first = load(rig.first)
    rig.learner.controller(first.digest, str(rig.first), "", 0.0)
    rig.child.conclude(promoted=True)
    rig.poll()
    out = rig.child.request.out
    rig.learner.controller(first.digest, str(rig.first), f"{out}: too slow: 3 of 100", 0.0)
    assert "too slow" in rig.said("why the last one was") and rig.announced[-1][1] == first.digest


def after_nothing(rig: Rig) -> None:
    """Killed while it trains."""


def half_a_bundle(rig: Rig) -> None:
    (rig.folder / "bundles" / ".000001.xyz.tmp").mkdir()
    (rig.folder / "bundles" / ".000001.xyz.tmp" / "act.onnx").write_bytes(b"half")


def a_bundle_without_its_verdict(rig: Rig) -> None:
    rig.child.conclude(promoted=True)
    Path(rig.child.request.verdict).unlink()


@pytest.mark.parametrize("left", [after_nothing, half_a_bundle, a_bundle_without_its_verdict])
def test_a_trainer_killed_while_it_trains_begins_anew_and_half_a_bundle_is_removed(rig: Rig, left: Callable[[Rig], None]) -> None:
    rig.live(5.0)
    rig.poll()
    left(rig)
    rig.kill()
    rig.start()
    assert list((rig.folder / "bundles").iterdir()) == [] and rig.announced == []
    assert rig.learner.store.rows() == 250, "no trial is lost"
    rig.poll()
    assert rig.child.running and rig.child.request.out.endswith("000002") and "250 steps" in rig.child.request.reason


def test_a_verdict_that_came_when_the_trainer_was_dead_counts(rig: Rig) -> None:
    rig.live(5.0)
    rig.poll()
    digest = rig.child.conclude(promoted=True)
    rig.kill()
    rig.start()
    assert rig.announced[-1][1] == digest and rig.learner.bundle.digest == digest
    rig.kill()
    rig.start()
    assert [known[1] for known in rig.announced] == [digest], "whoever starts later hears of it again"


def test_a_training_that_fails_begins_anew_later_and_later(rig: Rig) -> None:
    rig.live(5.0)
    rig.poll()
    for wait in (1.0, 2.0, 4.0):
        rig.child.end = "the training ended by signal 9: it said nothing"
        rig.poll()
        assert f"signal 9: it said nothing; it begins anew in {wait:g} s" in rig.said("error")
        rig.poll(wait - 0.1)
        assert not rig.child.running
        rig.poll(0.2)
        assert rig.child.running
    rig.child.conclude(promoted=False)
    rig.poll()
    assert rig.said("error") == "none"


def test_old_bundles_go_and_those_in_use_stay(rig: Rig) -> None:
    for _ in range(5):
        rig.live(5.0)
        rig.poll()
        rig.child.conclude(promoted=True)
        rig.poll()
    assert [path.name for path in sorted((rig.folder / "bundles").iterdir()) if path.is_dir()] == ["000004", "000005"]


def test_two_trainers_do_not_share_a_folder_and_short_pieces_are_refused(rig: Rig) -> None:
    with pytest.raises(InputError, match="another trainer uses it"):
        rig.start()
    rig.kill()
    with pytest.raises(InputError, match="the recipe needs 11 rows at 50 Hz"):
        rig.start(piece=0.1)


def test_a_model_that_fell_behind_is_trained_again_before_its_time(bundle: Path) -> None:
    occasions = Occasions(every=4000)
    occasions.watch(load(bundle))
    for second in range(48):
        # At rest, then within sight of the floor, then with something that nobody expected.
        size = 0.0 if second < 10 else 0.003 if second < 30 else 0.5
        states = (size * np.random.default_rng(second).normal(size=(50, 4))).astype(np.float32)
        occasions.add(Rows(states, np.zeros((50, 1), np.float32), float(second), {}, second == 0, False))
        if second < 30 or second >= 36:
            assert bool(occasions.reason()) == (second >= 36), (second, occasions.reason())
    assert "validation error rose" in occasions.reason() and occasions.error > 0.1
    occasions.trained()
    assert occasions.reason() == "" and occasions.rows == 0


def test_plans_that_disagree_begin_a_training(bundle: Path) -> None:
    occasions = Occasions(every=100, since=50)
    running = load(bundle)
    occasions.watch(running)
    for _ in range(20):
        occasions.plan(2 * running.manifest.thresholds["disagreement"])
    assert "plans disagree more" in occasions.reason()


def test_a_training_takes_the_newest_pieces_and_evenly_some_of_the_older_ones() -> None:
    entries = {number: Entry(number, role_of(number), 100, 1, (0, 0)) for number in range(100)}
    pieces = choose(entries, newest=1000, earlier=2000)
    assert {n for role in ("train", "stop", "judge") for n in pieces[role] if n >= 90} == set(range(90, 100))
    old = [n for role in ("train", "stop") for n in pieces[role] if n < 90]
    assert 12 <= len(old) <= 20 and min(old) < 15 and all(role_of(n) != "judge" for n in old)
    assert all(role_of(n) == "judge" and n < 90 for n in pieces["earlier"]) and 3 <= len(pieces["earlier"]) <= 5
    assert all(n >= 90 for n in pieces["judge"])
    few = choose({n: entries[n] for n in range(4)}, newest=100, earlier=0)
    assert few == {"train": [2], "judge": [1], "stop": [3], "earlier": []}
    assert lacking({n: entries[n] for n in range(3)}, 50) == "no piece of 50 rows yet to stop"
    assert lacking({n: entries[n] for n in range(4)}, 50) == ""


def test_what_a_trainer_collected_can_be_read_by_role_without_touching_it(tmp_path: Path, rig: Rig) -> None:
    rig.live(4.25)
    folder = rig.folder / "trials"
    (folder / "00000099.piece").write_bytes(b"no piece")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    pieces = everything(folder)
    assert pieces == {role: [n for n in range(9) if role_of(n) == role] for role in ("train", "judge", "stop")}
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
