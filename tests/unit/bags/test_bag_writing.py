"""What Forerun writes is whole or not there, and opens in every rosbag2 tool."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from mcap.reader import SeekingReader
from rosbags.rosbag2 import Reader

from forerun.bags import BagWriter, StreamWriter, load_trials, write_trials
from forerun.bags.write import nanoseconds
from forerun_sim.errors import ForerunError, InputError
from support.logs import JOINT_STATE, MULTI_ARRAY, STORE, Floats, every, multi_array, robot, swing

STORAGES = ("mcap", "sqlite3")


@dataclass
class Run:
    """What a simulator hands over."""

    time: Floats
    position: Floats
    velocity: Floats
    effort: Floats
    command_time: Floats
    command: Floats
    meta: dict[str, Any] = field(default_factory=dict)


def run(rows: int = 100, seed: int = 0, start: float = 0.0, step: float = 0.01) -> Run:
    rng = np.random.default_rng(seed)
    times = start + np.arange(rows) * step
    position = np.cumsum(rng.normal(scale=0.02, size=(rows, 2)), axis=0)
    velocity, effort, command = (rng.normal(size=(rows, 2)) for _ in range(3))
    return Run(
        times,
        position,
        velocity,
        effort,
        times,
        command,
        meta={"id": f"run {seed}", "seed": seed, "randomization": {"mass": 1.5}},
    )


def content(path: Path) -> dict[str, bytes]:
    """Every file below ``path`` with its bytes."""
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


@pytest.mark.parametrize("storage", STORAGES)
def test_trials_come_back_as_they_were_written(tmp_path: Path, storage: Any) -> None:
    runs = [run(100, 1, start=3.0), run(7, 2), run(250, 3)]
    assert write_trials(tmp_path / "bag", runs, robot(), storage=storage) == 3
    trials = load_trials(tmp_path / "bag", robot(), note=lambda text: None)
    assert [len(trial) for trial in trials] == [100, 7, 250]
    for trial, written in zip(trials, runs, strict=True):
        np.testing.assert_allclose(trial.states, np.hstack([written.position, written.velocity]), atol=1e-5)
        np.testing.assert_allclose(trial.actions, written.command, atol=1e-5)
        assert trial.meta["simulated"] is True and trial.meta["id"] == written.meta["id"]
        assert trial.meta["randomization"] == {"mass": 1.5} and trial.meta["effort"] is True
    assert trials[1].start - (trials[0].start + trials[0].duration) == pytest.approx(1.0)


@pytest.mark.parametrize("lead", [-0.004, 0.0, 0.003])
def test_states_and_commands_of_different_rates_keep_their_times(tmp_path: Path, lead: float) -> None:
    written = run(500, step=0.002, start=7.0)
    written.command_time = 7.0 + lead + np.arange(100) * 0.01
    written.command = written.command[:100]
    write_trials(tmp_path / "bag", [written, written], robot())
    first, second = load_trials(tmp_path / "bag", robot(), note=lambda text: None)
    # The grid begins with the first state at which a command is known.
    assert len(first) == len(second) == 100
    np.testing.assert_allclose(first.states, second.states, atol=1e-5)
    begin = 0.004 if lead > 0 else 0.0
    expected = written.position[round(begin / 0.002) :: 5]
    np.testing.assert_allclose(first.states[:, :2], expected[: len(first)], atol=1e-5)
    share = (begin - lead) / 0.01
    blend = (1 - share) * written.command[:-1] + share * written.command[1:]
    np.testing.assert_allclose(first.actions[:98], blend[:98], atol=1e-5)


@given(st.lists(st.floats(0, 2**31 - 1), min_size=1, max_size=20))
def test_nanoseconds_of_a_time_are_the_nearest_to_its_float(times: list[float]) -> None:
    from fractions import Fraction

    for got, given_time in zip(nanoseconds(times).tolist(), times, strict=True):
        assert abs(Fraction(given_time) * 10**9 - got) <= Fraction(1, 2) + Fraction(1, 10**6)


@pytest.mark.parametrize("storage", STORAGES)
def test_whether_the_robot_is_simulated_is_kept_in_the_bag_and_in_its_lone_file(tmp_path: Path, storage: Any) -> None:
    for simulated in (True, False):
        path = tmp_path / f"bag_{simulated}"
        with BagWriter(path, storage=storage, robot="arm", simulated=simulated) as bag:
            written = run()
            bag.run(nanoseconds(written.time), robot(), written.position, written.velocity, written.effort, written.command)
        (trial,) = load_trials(path, robot(), note=lambda text: None)
        assert trial.meta["simulated"] is simulated
        (path / "metadata.yaml").unlink()
        (trial,) = load_trials(path, robot(), note=lambda text: None)
        assert trial.meta["simulated"] is simulated


def test_bag_of_another_robot_is_read_with_a_word_of_warning(tmp_path: Path) -> None:
    write_trials(tmp_path / "bag", [run()], robot())
    other = robot().model_copy(update={"name": "leg"})
    (trial,) = load_trials(tmp_path / "bag", other, note=lambda text: None)
    assert any("'arm'" in note and "'leg'" in note for note in trial.meta["notes"])


def check_jazzy_metadata(folder: Path, storage: str, counts: dict[str, int]) -> None:
    """metadata.yaml as rosbag2 of ROS 2 Jazzy reads it (its yaml-cpp conversions raise for a missing or wrong field)."""
    info = yaml.safe_load((folder / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert info["version"] == 9 and info["storage_identifier"] == storage
    assert isinstance(info["duration"]["nanoseconds"], int) and info["starting_time"]["nanoseconds_since_epoch"] >= 0
    assert info["message_count"] == sum(counts.values())
    assert (info["compression_format"], info["compression_mode"]) == ("", "")
    assert all((folder / name).is_file() for name in info["relative_file_paths"])
    assert [file["path"] for file in info["files"]] == info["relative_file_paths"]
    for file in info["files"]:
        assert {"path", "starting_time", "duration", "message_count"} == set(file)
    assert all(isinstance(value, str) for pair in info["custom_data"].items() for value in pair)
    assert isinstance(info["ros_distro"], str)
    seen = {}
    for topic in info["topics_with_message_count"]:
        data = topic["topic_metadata"]
        seen[data["name"]] = topic["message_count"]
        assert data["serialization_format"] == "cdr" and data["type_description_hash"].startswith("RIHS01_")
        (qos,) = data["offered_qos_profiles"]
        assert qos["history"] == "keep_last" and qos["reliability"] == "reliable" and qos["liveliness"] == "automatic"
        assert qos["durability"] == ("transient_local" if data["name"] == "/trial" else "volatile")
        forever = {"sec": 9223372036, "nsec": 854775807}
        assert qos["deadline"] == qos["lifespan"] == qos["liveliness_lease_duration"] == forever
        assert qos["avoid_ros_namespace_conventions"] is False and isinstance(qos["depth"], int)
    assert seen == counts


def test_mcap_bag_opens_in_an_independent_reader(tmp_path: Path) -> None:
    write_trials(tmp_path / "bag", [run(50, 1), run(50, 2)], robot())
    check_jazzy_metadata(tmp_path / "bag", "mcap", {"/trial": 2, "/joint_states": 100, "/commands": 100})
    with (tmp_path / "bag" / "bag.mcap").open("rb") as stream:
        reader = SeekingReader(stream, validate_crcs=True)
        assert reader.get_header().profile == "ros2"
        messages = list(reader.iter_messages())
    assert len(messages) == 202
    schema, channel, message = messages[0]
    assert schema.name == "std_msgs/msg/String" and schema.encoding == "ros2msg" and channel.topic == "/trial"
    assert json.loads(STORE.deserialize_cdr(message.data, schema.name).data)["seed"] == 1
    assert "offered_qos_profiles" in channel.metadata
    assert "Header" in next(schema.data.decode() for schema, _, _ in messages if schema.name == JOINT_STATE)


def test_sqlite_bag_opens_in_sqlite(tmp_path: Path) -> None:
    write_trials(tmp_path / "bag", [run(50, 1)], robot(), storage="sqlite3")
    check_jazzy_metadata(tmp_path / "bag", "sqlite3", {"/trial": 1, "/joint_states": 50, "/commands": 50})
    connection = sqlite3.connect(tmp_path / "bag" / "bag.db3")
    assert connection.execute("SELECT schema_version FROM schema").fetchone() == (4,)
    query = "SELECT name, count(*) FROM messages JOIN topics ON topics.id = topic_id GROUP BY name"
    assert dict(connection.execute(query).fetchall()) == {"/trial": 1, "/joint_states": 50, "/commands": 50}
    for name, profiles in connection.execute("SELECT name, offered_qos_profiles FROM topics"):
        assert yaml.safe_load(profiles)[0]["durability"] == ("transient_local" if name == "/trial" else "volatile")
    connection.close()


def test_existing_bag_is_not_overwritten_unless_told(tmp_path: Path) -> None:
    write_trials(tmp_path / "bag", [run(50, 1)], robot())
    before = content(tmp_path)
    with pytest.raises(InputError, match="exists already"):
        write_trials(tmp_path / "bag", [run(50, 2)], robot())
    assert content(tmp_path) == before
    write_trials(tmp_path / "bag", [run(50, 2)], robot(), overwrite=True)
    (trial,) = load_trials(tmp_path / "bag", robot(), note=lambda text: None)
    assert trial.meta["seed"] == 2 and [path.name for path in tmp_path.iterdir()] == ["bag"]


@pytest.mark.parametrize("error", [RuntimeError("the simulator failed"), KeyboardInterrupt()])
@pytest.mark.parametrize("exists", [False, True])
def test_failure_while_writing_leaves_the_target_as_it_was(tmp_path: Path, error: BaseException, exists: bool) -> None:
    if exists:
        write_trials(tmp_path / "bag", [run(50, 1)], robot())
    before = content(tmp_path)

    def runs() -> Any:
        yield run(5000, 2)
        raise error

    with pytest.raises(type(error)):
        write_trials(tmp_path / "bag", runs(), robot(), overwrite=True)
    assert content(tmp_path) == before and len(list(tmp_path.iterdir())) == exists


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from forerun.bags import BagWriter\n"
        f"with BagWriter({str(tmp_path / 'bag')!r}) as bag:\n"
        "    bag.trial(0, {})\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"writing\n"
    assert list(tmp_path.iterdir())
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode != 0 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("storage", STORAGES)
def test_full_disk_leaves_the_target_byte_for_byte(mounted: Callable[..., Path], storage: Any) -> None:
    disk = mounted("1m")
    write_trials(disk / "bag", [run(200, 1)], robot(), storage=storage)
    before = content(disk)
    for overwrite, name in ((True, "bag"), (False, "new")):
        with pytest.raises(ForerunError, match="disk is full") as failed:
            write_trials(disk / name, [run(20_000, 2)], robot(), storage=storage, overwrite=overwrite)
        assert failed.value.exit_code == 1 and str(disk / name) in str(failed.value)
        assert content(disk) == before and [path.name for path in disk.iterdir()] == ["bag"]


@pytest.mark.parametrize("storage", STORAGES)
def test_read_only_folder_is_refused_and_left_alone(
    mounted: Callable[..., Path], read_only: Callable[[Path], None], storage: Any
) -> None:
    disk = mounted("4m")
    write_trials(disk / "bag", [run(200, 1)], robot(), storage=storage)
    before = content(disk)
    read_only(disk)
    for overwrite, name in ((True, "bag"), (False, "new")):
        with pytest.raises(InputError, match=r"[Rr]ead-only") as failed:
            write_trials(disk / name, [run(200, 2)], robot(), storage=storage, overwrite=overwrite)
        assert str(disk / name) in str(failed.value) and content(disk) == before
    (trial,) = load_trials(disk / "bag", robot(), note=lambda text: None)
    assert len(trial) == 200


def test_raw_messages_are_written_as_they_are(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_raw("/elsewhere/commands", MULTI_ARRAY, 5, multi_array((1.0, 2.0)))
    with Reader(tmp_path / "bag") as reader:
        ((connection, stamp, data),) = reader.messages()
        assert (connection.topic, stamp, bytes(data)) == ("/elsewhere/commands", 5, multi_array((1.0, 2.0)))


def record(path: Path, seconds: float = 1.0, **settings: Any) -> StreamWriter:
    recording = StreamWriter(path, robot="arm", simulated=False, **settings)
    for topic, kind, stamp, data in swing(every(0.002, round(seconds / 0.002))):
        recording.write_raw(topic, kind, stamp, data)
    return recording


def test_recording_is_a_bag_like_any_other(tmp_path: Path) -> None:
    record(tmp_path / "bag").close()
    check_jazzy_metadata(tmp_path / "bag", "mcap", {"/joint_states": 500, "/commands": 500})
    (trial,) = load_trials(tmp_path / "bag", robot(), note=lambda text: None)
    assert len(trial) == 100 and trial.meta["simulated"] is False
    with Reader(tmp_path / "bag") as reader:
        assert reader.message_count == 1000 == len(list(reader.messages()))
    with (tmp_path / "bag" / "bag_0.mcap").open("rb") as stream:
        assert len(list(SeekingReader(stream, validate_crcs=True).iter_messages())) == 1000


def test_recording_without_a_message_is_a_bag_too(tmp_path: Path) -> None:
    StreamWriter(tmp_path / "bag").close()
    check_jazzy_metadata(tmp_path / "bag", "mcap", {})


def test_recording_refuses_an_existing_folder_and_an_unknown_type(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists already"):
        StreamWriter(tmp_path)
    with StreamWriter(tmp_path / "bag") as recording:
        with pytest.raises(InputError, match="my_msgs/msg/Odd"):
            recording.write_raw("/odd", "my_msgs/msg/Odd", 0, b"\0\1\0\0")
        recording.add_topic("/odd", "my_msgs/msg/Odd", definition="int32 x")
        recording.write_raw("/odd", "my_msgs/msg/Odd", 0, b"\0\1\0\0\5\0\0\0")
    with Reader(tmp_path / "bag") as reader:
        assert reader.message_count == 1


def test_recording_flushes_by_its_clock(tmp_path: Path) -> None:
    now = [0.0]
    recording = StreamWriter(tmp_path / "bag", clock=lambda: now[0])
    (topic, kind, stamp, data), *_ = swing([0])
    recording.write_raw(topic, kind, stamp, data)
    size = (tmp_path / "bag" / "bag_0.mcap").stat().st_size
    now[0] = 1.5
    recording.flush_if_due()
    assert (tmp_path / "bag" / "bag_0.mcap").stat().st_size > size + len(data)
    recording.close()


def test_killed_recorder_leaves_what_it_recorded(tmp_path: Path) -> None:
    """kill -9: everything older than the flush interval is there, read with a warning."""
    code = (
        "import time\n"
        "from forerun.bags import StreamWriter\n"
        "from support.logs import swing, every\n"
        f"recording = StreamWriter({str(tmp_path / 'bag')!r}, robot='arm', simulated=True, flush_every=0.05)\n"
        "for topic, kind, stamp, data in swing(every(0.01, 100_000)):\n"
        "    recording.write_raw(topic, kind, stamp, data)\n"
        "    if stamp % 10**9 == 0: print(stamp, flush=True)\n"
        "    time.sleep(0.0005)\n"
    )
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path})
    assert process.stdout is not None
    written = 0
    for line in process.stdout:
        written = int(line)
        if written >= 3 * 10**9:
            break
    time.sleep(0.2)
    process.kill()
    process.communicate()
    notes: list[str] = []
    (trial,) = load_trials(tmp_path / "bag", robot(), note=notes.append)
    assert trial.duration >= 2.5 and any("truncated" in note for note in notes)
    assert trial.meta["simulated"] is True


def test_full_disk_while_recording_keeps_what_was_recorded(mounted: Callable[..., Path]) -> None:
    disk = mounted("1m")
    with pytest.raises(ForerunError, match="recorded before is kept"):
        record(disk / "bag", seconds=60, flush_every=0.0)
    (trial,) = load_trials(disk / "bag", robot(), note=lambda text: None)
    assert trial.duration > 1.0
