"""What a simulated robot tells beside its joints: where its base and the objects are, its inertial unit, its cameras."""

from __future__ import annotations

import importlib
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import Image, Imu

from forerun.control.simulation import Reads
from forerun.nodes import qos
from forerun_sim import poses
from forerun_sim.plant import Plant

WORLD, BASE = "world", "base_link"
_SECOND = 1_000_000_000


class Senses:
    """Publishes, where the robot of ``plant`` has them: ``odom`` (nav_msgs/Odometry of a base that moves), ``imu``
    (sensor_msgs/Imu), ``objects/<name>/pose`` (geometry_msgs/PoseStamped), ``<camera>/image`` (sensor_msgs/Image, rgb8) and
    ``<camera>/depth`` (32FC1, m).

    All of it is of the reading it comes with, noise and delay included. Pictures are taken only while somebody subscribes, and no
    more often than the camera's rate.
    """

    def __init__(self, node: Node, plant: Plant) -> None:
        spec = plant.spec
        self._plant = plant
        self._poses = poses.Poses(spec)
        self._odometry = self._imu = None
        if spec.base != "fixed":
            self._odometry = _odometry(node)
        if spec.sensors.imu is not None:
            self._imu = node.create_publisher(Imu, "imu", qos.STATES_OUT)
        self._objects = {
            name: node.create_publisher(PoseStamped, f"objects/{name}/pose", qos.STATES_OUT) for name in spec.objects
        }
        self._cameras = {
            name: [node.create_publisher(Image, f"{name}/{kind}", qos.PICTURES_OUT) for kind in ("image", "depth")]
            for name in (spec.cameras if hasattr(plant.engine, "picture") else ())
        }
        self._shown: dict[str, float] = {}

    def publish(self, reading: Reads, stamp: int, *, anew: bool = False) -> None:
        """Tells ``reading``, stamped ``stamp`` [ns]. In the thread that steps the plant.

        ``anew`` sends the newest picture also where the camera has taken no other since: who must answer this very state knows by
        its stamp that there is none to wait for.
        """
        position, velocity = reading.position.tolist(), reading.velocity.tolist()
        if self._odometry is not None:
            message, publisher = self._odometry
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, _SECOND)
            pose = self._poses.of("base", position, velocity)
            _fill(message.pose.pose, pose)
            _vector(message.twist.twist.linear, pose.linear)
            _vector(message.twist.twist.angular, pose.angular)
            publisher.publish(message)
        if self._imu is not None and reading.imu is not None:
            imu = Imu()
            _head(imu, stamp, BASE)
            imu.orientation_covariance[0] = -1.0  # it tells no orientation (REP-145)
            _vector(imu.angular_velocity, reading.imu.angular_velocity.tolist())
            _vector(imu.linear_acceleration, reading.imu.specific_force.tolist())
            self._imu.publish(imu)
        for name, publisher in self._objects.items():
            placed = PoseStamped()
            _head(placed, stamp, WORLD)
            _fill(placed.pose, self._poses.of(name, position, velocity))
            publisher.publish(placed)
        for name, (colours, depths) in self._cameras.items():
            if colours.get_subscription_count() or depths.get_subscription_count():
                self._show(name, colours, depths, stamp, anew)

    def _show(self, name: str, colours: Any, depths: Any, stamp: int, anew: bool) -> None:
        picture = self._plant.camera(name)
        if self._shown.get(name) == picture.time and not anew:
            return
        self._shown[name] = picture.time
        for publisher, values, encoding in ((colours, picture.rgb, "rgb8"), (depths, picture.depth, "32FC1")):
            message = Image()
            _head(message, stamp, name)
            message.height, message.width = values.shape[:2]
            message.encoding, message.step = encoding, values.strides[0]
            message.data = values.tobytes()
            publisher.publish(message)


def _odometry(node: Node) -> tuple[Any, Any] | None:
    """An empty message and its publisher; None, and a warning, where nav_msgs is not installed."""
    try:
        kind = importlib.import_module("nav_msgs.msg").Odometry
    except ModuleNotFoundError:
        node.get_logger().warning("no topic odom: it needs nav_msgs: pip install ros-nav-msgs==5.3.6")
        return None
    message = kind(child_frame_id=BASE)
    message.header.frame_id = WORLD
    return message, node.create_publisher(kind, "odom", qos.STATES_OUT)


def _head(message: Any, stamp: int, frame: str) -> None:
    message.header.frame_id = frame
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, _SECOND)


def _fill(message: Any, pose: poses.Pose) -> None:
    _vector(message.position, pose.place)
    turn = message.orientation
    turn.x, turn.y, turn.z, turn.w = pose.turn


def _vector(message: Any, values: Any) -> None:
    message.x, message.y, message.z = values
