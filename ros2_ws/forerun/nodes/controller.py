"""The controller node: the lifecycle, topics and services around a session.

``configure`` loads and checks the bundle, ``activate`` moves the robot, ``deactivate`` and any error send the safe action. The
process imports numpy, ONNX Runtime and rclpy, nothing heavier.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import rclpy.clock
from rclpy.clock import ClockType
from rclpy.lifecycle import TransitionCallbackReturn
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger

from forerun.control.background import BackgroundThread, InlineBackground
from forerun.control.controller import Controller
from forerun.control.loading import BundleLoader, announced, warm_up
from forerun.control.pacers import ClockPacer, StatePacer, StepPacer
from forerun.control.phase import PhaseLock
from forerun.control.planning import InlinePlanner, WorkerPlanner
from forerun.control.safety import EmergencyStop
from forerun.control.sight import picture_of
from forerun.control.states import State, StateReader, StateRefused, measured_at
from forerun.nodes import qos
from forerun.nodes.controller_parameters import PARAMETERS, rights, safety_settings, settings
from forerun.nodes.diagnostics import Diagnostics
from forerun.nodes.lifecycle import GuardedNode
from forerun.nodes.outputs import Outputs
from forerun.nodes.parameters import Parameters
from forerun.nodes.peers import Peers
from forerun.nodes.running import run
from forerun.nodes.session import Session, make_pacer
from forerun_models.bundle import Bundle, load
from forerun_sim.errors import ForerunError, InputError
from forerun_sim.resources import bundle_folder

_SECOND = 1_000_000_000
_HOUSE_PERIOD = 0.1


class ControllerNode(GuardedNode):
    """Translates between ROS and a ``Session``."""

    def __init__(self) -> None:
        super().__init__("controller")
        self._session: Session | None = None
        self._loader: BundleLoader | None = None
        self._reader: StateReader | None = None
        self._held: tuple[int, JointState] | None = None
        """In lockstep: a state, with its stamp [ns], whose picture has not come yet."""
        self._seen = -1
        """Stamp of the newest picture [ns]."""
        self._inputs: list[object] = []
        self._estop = EmergencyStop()
        self._last_announcement = ("", 0.0)
        self.exit_code: int | None = None
        self.parameters = Parameters(self, PARAMETERS, self._refuse_change, self._refuse_values, self._parameters_changed)
        self._diagnostics = Diagnostics(self, self.parameters, self._estop)
        self.create_service(SetBool, "~/estop", self._on_estop)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(Trigger, "~/rollback", self._on_rollback)
        # Its own clock: with use_sim_time a stopped simulator must not stop the diagnostics that say so.
        self.create_timer(_HOUSE_PERIOD, self._keep_house, clock=rclpy.clock.Clock(clock_type=ClockType.STEADY_TIME))
        if self.parameters["autostart"]:
            self._autostart()

    # Lifecycle ---------------------------------------------------------------------------------------------------------

    def _autostart(self) -> None:
        done = self.trigger_configure() == TransitionCallbackReturn.SUCCESS
        if not (done and self.trigger_activate() == TransitionCallbackReturn.SUCCESS):
            self.exit_code = 2

    def configure(self) -> None:
        self.release("configured anew")
        values = self.parameters.values()
        self.get_logger().info("parameters: " + ", ".join(f"{name} = {value!r}" for name, value in values.items()))
        if not values["bundle"]:
            raise InputError("parameter 'bundle' is empty; give the folder of the bundle that decides, or a ready one's name")
        bundle = load(bundle_folder(values["bundle"]))
        warm_up(bundle)
        manifest = bundle.manifest
        lockstep, priority = values["lockstep"], values["realtime_priority"]
        sim_time = self.get_parameter("use_sim_time").value
        if lockstep and values["dry_run"]:
            raise InputError(
                "dry_run and lockstep exclude each other: the simulator would wait for, and take, what a dry run shows"
            )
        # Between plans the newest state is never older than a tick, whatever the phase.
        timed = values["trigger"] == "timer" and not sim_time and not lockstep
        locked = values["phase_lock"] and timed and manifest.commands_per_step == 1
        phase = PhaseLock(manifest.period) if locked else None
        pacer = make_pacer(
            manifest.tick_period,
            trigger=values["trigger"],
            spin=values["spin"],
            lockstep=lockstep,
            sim_time=sim_time,
            phase=phase,
        )
        planner = InlinePlanner() if lockstep else WorkerPlanner()
        background = InlineBackground() if lockstep else BackgroundThread(priority)
        try:
            controller = Controller(bundle, settings(self.parameters), planner, self._estop, background)
            if values["goal"]:
                controller.set_goal(values["goal"])
        except InputError:
            planner.close()
            background.close()
            raise
        self._session = Session(
            controller,
            planner,
            pacer,
            phase,
            Outputs(self, manifest, values["dry_run"], values["frame"], lockstep),
            self.get_logger(),
            dry_run=values["dry_run"],
            rights=rights(self.parameters),
            clock=lambda: int(self.get_clock().now().nanoseconds),
        )
        self._loader = BundleLoader(manifest.robot, self._accept_bundle, self._refuse_bundle)
        self._subscribe(bundle, values["dry_run"], values["lockstep"])
        what = f"{manifest.agent} agent for {manifest.robot}, task {manifest.task}, {manifest.rate:g} Hz"
        self.get_logger().info(f"bundle {bundle.digest[:12]}: {what}")

    def _subscribe(self, bundle: Bundle, dry_run: bool, lockstep: bool) -> None:
        manifest = bundle.manifest
        self._reader, self._held, self._seen = StateReader(manifest.joints), None, -1
        states_qos = qos.STATES_LOCKSTEP if lockstep else qos.STATES_IN
        self._inputs = [
            self.create_subscription(JointState, manifest.joint_states_topic, self._on_state, states_qos),
            self.create_subscription(Float64MultiArray, "~/goal", self._on_goal, qos.STAMPED),
            self.create_subscription(String, "bundle", self._on_bundle, qos.LATCHED),
            self.create_subscription(String, "bundle", self._on_bundle, qos.ANNOUNCEMENTS),
        ]
        if bundle.picture_shape is not None:
            pictures = self.create_subscription(Image, f"{manifest.camera}/image", self._on_picture, qos.PICTURES_IN)
            self._inputs.append(pictures)
        if dry_run:
            commands = self.create_subscription(Float64MultiArray, manifest.commands_topic, self._on_others, qos.COMMANDS_IN)
            self._inputs.append(commands)
        self._diagnostics.refused_goal = ""
        self._diagnostics.peers = Peers(self, manifest.joint_states_topic, manifest.commands_topic, dry_run)
        assert self._session is not None
        if isinstance(self._session.pacer, ClockPacer):
            # After joint_states: the state of a moment should be known when the clock says that it is this moment.
            self._inputs.append(self.create_subscription(Clock, "/clock", self._on_clock, qos.CLOCK))

    def activate(self) -> None:
        assert self._session is not None
        self._session.start()

    def deactivate(self) -> str:
        self._stop("deactivated")
        return self._session.failed if self._session is not None else ""

    def _stop(self, reason: str) -> None:
        session = self._session
        if session is None or not session.running:
            return
        session.stop(reason)
        session.outputs.show_nothing()
        self._diagnostics.remember_stop(session)
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

    def release(self, reason: str) -> None:
        try:
            self._stop(reason)
        finally:
            for entry in self._inputs:
                self.destroy_subscription(entry)
            self._inputs = []
            if self._loader is not None:
                self._loader.close()
            if self._session is not None:
                self._session.close()
            self._session = self._loader = self._reader = self._diagnostics.peers = None

    def _refuse_change(self, name: str) -> str:
        if self._session is not None and not name.startswith("safety."):
            return f"parameter '{name}' takes effect at configure; clean up first"
        return ""

    def _refuse_values(self, values: dict[str, Any]) -> str:
        if self._session is None:
            return ""
        try:
            self._session.controller.check_limits(safety_settings(values))
        except InputError as error:
            return str(error)
        return ""

    def _parameters_changed(self, names: Sequence[str]) -> None:
        if self._session is None:
            return
        values = self.parameters.values()
        self._session.controller.offer_limits(safety_settings(values))
        self.get_logger().info("from the next tick on: " + ", ".join(f"{name} = {values[name]!r}" for name in names))

    # Topics ------------------------------------------------------------------------------------------------------------

    def _on_state(self, message: JointState) -> None:
        session, reader = self._session, self._reader
        if session is None or reader is None:
            return
        stamp = message.header.stamp.sec * _SECOND + message.header.stamp.nanosec
        if isinstance(session.pacer, StepPacer) and session.controller.bundle.picture_shape is not None:
            unseen = self._seen != stamp and (self._held is None or self._held[0] != stamp)
            self._held = (stamp, message) if unseen else None
            if unseen:
                return  # until its picture comes, or it is asked for again
        arrived = time.monotonic()
        self._diagnostics.state_arrived(arrived)
        real_time = session.pacer.real_time
        moment = stamp * 1e-9
        try:
            if real_time:
                age = (self.get_clock().now().nanoseconds - stamp) * 1e-9 if stamp else None
                moment = measured_at(arrived, age)
            elif not stamp and isinstance(session.pacer, ClockPacer):
                moment = session.pacer.now or 0.0
            position, velocity = reader.read(message.name, message.position, message.velocity)
        except StateRefused as error:
            session.controller.refuse(str(error))
        else:
            session.controller.observe(State(moment, position, velocity, stamp))
        if session.phase is not None:
            session.phase.arrived(arrived)
        if isinstance(session.pacer, (StatePacer, StepPacer)) and session.running:
            session.pacer.push(arrived if real_time else moment)

    def _on_picture(self, message: Image) -> None:
        session = self._session
        if session is None:
            return
        stamp = message.header.stamp.sec * _SECOND + message.header.stamp.nanosec
        moment = stamp * 1e-9
        try:
            if session.pacer.real_time:
                moment = measured_at(time.monotonic(), (self.get_clock().now().nanoseconds - stamp) * 1e-9 if stamp else None)
            picture = picture_of(message.encoding, message.height, message.width, message.step, bytes(message.data))
        except (InputError, StateRefused) as error:
            session.controller.refuse(str(error))
        else:
            session.controller.sight.see(moment, picture)
            self._seen = stamp
        if self._held is not None and self._held[0] == stamp:
            self._on_state(self._held[1])

    def _on_others(self, message: Float64MultiArray) -> None:
        session = self._session
        command = np.asarray(message.data, dtype=np.float64)
        if session is None or len(command) != len(session.controller.limits.actions) or not np.isfinite(command).all():
            return
        if session.pacer.real_time:
            session.controller.overhear(time.monotonic(), command)
        elif session.latest is not None:
            session.controller.overhear(session.latest.time, command)

    def _on_clock(self, message: Clock) -> None:
        if self._session is not None and isinstance(self._session.pacer, ClockPacer):
            self._session.pacer.set(message.clock.sec + message.clock.nanosec * 1e-9)

    def _on_goal(self, message: Float64MultiArray) -> None:
        if self._session is None:
            return
        refused, before = "", self._diagnostics.refused_goal
        try:
            self._session.controller.set_goal(message.data)
        except InputError as error:
            refused = str(error)
        self._diagnostics.refused_goal = refused
        if refused and refused != before:
            self.get_logger().error(f"goal refused: {refused}")

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
            self._session.controller.succession.withdraw("the running bundle was announced again")
            return
        self.get_logger().info(f"loading the bundle {path}")
        self._loader.request(path, digest)

    def _accept_bundle(self, bundle: Bundle) -> None:
        session = self._session
        if session is None:
            return
        session.controller.offer(bundle)

    def _refuse_bundle(self, reason: str) -> None:
        if self._session is not None:
            self._session.controller.succession.refuse(reason)

    def _tell_news(self, session: Session) -> None:
        for kind, text in session.news():
            if kind == "refused":
                self._diagnostics.refused_bundle = text
                self.get_logger().error(f"bundle refused: {text}")
            elif kind == "rollback":
                self.get_logger().warning(f"rollback to the bundle {text}")
            else:
                self._diagnostics.refused_bundle = ""
                self.get_logger().info(f"{kind} of the bundle {text}")

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
        try:
            if self._session is None:
                raise InputError("not configured: there is no bundle to go back to")
            previous = self._session.controller.rollback()
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
            session.outputs.show(session.latest, session.controller.bundle.manifest)
        if session is not None:
            self._tell_news(session)
        self._diagnostics.update(session, self.failure, finalized=self.finalized)


def main(args: list[str] | None = None) -> int:
    """Entry point of the executable ``controller``."""
    return run(ControllerNode, args)


if __name__ == "__main__":
    sys.exit(main())
