"""The controller node: the lifecycle, topics and services around a session.

``configure`` loads and checks the bundle, ``activate`` moves the robot, ``deactivate`` and any error send the safe action. The
process imports numpy, ONNX Runtime and rclpy, nothing heavier.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable

import numpy as np
import rclpy.clock
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger

from forerun.control.controller import Controller, Verdict
from forerun.control.loading import BundleLoader, announced, warm_up
from forerun.control.loop import ClockPacer, MonotonicPacer, StepPacer
from forerun.control.phase import PhaseLock
from forerun.control.planning import InlinePlanner, WorkerPlanner
from forerun.control.safety import EmergencyStop
from forerun.control.states import State, StateReader, StateRefused, measured_at
from forerun.nodes import qos
from forerun.nodes.controller_parameters import PARAMETERS, settings
from forerun.nodes.outputs import Outputs, status
from forerun.nodes.parameters import Parameters
from forerun.nodes.running import run
from forerun.nodes.session import Session, make_pacer
from forerun_models.bundle import Bundle, load
from forerun_sim.errors import ForerunError, InputError

_SECOND = 1_000_000_000
_HOUSE_PERIOD = 0.1
_LEVELS = {
    Verdict.PLAN: DiagnosticStatus.OK,
    Verdict.BRIDGED: DiagnosticStatus.WARN,
    Verdict.WAITING: DiagnosticStatus.WARN,
    Verdict.SAFE: DiagnosticStatus.ERROR,
    Verdict.STOPPED: DiagnosticStatus.ERROR,
}


class ControllerNode(LifecycleNode):  # type: ignore[misc]
    """Translates between ROS and a ``Session``."""

    def __init__(self) -> None:
        super().__init__("controller", automatically_declare_parameters_from_overrides=True)
        self._session: Session | None = None
        self._loader: BundleLoader | None = None
        self._reader: StateReader | None = None
        self._inputs: list[object] = []
        self._estop = EmergencyStop()
        self._refused_bundle = ""
        self._last_announcement = ("", 0.0)
        self._last_status: tuple[bytes, str] = (b"", "")
        self._status_due = 0.0
        self._counted = (0, 0)
        self.exit_code: int | None = None
        self.parameters = Parameters(self, PARAMETERS, self._refuse_change)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        self.create_service(SetBool, "~/estop", self._on_estop)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(Trigger, "~/rollback", self._on_rollback)
        # Its own clock: with use_sim_time a stopped simulator must not stop the diagnostics that say so.
        self.create_timer(_HOUSE_PERIOD, self._keep_house, clock=rclpy.clock.Clock(clock_type=ClockType.STEADY_TIME))
        if self.parameters["autostart"]:
            self._autostart()

    # Lifecycle ---------------------------------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._guarded("configure", self._configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._guarded("activate", self._activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._guarded("deactivate", self._deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._guarded("cleanup", self._release)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._guarded("shutdown", self._release)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._guarded("error", self._release)

    def _guarded(self, name: str, action: Callable[[], None]) -> TransitionCallbackReturn:
        """rclpy drops exceptions of these callbacks without a word; here they are told and lead to the right state."""
        try:
            action()
        except ForerunError as error:
            self.get_logger().error(f"{name}: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().fatal(f"{name} failed:\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR
        failed = name == "deactivate" and self._session is not None and bool(self._session.failed)
        return TransitionCallbackReturn.ERROR if failed else TransitionCallbackReturn.SUCCESS

    def _autostart(self) -> None:
        done = self.trigger_configure() == TransitionCallbackReturn.SUCCESS
        if not (done and self.trigger_activate() == TransitionCallbackReturn.SUCCESS):
            self.exit_code = 2

    def _configure(self) -> None:
        self._release()
        values = self.parameters.values()
        self.get_logger().info("parameters: " + ", ".join(f"{name} = {value!r}" for name, value in values.items()))
        if not values["bundle"]:
            raise InputError("parameter 'bundle' is empty; give the folder of the bundle that decides")
        bundle = load(values["bundle"])
        warm_up(bundle)
        manifest = bundle.manifest
        planner = InlinePlanner() if values["lockstep"] else WorkerPlanner()
        try:
            controller = Controller(bundle, settings(self.parameters), planner, self._estop)
            if values["goal"]:
                controller.set_goal(values["goal"])
        except InputError:
            planner.close()
            raise
        sim_time = self.get_parameter("use_sim_time").value
        phase = PhaseLock(manifest.period) if values["phase_lock"] and not sim_time and not values["lockstep"] else None
        self._session = Session(
            controller,
            planner,
            make_pacer(manifest.period, lockstep=values["lockstep"], sim_time=sim_time, phase=phase),
            phase,
            Outputs(self, manifest, values["dry_run"]),
            self.get_logger(),
            dry_run=values["dry_run"],
            priority=values["realtime_priority"],
            clock=lambda: int(self.get_clock().now().nanoseconds),
        )
        self._loader = BundleLoader(manifest.robot, self._accept_bundle, self._refuse_bundle)
        self._subscribe(bundle, values["dry_run"], values["lockstep"])
        what = f"{manifest.agent} agent for {manifest.robot}, task {manifest.task}, {manifest.rate:g} Hz"
        self.get_logger().info(f"bundle {bundle.digest[:12]}: {what}")

    def _subscribe(self, bundle: Bundle, dry_run: bool, lockstep: bool) -> None:
        manifest = bundle.manifest
        self._reader = StateReader(manifest.joints)
        states_qos = qos.STATES_LOCKSTEP if lockstep else qos.STATES_IN
        self._inputs = [
            self.create_subscription(JointState, manifest.joint_states_topic, self._on_state, states_qos),
            self.create_subscription(Float64MultiArray, "~/goal", self._on_goal, qos.STAMPED),
            self.create_subscription(String, "bundle", self._on_bundle, qos.LATCHED),
            self.create_subscription(String, "bundle", self._on_bundle, qos.ANNOUNCEMENTS),
        ]
        if dry_run:
            commands = self.create_subscription(Float64MultiArray, manifest.commands_topic, self._on_others, qos.COMMANDS_IN)
            self._inputs.append(commands)
        assert self._session is not None
        if isinstance(self._session.pacer, ClockPacer):
            # After joint_states: the state of a moment should be known when the clock says that it is this moment.
            self._inputs.append(self.create_subscription(Clock, "/clock", self._on_clock, qos.CLOCK))

    def _activate(self) -> None:
        assert self._session is not None
        self._session.start()
        self._counted = (0, 0)

    def _deactivate(self) -> None:
        self._stop("deactivated")

    def _stop(self, reason: str) -> None:
        session = self._session
        if session is None or not session.running:
            return
        session.stop(reason)
        summary = session.statistics.summary()
        self.get_logger().info(f"stopped ({session.failed or reason}): {summary['ticks']} ticks, {summary['missed']} missed")
        stats_file = self.parameters["stats_file"]
        if not stats_file:
            return
        try:
            session.write_figures(stats_file)
        except ForerunError as error:
            # The robot stands already; a full disk must not keep the node from saying so.
            self.get_logger().error(f"stats_file: {error}")

    def _release(self) -> None:
        try:
            self._stop("released")
        finally:
            for entry in self._inputs:
                self.destroy_subscription(entry)
            self._inputs = []
            if self._loader is not None:
                self._loader.close()
            if self._session is not None:
                self._session.close()
            self._session = self._loader = self._reader = None

    def close(self) -> None:
        """The process ends: the robot is led to the safe action first, from whatever state the node is in."""
        self._guarded("shutdown", self._release)

    def _refuse_change(self, name: str) -> str:
        if self._session is not None:
            return f"parameter '{name}' takes effect at configure; clean up first"
        return ""

    # Topics ------------------------------------------------------------------------------------------------------------

    def _on_state(self, message: JointState) -> None:
        session, reader = self._session, self._reader
        if session is None or reader is None:
            return
        stamp = message.header.stamp.sec * _SECOND + message.header.stamp.nanosec
        arrived = time.monotonic()
        real_time = isinstance(session.pacer, MonotonicPacer)
        moment = stamp * 1e-9
        try:
            if real_time:
                age = (self.get_clock().now().nanoseconds - stamp) * 1e-9 if stamp else None
                moment = measured_at(arrived, age)
            position, velocity = reader.read(message.name, message.position, message.velocity)
        except StateRefused as error:
            session.controller.refuse(str(error))
        else:
            session.controller.observe(State(moment, position, velocity, stamp))
        if session.phase is not None:
            session.phase.arrived(arrived)
        if isinstance(session.pacer, StepPacer) and session.running:
            session.pacer.push(moment)

    def _on_others(self, message: Float64MultiArray) -> None:
        session = self._session
        command = np.asarray(message.data, dtype=np.float64)
        if session is None or len(command) != len(session.controller.limits.actions) or not np.isfinite(command).all():
            return
        if isinstance(session.pacer, MonotonicPacer):
            session.controller.overhear(time.monotonic(), command)
        elif session.latest is not None:
            session.controller.overhear(session.latest.time, command)

    def _on_clock(self, message: Clock) -> None:
        if self._session is not None and isinstance(self._session.pacer, ClockPacer):
            self._session.pacer.set(message.clock.sec + message.clock.nanosec * 1e-9)

    def _on_goal(self, message: Float64MultiArray) -> None:
        if self._session is None:
            return
        try:
            self._session.controller.set_goal(message.data)
        except InputError as error:
            self.get_logger().error(f"goal refused: {error}")

    # Bundles -----------------------------------------------------------------------------------------------------------

    def _on_bundle(self, message: String) -> None:
        # Both subscriptions hear a publisher that latches.
        now = time.monotonic()
        before, self._last_announcement = self._last_announcement, (message.data, now)
        if self._loader is None or (before[0] == message.data and now - before[1] < 1.0):
            return
        try:
            path, digest = announced(message.data)
        except InputError as error:
            self._refuse_bundle(str(error))
            return
        if self._session is not None and digest is not None and digest == self._session.controller.bundle.digest:
            return
        self.get_logger().info(f"loading the bundle {path}")
        self._loader.request(path, digest)

    def _accept_bundle(self, bundle: Bundle) -> None:
        session = self._session
        if session is None:
            return
        session.controller.offer(bundle)
        self._refused_bundle = ""
        self.get_logger().info(f"the bundle {bundle.digest[:12]} takes over")

    def _refuse_bundle(self, reason: str) -> None:
        self._refused_bundle = reason
        self.get_logger().error(f"bundle refused, the running one stays: {reason}")

    # Services ----------------------------------------------------------------------------------------------------------

    def _on_estop(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if request.data:
            self._estop.press()
            self.get_logger().warning("emergency stop pressed")
            response.message = "stopped; releasing takes false and then ~/reset"
        else:
            self._estop.release()
            response.message = "released; the robot stays stopped until ~/reset" if self._estop.latched else "was not stopped"
        response.success = True
        return response

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._session is not None:
            refused = self._session.controller.request_reset()
        else:
            refused = "" if self._estop.reset() else "the emergency stop is pressed; release it first"
        response.success, response.message = not refused, refused or "reset: history, plan and stop are forgotten"
        return response

    def _on_rollback(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        previous = None if self._session is None else self._session.controller.previous
        if self._session is None or previous is None:
            response.success, response.message = False, "there is no earlier bundle to go back to"
            return response
        try:
            self._session.controller.offer(previous)
        except InputError as error:
            response.success, response.message = False, str(error)
            return response
        response.success, response.message = True, f"bundle {previous.digest[:12]} takes over again"
        return response

    # Ten times a second ------------------------------------------------------------------------------------------------

    def _keep_house(self) -> None:
        session = self._session
        if session is not None and session.running and session.failed:
            self.trigger_deactivate()
            session = self._session
        if session is not None and session.running and session.latest is not None:
            session.outputs.show(session.latest)
        level, message = self._level(session)
        now = time.monotonic()
        changed = (level, message.split(" is ")[0]) != self._last_status
        # rclpy wants each line of code to log at one severity.
        if changed and level == DiagnosticStatus.WARN:
            self.get_logger().warning(message)
        if changed and level == DiagnosticStatus.ERROR:
            self.get_logger().error(message)
        if changed or now >= self._status_due:
            self._last_status, self._status_due = (level, message.split(" is ")[0]), now + 1.0
            self._publish_status(session, level, message)

    def _level(self, session: Session | None) -> tuple[bytes, str]:
        if session is None:
            return DiagnosticStatus.OK, "not configured"
        if not session.running:
            stopped = session.controller.stopped
            return (DiagnosticStatus.WARN, f"inactive: {stopped}") if stopped else (DiagnosticStatus.OK, "inactive")
        tick = session.latest
        if tick is None:
            return DiagnosticStatus.WARN, "no tick yet"
        message = f"{tick.verdict.value}: {tick.reason}" if tick.reason else "running"
        level = _LEVELS[tick.verdict]
        if level == DiagnosticStatus.OK and self._disagrees(session):
            return DiagnosticStatus.WARN, "running: the model's members disagree more than its bundle's threshold"
        if level == DiagnosticStatus.OK and self._refused_bundle:
            return DiagnosticStatus.WARN, f"running; bundle refused: {self._refused_bundle}"
        return level, message

    @staticmethod
    def _disagrees(session: Session) -> bool:
        threshold = session.controller.bundle.manifest.thresholds.get("disagreement", np.inf)
        decision = session.latest.decision if session.latest is not None else None
        return decision is not None and decision.disagreement > threshold

    def _publish_status(self, session: Session | None, level: bytes, message: str) -> None:
        values: dict[str, object] = {"emergency stop": self._estop.latched, "refused bundle": self._refused_bundle or "none"}
        robot = ""
        if session is not None:
            controller, manifest = session.controller, session.controller.bundle.manifest
            robot = manifest.robot
            values |= {"bundle": controller.bundle.digest, "task": manifest.task, "swaps": controller.swaps}
            values |= {"reason of the last stop": self._last_stop(session), "missed ticks": session.statistics.missed}
            values |= self._timing(session)
        report = status(f"{self.get_fully_qualified_name().lstrip('/')}: control", robot, level, message, values)
        report.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(report)

    def _timing(self, session: Session) -> dict[str, object]:
        rate = session.controller.bundle.manifest.rate
        summary = session.statistics.summary(newest=round(10 * rate))
        values: dict[str, object] = {"rate [Hz]": rate, "ticks": summary["ticks"]}
        for name in ("period_ms", "compute_ms", "latency_ms"):
            for key, figure in (summary[name] or {}).items():
                values[f"{name.removesuffix('_ms')} {key} [ms]"] = figure
        tick = session.latest
        if tick is not None and tick.state is not None:
            values["age of the state [s]"] = tick.time - tick.state.time
        if tick is not None and tick.decision is not None:
            values |= {"disagreement": tick.decision.disagreement, "value": tick.decision.value}
        return values | {f"ticks {name}": count for name, count in sorted(session.verdicts.items())}

    @staticmethod
    def _last_stop(session: Session) -> str:
        stops = [event["reason"] for event in list(session.events) if event["kind"] in ("stopped", "safe", "stop")]
        return stops[-1] if stops else "none"


def main(args: list[str] | None = None) -> int:
    """Entry point of the executable ``controller``."""
    return run(ControllerNode, args)


if __name__ == "__main__":
    sys.exit(main())
