"""A bag that cannot be trusted is refused with what is wrong and where; what can be read of a broken one is."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from forerun.bags import inspect_bag, load_trials
from forerun_sim.errors import InputError
from forerun_sim.spec import RobotSpec
from support.logs import (
    JOINT_STATE,
    MULTI_ARRAY,
    STRING,
    Floats,
    Message,
    every,
    foreign_bag,
    joint_state,
    multi_array,
    robot,
    swing,
    text,
)

STORAGES = ("mcap", "sqlite3")


def refusal(bag: Path, spec: RobotSpec | None = None) -> str:
    """What the user reads when no trial can be made of ``bag``."""
    with pytest.raises(InputError) as refused:
        load_trials(bag, spec or robot(), note=lambda text: None)
    assert str(bag) in str(refused.value) and refused.value.exit_code == 2
    return str(refused.value)


def storage_file(bag: Path) -> Path:
    (file,) = (path for path in bag.iterdir() if path.suffix != ".yaml")
    return file


def truncate(file: Path, fraction: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * fraction)])


def test_no_such_bag(tmp_path: Path) -> None:
    assert "no such bag" in refusal(tmp_path / "nowhere")


def test_folder_or_file_that_is_no_bag(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    assert "no bag" in refusal(tmp_path)
    assert "no bag" in refusal(tmp_path / "notes.txt")


@pytest.mark.parametrize("suffix", [".mcap", ".db3"])
@pytest.mark.parametrize("content", [b"", b"not a bag, just some text " * 100])
def test_file_with_something_else_in_it(tmp_path: Path, suffix: str, content: bytes) -> None:
    file = tmp_path / f"bag{suffix}"
    file.write_bytes(content)
    assert "no MCAP" in refusal(file) or "no rosbag2" in refusal(file)


@pytest.mark.parametrize("with_metadata", [True, False])
def test_truncated_mcap_is_read_up_to_its_last_whole_chunk_and_says_so(tmp_path: Path, with_metadata: bool) -> None:
    bag = foreign_bag(tmp_path / "bag", swing(every(0.001, 20_000)))
    whole = load_trials(bag, robot(), note=lambda text: None)[0]
    truncate(storage_file(bag), 0.6)
    if not with_metadata:
        (bag / "metadata.yaml").unlink()
    notes: list[str] = []
    (trial,) = load_trials(bag, robot(), note=notes.append)
    assert 0.3 * len(whole) < len(trial) < 0.6 * len(whole)
    np.testing.assert_array_equal(trial.states, whole.states[: len(trial)])
    assert any("truncated" in note and str(bag) in note for note in notes)
    assert "truncated" in inspect_bag(bag).notes[0]


def test_mcap_truncated_before_its_first_chunk_ends_is_refused(tmp_path: Path) -> None:
    bag = foreign_bag(tmp_path / "bag", swing(every(0.01, 100)))
    truncate(storage_file(bag), 0.3)
    assert "truncated" in refusal(bag) and "empty" in refusal(bag)


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.6, 0.95])
def test_truncated_sqlite_is_refused(tmp_path: Path, fraction: float) -> None:
    bag = foreign_bag(tmp_path / "bag", swing(every(0.01, 2000)), storage="sqlite3")
    truncate(storage_file(bag), fraction)
    assert "truncated" in refusal(bag)


def test_changed_byte_in_an_mcap_chunk_with_checksum_is_refused(tmp_path: Path) -> None:
    from forerun.bags import StreamWriter

    with StreamWriter(tmp_path / "bag") as recording:
        for topic, kind, stamp, data in swing(every(0.01, 100)):
            recording.write_raw(topic, kind, stamp, data)
    file = storage_file(tmp_path / "bag")
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)
    assert "damaged at byte" in refusal(tmp_path / "bag")


@pytest.mark.parametrize("storage", STORAGES)
def test_empty_bag(tmp_path: Path, storage: str) -> None:
    bag = foreign_bag(tmp_path / "bag", [], storage=storage, topics=[("/joint_states", JOINT_STATE), ("/commands", MULTI_ARRAY)])
    assert "empty" in refusal(bag)
    assert inspect_bag(bag, robot()).messages == 0


@pytest.mark.parametrize("storage", STORAGES)
def test_bag_without_joint_states_names_the_topics_that_it_has(tmp_path: Path, storage: str) -> None:
    messages = [message for message in swing(every(0.01, 30)) if message[1] != JOINT_STATE]
    said = refusal(foreign_bag(tmp_path / "bag", messages, storage=storage))
    assert "'joint_states'" in said and "/commands (std_msgs/msg/Float64MultiArray, 30)" in said


def test_bag_without_commands_is_refused_for_training_and_still_inspected(tmp_path: Path) -> None:
    bag = foreign_bag(tmp_path / "bag", swing(every(0.01, 30), command=False))
    said = refusal(bag)
    assert "no commands" in said and "'commands'" in said and "/joint_states" in said
    summary = inspect_bag(bag, robot())
    assert summary.problem is not None and "no commands" in summary.problem
    assert summary.joints[0].names == ("shoulder", "elbow")


def test_topics_without_messages(tmp_path: Path) -> None:
    messages = [message for message in swing(every(0.01, 30)) if message[1] == JOINT_STATE]
    bag = foreign_bag(tmp_path / "bag", messages, topics=[("/commands", MULTI_ARRAY)])
    assert "/commands has no messages" in refusal(bag)


def test_two_robots_in_a_bag_ask_for_the_full_name(tmp_path: Path) -> None:
    both: list[Message] = []
    for side in ("left", "right"):
        both += [(f"/{side}{topic}", *rest) for topic, *rest in swing(every(0.01, 30))]
    bag = foreign_bag(tmp_path / "bag", both)
    said = refusal(bag)
    assert "/left/joint_states" in said and "/right/joint_states" in said
    spec = robot(topics={"joint_states": "right/joint_states", "commands": "right/commands"})
    assert len(load_trials(bag, spec, note=lambda text: None)) == 1


@pytest.mark.parametrize("field", ["position", "velocity", "command"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_value_that_is_not_finite_names_joint_time_and_count(tmp_path: Path, field: str, value: float) -> None:
    def spoil(i: int, q: Floats, dq: Floats, u: Floats) -> None:
        if i in (40, 41):
            {"position": q, "velocity": dq, "command": u}[field][1] = value

    said = refusal(foreign_bag(tmp_path / "bag", swing(every(0.01, 100, start=7.0), spoil=spoil)))
    for part in (field, "'elbow'", str(value), "t = 7.400000 s", "0.400 s after", "2 such values"):
        assert part in said, said


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("overlap", [0, 200])
def test_time_that_goes_backwards_is_refused(tmp_path: Path, storage: str, overlap: int) -> None:
    stamps = every(0.01, 300)
    messages = swing([*stamps, *stamps[300 - overlap - 50 :]])
    said = refusal(foreign_bag(tmp_path / "bag", messages, storage=storage))
    assert "time goes backwards" in said and "/joint_states" in said and "message 301" in said


def test_time_that_creeps_backwards_is_refused_too(tmp_path: Path) -> None:
    assert "time goes backwards" in refusal(foreign_bag(tmp_path / "bag", swing(every(0.01, 300)[::-1])))


def test_commands_whose_time_goes_backwards_are_refused(tmp_path: Path) -> None:
    messages: list[Message] = []
    for i, stamp in enumerate(every(0.01, 300)):
        given = stamp if i < 150 else stamp - 1_000_000_000
        messages.append(("/joint_states", JOINT_STATE, stamp, joint_state(stamp, ("shoulder", "elbow"), (0, 0), (0, 0))))
        messages.append(("/commands", MULTI_ARRAY, given, multi_array((0, 0))))
    said = refusal(foreign_bag(tmp_path / "bag", messages, storage="sqlite3"))
    assert "time goes backwards" in said and "/commands" in said


def test_jump_far_from_the_announced_reset_is_refused(tmp_path: Path) -> None:
    first, second = swing(every(0.01, 200, start=5.0)), swing(every(0.01, 100))
    messages = [("/trial", STRING, 0, text("{}")), *first, *second]
    assert "time goes backwards" in refusal(foreign_bag(tmp_path / "bag", messages))


def test_states_that_come_late_by_less_than_a_period_are_dropped_and_counted(tmp_path: Path) -> None:
    stamps = every(0.005, 200)
    stamps[50], stamps[51] = stamps[51], stamps[50]
    (trial,) = load_trials(foreign_bag(tmp_path / "bag", swing(stamps), storage="sqlite3"), robot(), note=lambda text: None)
    assert any("1 messages" in note and "late" in note for note in trial.meta["notes"])


@pytest.mark.parametrize("names", [("shoulder", "wrist"), ("a", "b", "c")])
def test_missing_joint_is_named_with_those_that_are_there(tmp_path: Path, names: Sequence[str]) -> None:
    said = refusal(foreign_bag(tmp_path / "bag", swing(every(0.01, 30), names=names)))
    assert ("'elbow'" if "shoulder" in names else "'shoulder'") in said
    assert ", ".join(names) in said


def test_joints_that_are_published_apart_are_refused(tmp_path: Path) -> None:
    messages: list[Message] = []
    for stamp in every(0.01, 30):
        for name in ("shoulder", "elbow"):
            messages.append(("/joint_states", JOINT_STATE, stamp, joint_state(stamp, (name,), (0.0,), (0.0,))))
    assert "no message on /joint_states has all joints" in refusal(foreign_bag(tmp_path / "bag", messages))


def test_messages_of_another_publisher_on_the_same_topic_are_left_out_and_counted(tmp_path: Path) -> None:
    messages = swing(every(0.01, 30))
    gripper = joint_state(5, ("gripper",), (0.0,), (0.0,))
    messages[10:10] = [("/joint_states", JOINT_STATE, 50_000_000, gripper)] * 7
    (trial,) = load_trials(foreign_bag(tmp_path / "bag", messages), robot(), note=lambda text: None)
    assert len(trial) == 30 and any(note.startswith("7 messages") for note in trial.meta["notes"])


def test_wrong_number_of_commands(tmp_path: Path) -> None:
    said = refusal(foreign_bag(tmp_path / "bag", swing(every(0.01, 30))), robot(actuated=["elbow"]))
    assert "2 values" in said and "takes 1: elbow" in said


def test_message_that_is_no_joint_state(tmp_path: Path) -> None:
    messages = swing(every(0.01, 30))
    messages[20] = (*messages[20][:3], messages[20][3][:40])
    assert "/joint_states: a message is" in refusal(foreign_bag(tmp_path / "bag", messages))


def test_commands_that_never_meet_the_states(tmp_path: Path) -> None:
    late = [("/commands", MULTI_ARRAY, stamp, multi_array((0, 0))) for stamp in every(0.01, 30, start=9.0)]
    states = [message for message in swing(every(0.01, 30)) if message[1] == JOINT_STATE]
    assert "holds no trial" in refusal(foreign_bag(tmp_path / "bag", [*states, *late]))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: "{ no yaml", "no rosbag2 metadata"),
        (lambda text: "robots: 3", "no rosbag2 metadata"),
        (lambda text: text.replace("bag.mcap", "other.mcap"), "other.mcap"),
        (lambda text: text.replace("bag.mcap", "../../etc/passwd.mcap"), "missing: passwd.mcap"),
        (lambda text: text.replace("compression_mode: ''", "compression_mode: MAGIC"), "compression mode 'magic'"),
    ],
)
def test_wrong_metadata(tmp_path: Path, change: Callable[[str], str], reason: str) -> None:
    bag = foreign_bag(tmp_path / "bag", swing(every(0.01, 30)))
    (bag / "metadata.yaml").write_text(change((bag / "metadata.yaml").read_text()))
    assert reason in refusal(bag)


def test_file_that_metadata_names_is_missing(tmp_path: Path) -> None:
    bag = foreign_bag(tmp_path / "bag", swing(every(0.01, 30)))
    storage_file(bag).unlink()
    assert "bag.mcap" in refusal(bag)


def test_reading_changes_nothing_in_the_bag(tmp_path: Path) -> None:
    for storage in STORAGES:
        bag = foreign_bag(tmp_path / storage, swing(every(0.01, 30)), storage=storage)
        before = {path.name: path.read_bytes() for path in bag.iterdir()}
        load_trials(bag, robot(), note=lambda text: None)
        assert {path.name: path.read_bytes() for path in bag.iterdir()} == before
    shutil.rmtree(tmp_path / "mcap")
