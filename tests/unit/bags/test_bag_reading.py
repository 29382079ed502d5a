"""Any rosbag2 of joint states and commands becomes trials on the control grid."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter

from forerun.bags import decode, encode, inspect_bag, load_trials
from forerun.bags.velocity import derive
from support.logs import (
    JOINT_STATE,
    MULTI_ARRAY,
    STORE,
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


def quiet(text: str) -> None:
    """Notes are in ``Trial.meta`` too."""


def test_importing_the_grid_needs_numpy_alone() -> None:
    code = "import sys, forerun.grid; print([m for m in ('pydantic', 'rosbags', 'yaml', 'torch', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("storage", STORAGES)
def test_states_are_interpolated_and_commands_averaged_at_the_control_rate(tmp_path: Path, storage: str) -> None:
    bag = foreign_bag(tmp_path / "bag", swing(every(0.002, 1000)), storage=storage)
    (trial,) = load_trials(bag, robot(), note=quiet)
    assert len(trial) == 200 and trial.period == 0.01 and trial.start == 0.0
    times = np.arange(200)[:, None] * 0.01 + np.zeros(2)
    phase = np.arange(2)
    np.testing.assert_allclose(trial.states[:, :2], np.sin(times + phase), atol=1e-5)
    np.testing.assert_allclose(trial.states[:, 2:], np.cos(times + phase), atol=1e-5)
    held = np.stack([np.cos(3 * (times + 0.002 * j) + phase) for j in range(5)]).mean(axis=0)
    np.testing.assert_allclose(trial.actions[:-1], held[:-1], atol=1e-5)
    assert trial.source == f"{bag}#0" and trial.meta["simulated"] is False and trial.meta["velocity"] == "measured"


@pytest.mark.parametrize("storage", STORAGES)
def test_lone_storage_file_without_metadata_is_a_bag_too(tmp_path: Path, storage: str) -> None:
    bag = foreign_bag(tmp_path / "bag", swing(every(0.01, 50)), storage=storage)
    whole = load_trials(bag, robot(), note=quiet)
    (bag / "metadata.yaml").unlink()
    (file,) = bag.iterdir()
    for path in (bag, file, [str(file)]):
        (trial,) = load_trials(path, robot(), note=quiet)
        assert trial.digest() == whole[0].digest()


def test_joints_in_another_order_and_further_joints_make_no_difference(tmp_path: Path) -> None:
    plain = foreign_bag(tmp_path / "plain", swing(every(0.01, 30)))
    shuffled: list[Message] = []
    for topic, kind, stamp, data in swing(every(0.01, 30)):
        if kind == JOINT_STATE:
            message = STORE.deserialize_cdr(data, kind)
            values = [np.array([9.0, field[1], 8.0, field[0]]) for field in (message.position, message.velocity)]
            data = joint_state(stamp, ("wheel", "elbow", "gripper", "shoulder"), *values, np.full(4, 7.0))
        shuffled.append((topic, kind, stamp, data))
    (expected,) = load_trials(plain, robot(), note=quiet)
    (trial,) = load_trials(foreign_bag(tmp_path / "shuffled", shuffled), robot(), note=quiet)
    assert trial.digest() == expected.digest()
    assert trial.meta["effort"] is True and expected.meta["effort"] is False


@settings(max_examples=25)
@given(data=st.data())
def test_any_rate_jitter_and_joint_order_gives_the_same_motion(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    names = data.draw(st.permutations(["a", "b", "c"]))
    step = data.draw(st.floats(0.001, 0.009))
    start = data.draw(st.sampled_from([0.0, 3.25, 1.7e9]))
    times = np.cumsum(step * rng.uniform(0.3, 1.7, 100))
    stamps = [round(start) * 10**9 + round(t * 1e9) for t in times]
    storage = data.draw(st.sampled_from(STORAGES))
    messages: list[Message] = []
    rate = dict(zip("abc", (0.5, -1.0, 2.0), strict=True))
    for stamp, t in zip(stamps, times, strict=True):
        q = [rate[name] * t for name in names]
        messages.append(("/robot/joint_states", JOINT_STATE, stamp, joint_state(stamp, names, q, [rate[n] for n in names])))
        messages.append(("/robot/commands", MULTI_ARRAY, stamp, multi_array([t, -t])))
    with TemporaryDirectory() as folder:
        bag = foreign_bag(Path(folder, "bag"), messages, storage=storage)
        (trial,) = load_trials(bag, robot("abc", actuated="ac"), note=quiet)
    grid = (stamps[0] - round(start) * 10**9) * 1e-9 + np.arange(len(trial)) * 0.01
    expected = grid[:, None] * np.array([0.5, -1.0, 2.0])
    np.testing.assert_allclose(trial.states[:, :3], expected, atol=1e-5)
    assert trial.start == pytest.approx(stamps[0] * 1e-9)
    # A command is at most one message old, and the mean of a rising one lies within its step.
    assert (trial.actions[:, 0] <= grid + 0.01).all() and (trial.actions[:-1, 0] >= grid[:-1] - 1.7 * step - 1e-6).all()
    np.testing.assert_allclose(trial.actions[:, 1], -trial.actions[:, 0])


def test_decoding_agrees_with_rosbags_on_messages_of_any_layout() -> None:
    rng = np.random.default_rng(0)
    payloads = []
    for _ in range(300):
        count = int(rng.integers(0, 4))
        names = [str(rng.choice(["a", "elbow", "joint_with_a_long_name"])) for _ in range(count)]
        fields = [rng.normal(size=count) if rng.random() < 0.7 else () for _ in range(3)]
        payloads.append(joint_state(int(rng.integers(0, 2**31)) * 10**9 + int(rng.integers(0, 10**9)), names, *fields))
    seen = 0
    for block in decode.joint_states(payloads):
        for row, i in enumerate(block.index.tolist()):
            message = STORE.deserialize_cdr(payloads[i], JOINT_STATE)
            assert block.names == tuple(message.name)
            assert block.stamp[row] == message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            for field in ("position", "velocity", "effort"):
                np.testing.assert_array_equal(getattr(block, field)[row], getattr(message, field))
            seen += 1
    assert seen == 300


def test_undefined_bytes_between_fields_and_big_endian_messages_are_read() -> None:
    little = joint_state(5_000_000_007, ("a", "bc"), (1.0, 2.0))
    message = STORE.deserialize_cdr(little, JOINT_STATE)
    big = bytes(STORE.serialize_cdr(message, JOINT_STATE, little_endian=False))
    end = little.index(b"a\0") + 2
    noisy = little[:end] + b"\x17\x2a" + little[end + 2 :]
    assert noisy != little
    for block in decode.joint_states([little, noisy, big]):
        assert block.names == ("a", "bc") and (block.stamp == 5_000_000_007).all()
        np.testing.assert_array_equal(block.position, [[1.0, 2.0]] * len(block.index))


def test_messages_are_those_that_ros_2_itself_serializes() -> None:
    serialization = pytest.importorskip("rclpy.serialization", reason="no ROS 2 here")
    from sensor_msgs.msg import JointState
    from std_msgs.msg import Float64MultiArray

    for names, *fields in ((["a", "elbow"], [1.0, 2.0], [], [3.0, 4.0]), (["abc"], [1.0], [2.0], []), ([], [], [], [])):
        message = JointState(name=names, position=fields[0], velocity=fields[1], effort=fields[2])
        message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id = 5, 7, "world"
        (block,) = decode.joint_states([serialization.serialize_message(message)])
        assert block.names == tuple(names) and block.stamp.tolist() == [5_000_000_007]
        assert [values[0].tolist() for values in (block.position, block.velocity, block.effort)] == fields
        if names:
            (data,) = encode.joint_states(block.stamp, names, *([field] if field else None for field in fields))
            message.header.frame_id = ""
            assert serialization.deserialize_message(data, JointState) == message
    (data,) = encode.multi_arrays([[1.0, 2.0]])
    assert list(serialization.deserialize_message(data, Float64MultiArray).data) == [1.0, 2.0]


def test_commands_as_joint_states_are_taken_by_name_and_interface(tmp_path: Path) -> None:
    messages: list[Message] = []
    for stamp in every(0.01, 30):
        messages.append(("/joint_states", JOINT_STATE, stamp, joint_state(stamp, ("shoulder", "elbow"), (0, 0), (0, 0))))
        messages.append(("/commands", JOINT_STATE, stamp, joint_state(stamp, ("elbow", "shoulder"), (2.0, 1.0), (), (4.0, 3.0))))
    bag = foreign_bag(tmp_path / "bag", messages)
    (by_position,) = load_trials(bag, robot(interface="position"), note=quiet)
    np.testing.assert_array_equal(by_position.actions, [[1.0, 2.0]] * 30)
    (by_effort,) = load_trials(bag, robot(interface="effort"), note=quiet)
    np.testing.assert_array_equal(by_effort.actions, [[3.0, 4.0]] * 30)


def test_other_names_of_topics_are_found_where_the_choice_is_clear(tmp_path: Path) -> None:
    renamed = {"/joint_states": "/left/joint_states", "/commands": "/effort_controller/setpoint"}
    messages = [(renamed[topic], *rest) for topic, *rest in swing(every(0.01, 30))]
    (trial,) = load_trials(foreign_bag(tmp_path / "bag", messages), robot(), note=quiet)
    assert any("/effort_controller/setpoint" in note for note in trial.meta["notes"])


def test_a_goal_is_never_taken_for_a_command(tmp_path: Path) -> None:
    messages = [
        ("/controller/goal" if kind == MULTI_ARRAY else topic, kind, *rest) for topic, kind, *rest in swing(every(0.01, 30))
    ]
    summary = inspect_bag(foreign_bag(tmp_path / "bag", messages), robot())
    assert summary.problem is not None and "no commands" in summary.problem


def test_gap_splits_trials_and_jitter_does_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stamps = np.array(every(0.01, 300)) + rng.integers(-4_000_000, 4_000_000, 300)
    stamps[100:] += 45_000_000  # 0.055 s: more than five periods
    stamps[200:] += 8_000_000  # a hiccup
    first, second = load_trials(foreign_bag(tmp_path / "bag", swing(stamps.tolist())), robot(), note=quiet)
    assert first.duration == pytest.approx(0.99, abs=0.02) and second.duration == pytest.approx(2.0, abs=0.03)
    assert second.start == pytest.approx(stamps[100] * 1e-9)
    assert any("gap" in note for note in first.meta["notes"])


def trial_message(stamp: int, **data: object) -> Message:
    return ("/trial", STRING, stamp, text(json.dumps(data)))


def test_trial_message_starts_a_trial_and_says_what_it_is(tmp_path: Path) -> None:
    stamps = every(0.01, 100)
    messages = [*swing(stamps[:50]), trial_message(stamps[50], id="second", seed=7, simulated=True), *swing(stamps[50:])]
    first, second = load_trials(foreign_bag(tmp_path / "bag", messages), robot(), note=quiet)
    assert len(first) == len(second) == 50
    assert first.meta["simulated"] is False and second.meta["simulated"] is True
    assert second.meta["id"] == "second" and second.meta["seed"] == 7


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("in_flight", [0, 3])
def test_clock_that_jumps_back_at_an_announced_reset_starts_a_trial(tmp_path: Path, storage: str, in_flight: int) -> None:
    old, new = swing(every(0.01, 100, start=5.0)), swing(every(0.01, 80))
    cut = len(old) - 2 * in_flight
    messages = [*old[:cut], trial_message(0, id="after"), *old[cut:], *new]
    first, second = load_trials(foreign_bag(tmp_path / "bag", messages, storage=storage), robot(), note=quiet)
    assert (len(first), len(second)) == (100, 80)
    assert (first.start, second.start) == (5.0, 0.0) and second.meta["id"] == "after"


@pytest.mark.parametrize("place", [5, 47, 90])
def test_stamp_in_the_trial_message_counts_where_messages_overtook_each_other(tmp_path: Path, place: int) -> None:
    stamps = every(0.01, 100)
    messages = swing(stamps)
    messages.insert(2 * place, trial_message(stamps[place], id="next", stamp_ns=stamps[50]))
    first, second = load_trials(foreign_bag(tmp_path / "bag", messages), robot(), note=quiet)
    assert (len(first), len(second)) == (50, 50) and second.start == 0.5


@pytest.mark.parametrize("late", [-6, 0, 6])
def test_trial_begins_at_the_pause_where_its_message_came_early_or_late(tmp_path: Path, late: int) -> None:
    old, new = swing(every(0.01, 100)), swing(every(0.01, 80, start=1.5))
    messages = [*old, *new]
    messages.insert(len(old) + late, trial_message(1_500_000_000, id="next"))
    first, second = load_trials(foreign_bag(tmp_path / "bag", messages, storage="sqlite3"), robot(), note=quiet)
    assert (len(first), len(second)) == (100, 80)
    assert "id" not in first.meta and second.meta["id"] == "next" and "part" not in second.meta


def test_two_first_rows_of_the_same_time_are_one(tmp_path: Path) -> None:
    stamps = [0, 0, *every(0.01, 30)[1:]]
    (trial,) = load_trials(foreign_bag(tmp_path / "bag", swing(stamps)), robot(), note=quiet)
    assert len(trial) == 30 and any("1 messages" in note and "dropped" in note for note in trial.meta["notes"])


def test_missing_velocity_is_derived_without_lag_and_said(tmp_path: Path) -> None:
    bag = foreign_bag(tmp_path / "bag", swing(every(0.002, 1000), velocity=False))
    (trial,) = load_trials(bag, robot(), note=quiet)
    times = np.arange(200)[:, None] * 0.01
    np.testing.assert_allclose(trial.states[:, 2:], np.cos(times + np.arange(2)), atol=2e-3)
    assert trial.meta["velocity"] == "derived"
    assert any("shoulder, elbow" in note and "derived" in note for note in trial.meta["notes"])


def test_velocity_that_is_nan_throughout_for_one_joint_is_derived_for_it(tmp_path: Path) -> None:
    def spoil(i: int, q: Floats, dq: Floats, u: Floats) -> None:
        dq[1] = np.nan

    (trial,) = load_trials(foreign_bag(tmp_path / "bag", swing(every(0.01, 100), spoil=spoil)), robot(), note=quiet)
    assert np.isfinite(trial.states).all()
    assert any("for elbow;" in note for note in trial.meta["notes"])


@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_derived_velocity_of_a_parabola_is_exact_at_uneven_times(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.001, 0.02, count))
    derived = derive(times, np.stack([3 * times**2 - times, 2 * times], axis=1), 0.01)
    if count >= 3:
        np.testing.assert_allclose(derived, np.stack([6 * times - 1, np.full(count, 2.0)], axis=1), atol=1e-6)
    assert derived.shape == (count, 2)


def test_derived_velocity_has_a_fraction_of_the_noise_of_a_difference() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(2000) * 0.002
    noisy = np.sin(times)[:, None] + rng.normal(0, 1e-4, (2000, 1))
    error = derive(times, noisy, 0.01)[:, 0] - np.cos(times)
    difference = np.diff(noisy[:, 0]) / 0.002 - np.cos(times[1:])
    assert error.std() < 0.2 * difference.std()


def test_continuous_joint_is_unwrapped(tmp_path: Path) -> None:
    messages: list[Message] = []
    for stamp in every(0.01, 300):
        angle = 10 * stamp * 1e-9
        wrapped = (angle + np.pi) % (2 * np.pi) - np.pi
        messages.append(("/joint_states", JOINT_STATE, stamp, joint_state(stamp, ("shoulder",), (wrapped,), (10.0,))))
        messages.append(("/commands", MULTI_ARRAY, stamp, multi_array((0.0,))))
    bag = foreign_bag(tmp_path / "bag", messages)
    (trial,) = load_trials(bag, robot(("shoulder",), kind="continuous"), note=quiet)
    np.testing.assert_allclose(trial.states[:, 0], np.arange(300) * 0.1, atol=1e-4)
    # A joint that cannot turn on does not get from one end to the other between two messages.
    revolute = load_trials(bag, robot(("shoulder",)), note=quiet)
    assert len(revolute) == 5 and all((np.diff(trial.states[:, 0]) > 0).all() for trial in revolute)


def test_receive_times_count_where_stamps_are_not_set(tmp_path: Path) -> None:
    messages: list[Message] = []
    for i, stamp in enumerate(every(0.01, 50, start=100.0)):
        messages.append(("/joint_states", JOINT_STATE, stamp, joint_state(0, ("shoulder",), (i,), (0.0,))))
        messages.append(("/commands", MULTI_ARRAY, stamp, multi_array((float(i),))))
    (trial,) = load_trials(foreign_bag(tmp_path / "bag", messages), robot(("shoulder",)), note=quiet)
    assert trial.start == 100.0 and any("stamps" in note for note in trial.meta["notes"])
    np.testing.assert_allclose(trial.states[:, 0], np.arange(50), atol=1e-5)


def test_commands_received_on_another_clock_than_states_are_stamped_with_are_carried_over(tmp_path: Path) -> None:
    messages: list[Message] = []
    for i in range(100):  # simulated time at half speed, recorded with the wall clock
        stamp, received = i * 10_000_000, 1_700_000_000_000_000_000 + i * 20_000_000
        messages.append(("/joint_states", JOINT_STATE, received, joint_state(stamp, ("shoulder",), (i,), (0.0,))))
        messages.append(("/commands", MULTI_ARRAY, received + 10_000_000, multi_array((float(i),))))
    (trial,) = load_trials(foreign_bag(tmp_path / "bag", messages), robot(("shoulder",)), note=quiet)
    assert any("another clock" in note for note in trial.meta["notes"])
    # Each command comes half a step after its state, so a step is half the one before, half this one.
    np.testing.assert_allclose(trial.actions[1:-2, 0], trial.states[1:-2, 0] - 0.5, atol=1e-4)


def test_a_folder_of_bags_stands_for_all_of_them(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden"):
        foreign_bag(tmp_path / "bags" / name, swing(every(0.01, 10)))
    sources = [trial.source for trial in load_trials(tmp_path / "bags", robot(), note=quiet)]
    assert sources == [f"{tmp_path}/bags/a#0", f"{tmp_path}/bags/b#0"]


@pytest.mark.parametrize("compression", [CompressionType.ZSTD, CompressionType.LZ4])
def test_compressed_mcap_is_read(tmp_path: Path, compression: CompressionType) -> None:
    with (tmp_path / "bag.mcap").open("wb") as stream:
        writer = McapWriter(stream, chunk_size=2000, compression=compression)
        writer.start("ros2")
        channels = {}
        for topic, kind, stamp, data in swing(every(0.01, 50)):
            if topic not in channels:
                channels[topic] = writer.register_channel(topic, "cdr", writer.register_schema(kind, "ros2msg", b""))
            writer.add_message(channels[topic], stamp, data, stamp)
        writer.finish()
    (trial,) = load_trials(tmp_path / "bag.mcap", robot(), note=quiet)
    assert len(trial) == 50


@pytest.mark.parametrize("mode", ["file", "message"])
def test_bag_compressed_by_ros2_bag_is_read(tmp_path: Path, mode: str) -> None:
    packed = zstandard.ZstdCompressor().compress
    messages = [(t, k, s, packed(data) if mode == "message" else data) for t, k, s, data in swing(every(0.01, 50))]
    bag = foreign_bag(tmp_path / "bag", messages, storage="sqlite3")
    metadata = (bag / "metadata.yaml").read_text()
    metadata = metadata.replace("compression_format: ''", "compression_format: zstd")
    metadata = metadata.replace("compression_mode: ''", f"compression_mode: {mode.upper()}")
    if mode == "file":
        file = bag / "bag.db3"
        (bag / "bag.db3.zstd").write_bytes(packed(file.read_bytes()))
        file.unlink()
        metadata = metadata.replace("bag.db3", "bag.db3.zstd")
    (bag / "metadata.yaml").write_text(metadata)
    (trial,) = load_trials(bag, robot(), note=quiet)
    assert len(trial) == 50


def test_bag_of_several_files_is_one_recording(tmp_path: Path) -> None:
    messages = swing(every(0.01, 60))
    for part in range(3):
        foreign_bag(tmp_path / f"part_{part}", messages[40 * part : 40 * part + 40])
    bag = tmp_path / "bag"
    bag.mkdir()
    for part, number in enumerate((2, 9, 10)):
        (tmp_path / f"part_{part}" / f"part_{part}.mcap").rename(bag / f"bag_{number}.mcap")
    (trial,) = load_trials(bag, robot(), note=quiet)
    assert len(trial) == 60


def test_messages_left_in_a_write_ahead_log_are_read(tmp_path: Path) -> None:
    bag = foreign_bag(tmp_path / "bag", swing(every(0.01, 50)), storage="sqlite3")
    killed = sqlite3.connect(bag / "bag.db3")
    killed.execute("PRAGMA journal_mode = WAL")
    killed.execute("PRAGMA wal_autocheckpoint = 0")
    killed.execute(
        "INSERT INTO messages SELECT id + 1000, topic_id, timestamp + 500000000, data FROM messages WHERE topic_id = 2"
    )
    killed.commit()
    summary = inspect_bag(bag)
    killed.close()
    assert summary.messages == 150


def test_inspect_tells_topics_joints_and_trials_as_json(tmp_path: Path) -> None:
    bag = foreign_bag(tmp_path / "bag", swing(every(0.01, 100)), topics=[("/rosout", "rcl_interfaces/msg/Log")])
    summary = inspect_bag(bag, robot())
    data = json.loads(json.dumps(summary.to_json()))
    assert [topic["name"] for topic in data["topics"]] == ["/commands", "/joint_states", "/rosout"]
    assert data["topics"][1]["rate"] == pytest.approx(100.0)
    assert (
        data["joints"][0]["names"] == ["shoulder", "elbow"] and data["joints"][0]["velocity"] and not data["joints"][0]["effort"]
    )
    assert data["trials"][0]["rows"] == 100 and data["problem"] is None
