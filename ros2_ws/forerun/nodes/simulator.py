"""The simulator node: a plant behind the topics that the real robot has."""

from __future__ import annotations

import json
import math
import queue
import sys
import threading
import time
import traceback
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import Trigger

from forerun.control.loop import Loop
from forerun.control.pacers import MonotonicPacer
from forerun.control.rights import Rights, set_priority
from forerun.control.simulation import Reads, Simulation
from forerun.nodes import qos
from forerun.nodes.parameters import Declared, Parameters
from forerun.nodes.running import run
from forerun.nodes.senses import Senses
from forerun_sim.changes import load_changes
from forerun_sim.engines.base import ENGINES
from forerun_sim.errors import InputError, UnstablePhysics
from forerun_sim.plant import Plant
from forerun_sim.spec import RobotSpec, load_robot

_SECOND = 1_000_000_000
_ORIGIN = 1.0
"""Simulated time starts here [s]: 0 means to ROS that there is no time yet."""
_PAUSE = 0.05
"""States pause this long after a reset [s], so that every recorder sees the trial's announcement before its first state."""
_BREAK = 1.0
"""The same in lockstep, where it takes no time: long enough that the controller sees by itself that another trial began."""
_LOOK = 0.005
"""In lockstep an episode that is over looks that often [s] whether another is asked for."""
_ASK_AGAIN = 0.5
"""In lockstep a state that nobody answers is published again after this long [s]."""

PARAMETERS = (
    Declared("robot", "cartpole", "Name of a shipped robot, or path of a robot folder or robot.yaml.", fixed=True),
    Declared("engine", "bullet", "Physics engine; mujoco is the foreign robot.", choices=tuple(ENGINES), fixed=True),
    Declared("task", "", "Task whose initial states are used; empty: the robot's first.", fixed=True),
    Declared("seed", 0, "Seed of everything random.", (0, 2**31 - 1), fixed=True),
    Declared("episode", 0, "Number of the first episode; with the seed it says everything random.", (0, 2**31 - 1), fixed=True),
    Declared("randomize", True, "Draw the plant's parameters per episode; false: nominal ones.", fixed=True),
    Declared("changes", "", "YAML file of what happens to the plant while it runs; empty: nothing.", fixed=True),
    Declared("real_time_factor", 1.0, "Simulated seconds per second; no meaning in lockstep.", (0.01, 100.0), fixed=True),
    Declared(
        "episode_seconds", 0.0, "In lockstep, when to wait until another episode is asked for; 0: never.", (0, 1e6), fixed=True
    ),
    Declared("lockstep", False, "Wait for the command that answers each state, on command_stamped.", fixed=True),
    Declared("command_stamped", "controller/command_stamped", "Topic of the answers in lockstep.", fixed=True),
    Declared("publish_clock", False, "Publish /clock and stamp states with simulated time.", fixed=True),
    Declared("command_timeout", -1.0, "Age at which a command ends [s]; -1: the robot's, 0: never.", (-1.0, 3600.0), fixed=True),
    Declared("realtime_priority", 0, "SCHED_FIFO priority of the simulation, 0 for none.", (0, 98), fixed=True),
)


