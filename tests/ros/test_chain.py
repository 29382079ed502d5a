"""Simulator, controller and recorder as separate processes over real DDS."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String

from forerun.bags import load_trials, read_raw
from forerun.nodes import qos
from forerun_sim.spec import load_robot
from support.probe import ERROR, OK, Probe, probing
from support.processes import Processes
from support.tiny_bundle import Law, tiny_bundle

from .conftest import CART


@pytest.fixture
def probe(domain: int) -> Iterator[Probe]:
    with probing(domain) as participant:
        yield participant


class Listener:
    """States and trials as they come."""

    def __init__(self, probe: Probe) -> None:
        self.states: list[JointState] = []
        self.trials: list[dict[str, object]] = []
        probe.listen(JointState, "joint_states", self.states.append, qos.STATES_OUT)
        probe.listen(String, "trial", lambda message: self.trials.append(json.loads(message.data)), qos.LATCHED)

    @property
    def slider(self) -> float:
        """Newest position of the cart [m]."""
        return float(self.states[-1].position[self.states[-1].name.index("slider")]) if self.states else float("nan")


def test_controller_drives_the_simulated_cart_and_the_bag_holds_the_run(
    processes: Processes, probe: Probe, bundle: Path, tmp_path: Path
) -> None:
    listener, bag = Listener(probe), tmp_path / "bag"
    recorder = processes.node("recorder", uri=str(bag), robot="cartpole", simulated=True)
    recorder.wait_for("recording")
    controller = processes.node("controller", bundle=str(bundle), autostart=True)
    simulator = processes.node("simulator", robot="cartpole", randomize=False)
    for topic in ("joint_states", "commands", "trial"):
        recorder.wait_for(f"recording /{topic} (")
    seen = len(listener.states)
    probe.until(lambda: len(listener.states) > seen + 100, "a while passed")
    probe.until(lambda: abs(listener.slider - 0.3) < 0.05, "the cart is where it should be")
    values = probe.until_status("running", OK)
    assert float(values["latency p50 [ms]"]) > 0
    assert listener.trials[0]["robot"] == "cartpole" and listener.trials[0]["simulated"] is True
    for process in (controller, simulator, recorder):
        process.send(signal.SIGINT)
        assert process.wait() == 0 and "Traceback" not in process.output
    commands = np.array([command[0] for _, command in probe.commands])
    assert np.abs(commands).max() <= 10.0 and np.abs(np.diff(commands)).max() <= 2.0 + 1e-9
    (trial,) = load_trials([bag], load_robot("cartpole"))
    assert trial.meta["simulated"] is True and trial.meta["seed"] == 0
    assert abs(trial.states[-1, 0] - 0.3) < 0.05 and len(trial) > 50


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_states_that_stay_away_stop_the_robot(processes: Processes, probe: Probe, tmp_path: Path, number: signal.Signals) -> None:
    swinging = Law(gain=((-10.0, 0.0, 0.0, 0.0),), bias=(3.0,))
    bundle = tiny_bundle(tmp_path / "swinging", swinging, CART)
    simulator = processes.node("simulator", robot="cartpole", randomize=False)
    controller = processes.node("controller", bundle=str(bundle), autostart=True)
    probe.until_status("running", OK)
    simulator.send(number)
    values = probe.until_status("old, allowed are 0.1 s", ERROR)
    probe.until_command([0.0], "the robot is stopped")
    assert "old" in values["reason of the last stop"]
    probe.until_status("stopped: ", ERROR)
    if number == signal.SIGSTOP:
        simulator.send(signal.SIGCONT)
    else:
        processes.node("simulator", robot="cartpole", randomize=False)
    probe.until_commands(20)
    assert probe.commands[-1][1] == [0.0]
    assert probe.trigger("controller/reset").success
    probe.until_status("running", OK)
    assert "Traceback" not in controller.output and controller.running


def test_lockstep_is_exactly_repeatable(processes: Processes, domain: int, tmp_path: Path) -> None:
    law = Law(gain=((-20.0, 1.0, -10.0, 2.0),), bias=(6.0,))
    bundle = tiny_bundle(tmp_path / "feedback", law, CART)
    runs = []
    for _ in range(2):
        with probing(domain) as probe:
            states: dict[int, list[float]] = {}

            def note(message: JointState, states: dict[int, list[float]] = states) -> None:
                states[message.header.stamp.sec * 10**9 + message.header.stamp.nanosec] = [*message.position, *message.velocity]

            probe.listen(JointState, "joint_states", note, qos.STATES_LOCKSTEP)
            simulator = processes.node("simulator", robot="cartpole", lockstep=True, seed=3)
            probe.until(lambda states=states: states, "the first state waits for its command")
            assert len(states) == 1
            controller = processes.node("controller", bundle=str(bundle), lockstep=True, autostart=True)
            probe.until(lambda states=states: max(states) > 7_000_000_000, "300 states were answered")
            for process in (simulator, controller):
                process.send(signal.SIGINT)
                assert process.wait() == 0 and "Traceback" not in process.output
            runs.append(states)
    common = sorted(set(runs[0]) & set(runs[1]))
    assert len(common) > 50  # this listener loses some, the controller none
    assert all(runs[0][stamp] == runs[1][stamp] for stamp in common)


def test_simulated_time_paces_the_controller(processes: Processes, probe: Probe, bundle: Path) -> None:
    clock: list[float] = []
    probe.listen(Clock, "/clock", lambda message: clock.append(message.clock.sec + message.clock.nanosec * 1e-9), qos.CLOCK)
    stamps: list[float] = []
    probe.listen(
        JointState,
        "controller/command_stamped",
        lambda message: stamps.append(message.header.stamp.sec + message.header.stamp.nanosec * 1e-9),
        qos.STAMPED,
    )
    processes.node("simulator", robot="cartpole", publish_clock=True, real_time_factor=2, randomize=False)
    processes.node("controller", bundle=str(bundle), autostart=True, use_sim_time=True)
    probe.until_status("running", OK)
    stamps.clear()
    probe.until(lambda: len(stamps) > 100, "commands answer states")
    steps = np.diff(stamps[5:])
    assert np.median(steps) == pytest.approx(0.02, abs=1e-6)
    probe.until(lambda: clock, "/clock is heard")
    assert clock[-1] < 1000.0


def test_simulator_repeats_an_episode_on_reset_and_draws_another_on_randomize(
    processes: Processes, probe: Probe, tmp_path: Path
) -> None:
    listener = Listener(probe)
    (tmp_path / "changes.yaml").write_text("{format: 1, changes: [{at: 1000, times: {strength: 0.7}}]}")
    processes.node("simulator", robot="cartpole", seed=5, changes=str(tmp_path / "changes.yaml"))
    probe.until(lambda: listener.trials and listener.states, "the first trial begins")
    for service, episodes in (("reset", 2), ("randomize", 3), ("reset", 4)):
        assert probe.trigger(f"simulator/{service}").success
        probe.until(lambda episodes=episodes: len(listener.trials) == episodes, "the next trial begins")
    assert [trial["episode"] for trial in listener.trials] == [0, 0, 1, 1]
    drawn = [trial["randomization"] for trial in listener.trials]
    assert drawn[0] == drawn[1] != drawn[2] == drawn[3]
    assert len({trial["id"] for trial in listener.trials}) == 4
    assert listener.trials[0]["changes"] == [{"at": 1000.0, "times": {"strength": 0.7}, "to": {}}]
    assert 0.0 == listener.trials[0]["lived"] < listener.trials[1]["lived"]


def test_simulated_robot_ignores_bad_commands_and_stops_without_commands(processes: Processes, probe: Probe) -> None:
    listener = Listener(probe)
    simulator = processes.node("simulator", robot="cartpole", randomize=False, command_timeout=0.2)
    commands = probe.node.create_publisher(Float64MultiArray, "commands", qos.COMMANDS_OUT)
    probe.until(lambda: listener.states and commands.get_subscription_count(), "it runs")
    for bad in ([float("nan")], [1.0, 2.0]):
        commands.publish(Float64MultiArray(data=bad))
    simulator.wait_for("needs a finite number for each of: slider")
    commands.publish(Float64MultiArray(data=[5.0]))
    effort = lambda: listener.states[-1].effort[0]  # noqa: E731
    probe.until(lambda: effort() > 3.0, "the command acts")
    probe.until(lambda: abs(effort()) < 1.0, "the command has ended")


def test_nodes_work_in_a_namespace(processes: Processes, domain: int, bundle: Path) -> None:
    with probing(domain, "/lab") as probe:
        listener = Listener(probe)
        processes.node("simulator", "-r", "__ns:=/lab", robot="cartpole", randomize=False)
        processes.node("controller", "-r", "__ns:=/lab", bundle=str(bundle), autostart=True)
        probe.until(lambda: abs(listener.slider - 0.3) < 0.05, "the cart is where it should be")
        probe.until_status("running", OK)


def test_killed_recorder_leaves_a_readable_bag(processes: Processes, probe: Probe, tmp_path: Path) -> None:
    listener, bag = Listener(probe), tmp_path / "bag"
    processes.node("simulator", robot="cartpole", randomize=False)
    recorder = processes.node("recorder", uri=str(bag), topics=["joint_states", "trial"])
    recorder.wait_for("recording /joint_states (")
    seen = len(listener.states)
    probe.until(lambda: len(listener.states) > seen + 120, "the recorder has flushed")
    # On a busy machine it may be behind.
    probe.until(lambda: sum(file.stat().st_size for file in bag.glob("*.mcap")) > 20_000, "what it flushed is on the disk")
    recorder.kill()
    raw = read_raw(bag)
    counts = {topic.name: topic.count for topic in raw.topics}
    assert counts["/joint_states"] > 40 and counts["/trial"] == 1


@pytest.mark.parametrize(
    ("node", "parameters", "words"),
    [
        ("simulator", {"robot": "cartpool"}, "no robot named 'cartpool'"),
        ("simulator", {"engine": "gazebo"}, "parameter 'engine' is 'gazebo'; allowed: bullet, mujoco"),
        ("recorder", {}, "parameter 'uri' is empty"),
        ("recorder", {"uri": "/tmp"}, "/tmp: exists already"),
    ],
)
def test_bad_input_ends_with_a_clear_error(processes: Processes, node: str, parameters: dict[str, object], words: str) -> None:
    process = processes.node(node, **parameters)
    assert process.wait() == 2
    assert words in process.output and "Traceback" not in process.output
