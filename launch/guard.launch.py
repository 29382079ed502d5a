"""The guard on the robot's computer: `ros2 launch forerun guard.launch.py params_file:=my_robot_control.yaml`.

`forerun ros2-control` writes that file. A guard that dies is started again at once and then stops what it left moving.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument("params_file", description="The file that `forerun ros2-control` wrote for the robot."),
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node and its topics."),
            Node(
                package="forerun",
                executable="guard",
                name="guard",
                namespace=LaunchConfiguration("namespace"),
                output="screen",
                parameters=[LaunchConfiguration("params_file")],
                respawn=True,
            ),
        ]
    )