class SimulatorNode(Node):  # type: ignore[misc]
    """Owns the plant, which only the simulation's thread touches."""

    def __init__(self) -> None:
        super().__init__("simulator", automatically_declare_parameters_from_overrides=True)
        values = Parameters(self, PARAMETERS).values()
        self._values = values
        self._spec: RobotSpec = load_robot(values["robot"])
        self._plant = Plant(
            self._spec,
            engine=values["engine"],
            task=values["task"] or None,
            seed=values["seed"],
            randomize=values["randomize"],
            changes=load_changes(Path(values["changes"])) if values["changes"] else (),
        )
        self.exit_code: int | None = None
        self._held = np.array([joint.interface == "position" for joint in self._spec.actuated])
        self._period = 1.0 / (self._spec.sensors.rate or self._spec.control.rate)
        self._lockstep: bool = values["lockstep"]
        self._stamped_by_simulation = values["publish_clock"] or self._lockstep
        self._factor = 1.0 if self._lockstep else float(values["real_time_factor"])
        self._simulation = Simulation(self._plant, 1.0 / self._spec.control.physics_rate, self._held, self._command_timeout())
        self._next_episode: int | None = values["episode"]
        self._length: float = values["episode_seconds"] or math.inf
        self._anchor = (0.0, _ORIGIN)
        self._arrivals: deque[tuple[float, NDArray[np.float64]]] = deque(maxlen=1000)
        self._trials = 0
        self._answers: queue.SimpleQueue[tuple[int, NDArray[np.float64]]] = queue.SimpleQueue()
        self._ending = threading.Event()
        self._state = JointState(name=list(self._spec.joint_names))
        states = qos.LOCKSTEP_OUT if values["lockstep"] else qos.STATES_OUT
        self._states = self.create_publisher(JointState, self._spec.topics.joint_states, states)
        self._trial = self.create_publisher(String, "trial", qos.LATCHED)
        self._senses = Senses(self, self._plant)
        self._clock_out = self.create_publisher(Clock, "/clock", qos.CLOCK_OUT) if values["publish_clock"] else None
        if self._lockstep:
            self.create_subscription(JointState, values["command_stamped"], self._on_answer, qos.STAMPED)
        else:
            self.create_subscription(Float64MultiArray, self._spec.topics.commands, self._on_command, qos.COMMANDS_IN)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(Trigger, "~/randomize", self._on_randomize)
        self._pacer = MonotonicPacer(self._period / self._factor)
        self._loop: Loop | None = None
        self._thread: threading.Thread | None = None
        self._start()

    def _command_timeout(self) -> float:
        """Age at which a command ends [s]; in lockstep never, for there the plant waits for its commands."""
        wanted = self._values["command_timeout"]
        if self._lockstep or wanted == 0:
            return math.inf
        return float(wanted) if wanted > 0 else self._spec.safety.command_timeout

    def close(self) -> None:
        """Ends the simulation."""
        self._ending.set()
        if self._loop is not None:
            self._loop.stop()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
        self._plant.close()

    def _start(self) -> None:
        if self._lockstep:
            self._thread = threading.Thread(target=self._run_lockstep, name="simulation", daemon=True)
            self._thread.start()
            return
        priority = self._values["realtime_priority"]
        refused = set_priority(0, max(priority - 1, 1)) if priority else ""
        if refused:
            self.get_logger().warning(f"realtime_priority: {refused}")
        self._loop = Loop(self._pacer, self._tick, self._failed, Rights(priority))
        self._loop.start()

    # Episodes ----------------------------------------------------------------------------------------------------------

    def _begin(self) -> Reads:
        """Starts the episode that was asked for; announces its trial."""
        episode, self._next_episode = self._next_episode, None
        assert episode is not None
        pause = _BREAK if self._lockstep else _PAUSE
        start = self._simulation.time + pause if self._trials else _ORIGIN
        reading = self._simulation.begin(start, np.zeros(len(self._held)), episode)
        held = np.array([reading.position[self._spec.joint_names.index(name)] for name in self._spec.action_names])
        self._simulation.idle = np.where(self._held, held, 0.0)
        self._trials += 1
        self._trial.publish(String(data=json.dumps(self._describe(episode))))
        self.get_logger().info(f"trial {self._trials}: episode {episode} of seed {self._values['seed']}")
        return reading

    def _describe(self, episode: int) -> dict[str, Any]:
        spec, values = self._spec, self._values
        return {
            "id": f"{spec.name}-{values['engine']}-{values['seed']}-{episode}-{self._trials}",
            "seed": values["seed"],
            "episode": episode,
            "robot": spec.name,
            "engine": values["engine"],
            "task": values["task"] or next(iter(spec.tasks), ""),
            "simulated": True,
            "stamp_ns": self._trial_stamp(),
            "randomization": self._plant.parameters,
            "lived": self._plant.lived,
            "changes": self._plant.changes,
        }

    def _trial_stamp(self) -> int:
        """States stamped from here on [ns] belong to the trial that begins now."""
        if self._stamped_by_simulation:
            return round(self._simulation.time * 1e9)
        return int(self.get_clock().now().nanoseconds)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """The same plant from the same initial state again."""
        return self._restart(self._plant.episode, response)

    def _on_randomize(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """The next episode: another plant from another initial state."""
        return self._restart(self._plant.episode + 1, response)

    def _restart(self, episode: int, response: Trigger.Response) -> Trigger.Response:
        self._next_episode = episode
        response.success, response.message = True, f"episode {episode} of seed {self._values['seed']} begins"
        return response

    # Real time ---------------------------------------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        """Steps to when this tick was due, however late it is, and publishes what the joints report then."""
        now = self._pacer.deadline
        if self._next_episode is not None:
            self._begin()
            self._arrivals.clear()
            # Simulated time stands still during the pause and then goes on from the episode's start.
            self._anchor = (now + math.ceil(_PAUSE / self._period) * self._period / self._factor, self._simulation.time)
            return
        target = self._simulated(now)
        if target < self._simulation.time + 0.5 * self._period:
            return
        behind = target - self._simulation.time - 10 * self._period
        if behind > 0:
            # The process was suspended: the plant goes on from where it was instead of racing after the clock.
            self._anchor = (self._anchor[0] + behind / self._factor, self._anchor[1])
            target -= behind
        while self._arrivals:
            arrived, values = self._arrivals.popleft()
            self._simulation.command(self._simulated(arrived), values)
        try:
            reading = self._simulation.advance(target)
        except UnstablePhysics as error:
            self.get_logger().error(f"{error}; the next episode begins")
            self._next_episode = self._plant.episode + 1
            return
        if reading is not None:
            self._publish(reading, self._stamp())
        self._publish_clock()

    def _stamp(self) -> int:
        """Stamp [ns] of a reading at the simulation's time."""
        if self._stamped_by_simulation:
            return round(self._simulation.time * 1e9)
        moment = self._anchor[0] + (self._simulation.time - self._anchor[1]) / self._factor
        return int(self.get_clock().now().nanoseconds) - round((time.monotonic() - moment) * 1e9)

    def _on_command(self, message: Float64MultiArray) -> None:
        arrived = time.monotonic()
        values = np.asarray(message.data, dtype=np.float64)
        if len(values) != len(self._held) or not np.isfinite(values).all():
            text = (
                f"command {values.tolist()} ignored: it needs a finite number for each of: {', '.join(self._spec.action_names)}"
            )
            self.get_logger().error(text, throttle_duration_sec=1.0)
            return
        self._arrivals.append((arrived, values))

    def _simulated(self, moment: float) -> float:
        """Simulated time at ``moment`` [s, monotonic]. In the simulation's thread, which alone moves the anchor."""
        return self._anchor[1] + (moment - self._anchor[0]) * self._factor

    # Lockstep ----------------------------------------------------------------------------------------------------------

    def _run_lockstep(self) -> None:
        try:
            while not self._ending.is_set():
                self._lock_steps(self._begin())
        except Exception as error:
            self._failed(error)

    def _lock_steps(self, first: Reads) -> None:
        """One trial: a state, its answer, a control period; until another episode is asked for."""
        reading: Reads | None = first
        command = self._simulation.idle
        while not self._ending.is_set() and self._next_episode is None:
            if reading is not None:
                answer = self._ask(reading)
                if answer is None:
                    return
                command = answer
            self._simulation.command(self._simulation.time, command)
            try:
                reading = self._simulation.advance(self._simulation.time + self._spec.control.period)
            except UnstablePhysics as error:
                self.get_logger().error(f"{error}; the next episode begins")
                self._next_episode = self._plant.episode + 1
                return
            if self._plant.time > self._length - 0.5 * self._period:
                self._rest(reading)

    def _rest(self, last: Reads | None) -> None:
        """The episode is over: its ``last`` state, and then nothing until another one is asked for."""
        if last is not None:
            self._publish(last, round(self._simulation.time * 1e9))
        while self._next_episode is None and not self._ending.wait(_LOOK):
            pass

    def _ask(self, reading: Reads) -> NDArray[np.float64] | None:
        """Publishes a state and waits for the command that answers it; None when there is no more need."""
        stamp = round(self._simulation.time * 1e9)
        due = 0.0
        while not self._ending.is_set() and self._next_episode is None:
            if time.monotonic() >= due:
                self._publish(reading, stamp)
                self._publish_clock()
                due = time.monotonic() + _ASK_AGAIN
            try:
                answered, values = self._answers.get(timeout=0.05)
            except queue.Empty:
                continue
            if answered == stamp:
                return values
        return None

    def _on_answer(self, message: JointState) -> None:
        stamp = message.header.stamp.sec * _SECOND + message.header.stamp.nanosec
        values = []
        for joint in self._spec.actuated:
            field = getattr(message, joint.interface)
            if joint.name not in message.name or len(field) != len(message.name):
                self.get_logger().error(f"answer ignored: it has no {joint.interface} of joint '{joint.name}'")
                return
            values.append(field[list(message.name).index(joint.name)])
        if not np.isfinite(values).all():
            self.get_logger().error(f"answer ignored: {values} is not finite")
            return
        self._answers.put((stamp, np.asarray(values, dtype=np.float64)))

    # Both --------------------------------------------------------------------------------------------------------------

    def _publish(self, reading: Reads, stamp: int) -> None:
        message = self._state
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, _SECOND)
        message.position = reading.position.tolist()
        message.velocity = reading.velocity.tolist()
        message.effort = reading.effort.tolist()
        # The state first: pictures take milliseconds.
        self._states.publish(message)
        self._senses.publish(reading, stamp, anew=self._lockstep)

    def _publish_clock(self) -> None:
        if self._clock_out is None:
            return
        clock = Clock()
        clock.clock.sec, clock.clock.nanosec = divmod(round(self._simulation.time * 1e9), _SECOND)
        self._clock_out.publish(clock)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, InputError):
            self.get_logger().fatal(str(error))
        else:
            self.get_logger().fatal("the simulation failed:\n" + "".join(traceback.format_exception(error)))
        self.exit_code = 1


def main(args: list[str] | None = None) -> int:
    """Entry point of the executable ``simulator``."""
    return run(SimulatorNode, args)


if __name__ == "__main__":
    sys.exit(main())
