"""No trial is lost, whenever the trainer dies, and the disk does not fill."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forerun.training.collect import Rows
from forerun.training.pieces import MAGIC, Header, PieceWriter, read
from forerun.training.store import SHARES, Store, role_of, trials_of
from forerun_models.training.clocks import consistent
from forerun_sim.errors import InputError
from forerun_sim.spec import load_robot

SPEC = load_robot("cartpole")
PERIOD = SPEC.control.period
RNG = np.random.default_rng(0)


def rows(count: int, start: float = 0.0, *, begins: bool = False, ends: bool = False, size: float = 1.0) -> Rows:
    states, actions = ((size * RNG.uniform(0.8, 1.2, (count, width))).astype(np.float32) for width in (4, 1))
    return Rows(states, actions, start, {"id": "a"}, begins, ends)


def store(folder: Path, quota: int = 10**9, notes: list[str] | None = None) -> Store:
    return Store(folder, SPEC, seconds=1.0, quota=quota, note=(notes if notes is not None else []).append)


def test_a_trial_comes_back_whole_whatever_pieces_it_was_written_in(tmp_path: Path) -> None:
    kept = store(tmp_path)
    parts = [rows(30, 5.0, begins=True), rows(85, 5.0 + 30 * PERIOD), rows(7, 5.0 + 115 * PERIOD, ends=True)]
    for part in [*parts, rows(20, 50.0, begins=True, ends=True)]:
        kept.add(part)
    first, second = kept.trials()
    np.testing.assert_array_equal(first.states, np.concatenate([part.states for part in parts]))
    np.testing.assert_array_equal(first.actions, np.concatenate([part.actions for part in parts]))
    assert (first.start, second.start, first.meta["id"], len(second)) == (5.0, 50.0, "a", 20)
    assert [entry.rows for entry in kept.entries.values()] == [50, 50, 22, 20]
    assert kept.rows() == kept.rows(*SHARES) == kept.total_rows == 142
    again = store(tmp_path)
    assert again.entries == kept.entries and [trial.digest() for trial in again.trials()] == [first.digest(), second.digest()]


def test_a_clock_that_begins_anew_is_gone_on_with_so_that_what_came_later_is_later(tmp_path: Path) -> None:
    kept = store(tmp_path)
    for start in (100.0, 110.0, 0.0, 10.0):  # the simulator is started again after the second trial
        kept.add(rows(70, start, begins=True, ends=True))
    again = store(tmp_path)
    again.add(rows(30, 5.0, begins=True))
    again.add(rows(30, 5.0 + 30 * PERIOD, ends=True))
    again.add(rows(20, 1e9, begins=True, ends=True))
    trials = again.trials()
    assert [len(trial) for trial in trials] == [70, 70, 70, 70, 60, 20]
    starts = [trial.start for trial in trials]
    assert consistent(trials) and starts == sorted(starts) and starts[:2] == [100.0, 110.0] and starts[-1] == 1e9
    assert starts[3] - starts[2] == pytest.approx(10.0)


def test_three_of_five_pieces_are_trained_on_one_stops_and_one_judges_for_ever() -> None:
    roles = [role_of(number) for number in range(500)]
    assert roles[:5] == ["train", "judge", "train", "stop", "train"]
    for five in range(100):
        assert sorted(roles[5 * five : 5 * five + 5]) == ["judge", "stop", "train", "train", "train"]
    assert len({tuple(roles[i : i + 5]) for i in range(0, 500, 5)}) > 10


HEADER = Header("cartpole", PERIOD, 3.0, 4, 1, "train", False, {"id": "x"})
FRAMES = [RNG.normal(size=(count, 5)).astype(np.float32) for count in (3, 1, 12, 7)]


@pytest.fixture(scope="module")
def piece(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[int]]:
    """A file, and its lengths after its header and each of its frames."""
    path = tmp_path_factory.mktemp("piece") / "0.piece"
    writer = PieceWriter(path, HEADER)
    ends = [writer.bytes]
    for frame in FRAMES:
        writer.add(frame)
        ends.append(writer.bytes)
    writer.close()
    return path.read_bytes(), ends


@given(share=st.floats(0.0, 1.0), damage=st.none() | st.integers(0, 255))
def test_cut_off_or_damaged_at_any_byte_all_whole_frames_before_it_are_kept(
    piece: tuple[bytes, list[int]], tmp_path_factory: pytest.TempPathFactory, share: float, damage: int | None
) -> None:
    content, ends = piece
    at = int(share * (len(content) - 1))
    broken = content[:at] if damage is None else content[:at] + bytes([content[at] ^ (damage or 1)]) + content[at + 1 :]
    folder = tmp_path_factory.mktemp("store")
    (folder / "00000000.piece").write_bytes(broken)
    notes: list[str] = []
    found = store(folder, notes=notes)
    whole = sum(end <= at for end in ends) - 1
    if whole < 0:
        assert not found.entries and "set aside" in notes[0] and (folder / "aside" / "00000000.piece").exists()
        return
    expected = np.concatenate([np.empty((0, 5), np.float32), *FRAMES[:whole]])
    assert sum(entry.rows for entry in found.entries.values()) == len(expected)
    if whole:
        np.testing.assert_array_equal(read(folder / "00000000.piece").rows, expected)
        assert bool(notes) == (len(broken) > ends[whole])
    # What is found is whole from then on, and numbers are not used twice.
    found.add(rows(10, begins=True, ends=True))
    again: list[str] = []
    assert store(folder, notes=again).entries == found.entries and again == []


def test_the_oldest_of_what_there_is_most_of_goes_first_and_judges_are_kept(tmp_path: Path) -> None:
    kept = store(tmp_path, quota=50_000)
    for number in range(200):
        # Every fortieth second something moves; the rest of the time the robot hardly does.
        kept.add(rows(50, 100.0 * number, begins=True, ends=True, size=2.0 ** (3 if number % 40 == 0 else -6)))
        assert kept.bytes <= 50_000
    lively = [number for number in range(0, 200, 40) if role_of(number) == "train"]
    assert set(lively) <= set(kept.entries), "what is rare stays"
    by_role = {role: sum(e.bytes for e in kept.entries.values() if e.role == role) for role in SHARES}
    for role, share in SHARES.items():
        assert by_role[role] == pytest.approx(share * 50_000, rel=0.15)
    dull = [number for number in kept.entries if number % 40]
    assert min(dull) > 120, "of what there is plenty of, the newest stays"
    assert sum(path.stat().st_size for path in tmp_path.glob("*.piece")) == kept.bytes


def test_an_unfinished_piece_is_on_the_disk_before_it_ends(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.add(rows(20, begins=True))
    assert kept.unfinished == 20 and not kept.entries
    found = store(tmp_path)
    assert found.rows() == 20
    assert len(trials_of(tmp_path, [0, 7])[0]) == 20


def test_a_full_disk_costs_what_did_not_fit_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    from forerun_sim.errors import ForerunError

    kept, write = store(tmp_path), os.write
    kept.add(rows(10, begins=True))
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[: len(data) // 2]))
    with pytest.raises(ForerunError, match="the disk is full"):
        kept.add(rows(10, 10 * PERIOD))
    monkeypatch.undo()
    kept.add(rows(10, 20 * PERIOD, ends=True))
    assert kept.rows() == 20 and store(tmp_path).rows() == 20


def test_trials_of_another_robot_are_not_mixed_in(tmp_path: Path) -> None:
    store(tmp_path).add(rows(10, begins=True, ends=True))
    with pytest.raises(InputError, match="a folder of its own for each robot"):
        Store(tmp_path, load_robot("double_pendulum"), seconds=1.0, quota=10**9)
    (tmp_path / "00000007.piece").write_bytes(MAGIC[:5])
    notes: list[str] = []
    assert list(store(tmp_path, notes=notes).entries) == [0] and "set aside" in notes[0]
