"""The doctor finds what hurts, says what to do, and never trips over a machine that shows little of itself."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from forerun.cli.app import app
from forerun.doctor import Check, Level, Machine, clocks, cpu, dds, examine, memory, packages, rights, ros
from forerun.doctor.robots import check_bundle, check_robot
from support.tiny_bundle import Body, Law, tiny_bundle


def machine(root: Path, **files: str) -> Machine:
    """A machine that has these files; ``__`` in their names stands for a slash."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Machine(root)


def level_of(checks: list[Check], name: str) -> Level:
    return next(check for check in checks if check.name == name).level


def complete(check: Check) -> bool:
    """What hurts says how, and what to do."""
    return bool(check.found) and (check.level == Level.OK) == (not check.hurts) == (not check.todo)


def test_nothing_crashes_where_proc_and_sys_are_missing(tmp_path: Path) -> None:
    empty = Machine(tmp_path / "nowhere")
    checks = [*clocks.check(empty, clocks.sleep_for(0.05)), *cpu.check(empty, cpu.ticks(empty)), *memory.check(empty, tmp_path)]
    checks += [dds._left_behind(empty), dds._buffers(empty)]
    assert len(checks) == 17 and all(map(complete, checks))


def test_nothing_crashes_where_files_hold_nonsense(tmp_path: Path) -> None:
    odd = machine(
        tmp_path,
        proc__stat="cpu x y",
        proc__loadavg="",
        proc__meminfo="MemAvailable: lots\n\nnonsense",
        proc__sys__net__core__rmem_max="?",
        proc__self__timerslack_ns="",
    )
    checks = [
        *cpu.check(odd, (0, 0)),
        *memory.check(odd, tmp_path),
        dds._buffers(odd),
        *clocks.check(odd, clocks.sleep_for(0.05)),
    ]
    assert all(map(complete, checks))


def test_this_machine_is_described_completely() -> None:
    assert all(map(complete, [*rights.check(), *packages.check(), *ros.check()]))


def test_a_powersaving_stolen_and_full_machine_is_told_apart(tmp_path: Path) -> None:
    calm = machine(
        tmp_path / "calm",
        sys__devices__system__cpu__cpu0__cpufreq__scaling_governor="performance\n",
        proc__stat="cpu 100 0 0 900 0 0 0 0 0 0",
        proc__loadavg="0.01 0.01 0.01 1/100 1",
        proc__cpuinfo="flags : fpu",
        sys__kernel__realtime="1",
        proc__meminfo="MemTotal: 8000000 kB\nMemAvailable: 6000000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB",
        proc__sys__net__core__rmem_max="8388608",
    )
    hurt = machine(
        tmp_path / "hurt",
        sys__devices__system__cpu__cpu0__cpufreq__scaling_governor="performance\n",
        sys__devices__system__cpu__cpu1__cpufreq__scaling_governor="powersave\n",
        proc__stat="cpu 100 0 0 900 0 0 0 50 0 0",
        proc__loadavg="99.0 1 1 1/100 1",
        proc__cpuinfo="flags : fpu hypervisor",
        proc__meminfo="MemTotal: 8000000 kB\nMemAvailable: 100000 kB\nSwapTotal: 900000 kB\nSwapFree: 100000 kB",
        proc__sys__net__core__rmem_max="212992",
    )
    for where, level in ((calm, Level.OK), (hurt, Level.WARN)):
        found = [*cpu.check(where, (0, 0)), *memory.check(where, tmp_path), dds._buffers(where)]
        for name in ("governor", "load", "host", "swap", "UDP buffers"):
            assert level_of(found, name) == level, name
        assert all(map(complete, found))
    assert level_of(cpu.check(calm, (0, 0)), "kernel") == Level.OK
    assert level_of(memory.check(hurt, tmp_path), "memory") == Level.FAIL


def test_files_that_killed_nodes_left_are_told_from_those_in_use(tmp_path: Path) -> None:
    used = machine(
        tmp_path,
        dev__shm__fastrtps_used="",
        dev__shm__fastrtps_used_el="",
        proc__12__maps="7f00 rw-s 00:1 /dev/shm/fastrtps_used",
    )
    assert dds._left_behind(used).level == Level.OK
    stale = machine(tmp_path, dev__shm__fastrtps_stale="", dev__shm__other="")
    assert dds._left_behind(stale).level == Level.WARN and dds._left_behind(stale).found.startswith("1 files")


