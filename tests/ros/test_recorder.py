"""A recorder loses nothing that arrived, however late it is: discovered late, or ended while it is behind."""

from __future__ import annotations

from pathlib import Path

import rclpy
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import JointState

from forerun.nodes import qos
from forerun.nodes.recorder import RecorderNode
from forerun.nodes.transport import without_shared_memory


def test_recorder_that_comes_late_and_ends_early_writes_all_of_lockstep(domain: int, tmp_path: Path) -> None:
    bag, patience = tmp_path / "bag", Duration(seconds=30)
    arguments = ["--ros-args", "-p", f"uri:={bag}", "-p", "topics:=[joint_states]"]
    with without_shared_memory():
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    try:
        robot = rclpy.create_node("robot", use_global_arguments=False)
        states = robot.create_publisher(JointState, "joint_states", qos.LOCKSTEP_OUT)
        for _ in range(20):
            states.publish(JointState())
        recorder, executor = RecorderNode(), SingleThreadedExecutor()
        executor.add_node(recorder)
        while not states.get_subscription_count():
            executor.spin_once(timeout_sec=0.1)
        for _ in range(30):
            states.publish(JointState())
        assert states.wait_for_all_acked(patience)
        recorder.close()
        executor.shutdown()
    finally:
        rclpy.shutdown()
    with AnyReader([bag]) as reader:
        assert reader.message_count == 50