def test_late_sleeps_and_jumping_clocks_are_warnings(tmp_path: Path) -> None:
    here = Machine(tmp_path)
    good = clocks.check(here, clocks.Sleeps([0.0001] * 100, 0.00001))
    bad = clocks.check(here, clocks.Sleeps([0.0001] * 90 + [0.01] * 10, 0.5))
    for name in ("sleep", "jumps"):
        assert level_of(good, name) == Level.OK and level_of(bad, name) == Level.WARN


@pytest.mark.parametrize(
    ("environment", "name", "level"),
    [
        ({"ROS_DOMAIN_ID": "42"}, "ROS_DOMAIN_ID", Level.OK),
        ({}, "ROS_DOMAIN_ID", Level.WARN),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, "ROS_DOMAIN_ID", Level.OK),
        ({"ROS_DOMAIN_ID": "150"}, "ROS_DOMAIN_ID", Level.WARN),
        ({"ROS_DOMAIN_ID": "233"}, "ROS_DOMAIN_ID", Level.FAIL),
        ({"ROS_DOMAIN_ID": "two"}, "ROS_DOMAIN_ID", Level.FAIL),
        ({"ROS_LOCALHOST_ONLY": "1"}, "ROS_LOCALHOST_ONLY", Level.WARN),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCAL"}, "ROS_AUTOMATIC_DISCOVERY_RANGE", Level.WARN),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"}, "ROS_AUTOMATIC_DISCOVERY_RANGE", Level.FAIL),
        ({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, "middleware", Level.WARN),
    ],
)
def test_the_environment_of_ros_is_judged(environment: dict[str, str], name: str, level: Level) -> None:
    checks = ros.check(environment)
    assert level_of(checks, name) == level and all(map(complete, checks))


def test_requirements_are_understood() -> None:
    lines = ["numpy>=1.24", 'onnxruntime>=1.17; extra == "robot"', "ros-rclpy[fastrtps]==7.1.6; sys_platform == 'linux'", "mcap"]
    assert packages.requirements(lines) == {
        "numpy": (">=", "1.24"),
        "onnxruntime": (">=", "1.17"),
        "ros-rclpy": ("==", "7.1.6"),
        "mcap": ("", ""),
    }


def test_robot_and_bundle_are_checked(tmp_path: Path) -> None:
    good = tiny_bundle(tmp_path / "good")
    name, checks = check_robot("cartpole")
    assert name == "cartpole" and [check.level for check in checks] == [Level.OK] * 2
    assert level_of(check_robot("cartpool")[1], "robot.yaml") == Level.FAIL
    assert level_of(check_bundle(str(good), None), "bundle") == Level.OK
    assert level_of(check_bundle(str(good), "pendulum"), "bundle") == Level.FAIL
    slow = tiny_bundle(tmp_path / "slow", Law(effort=3), Body(overrides={"rate": 10_000.0}))
    assert level_of(check_bundle(str(slow), None), "plan") == Level.FAIL
    (good / "act.onnx").write_bytes(b"damaged")
    assert level_of(check_bundle(str(good), None), "bundle") == Level.FAIL


def test_families_come_in_order_and_the_robot_only_when_asked_for(tmp_path: Path) -> None:
    names = ["rights", "ROS", "DDS", "clocks", "CPU", "memory", "packages"]
    assert [name for name, _ in examine(Machine(), folder=tmp_path, seconds=0.1)] == names
    assert [name for name, _ in examine(Machine(), folder=tmp_path, seconds=0.1, robot="cartpole")] == [*names, "robot"]


def test_a_failure_ends_with_code_1_and_json_says_all(tmp_path: Path) -> None:
    out = tmp_path / "doctor.json"
    settings = {"ROS_DOMAIN_ID": "999", "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "COLUMNS": "200"}
    run = CliRunner().invoke(app, ["doctor", "--seconds", "0.1", "--json", str(out)], env={**os.environ, **settings})
    assert run.exit_code == 1 and "to do: export ROS_DOMAIN_ID=42" in run.output
    result = json.loads(out.read_text())
    assert result["counts"]["FAIL"] == sum(check["level"] == "FAIL" for check in result["checks"]) > 0
    assert {"family", "name", "level", "found", "hurts", "todo"} == set(result["checks"][0])
