"""Record into a rosbag2 folder, on machines without `ros2 bag` too: `ros2 launch forerun record.launch.py uri:=bags/monday`."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, RegisterEventHandler, UnregisterEventHandler
from launch.event_handlers import OnProcessExit, OnShutdown
from launch.events import Shutdown
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

PARAMS = PathJoinSubstitution([FindPackageShare("forerun"), "config", "forerun.yaml"])


def generate_launch_description() -> LaunchDescription:
    recorder = Node(
        package="forerun",
        executable="recorder",
        name="recorder",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        parameters=[
            LaunchConfiguration("params_file"),
            {
                "uri": ParameterValue(LaunchConfiguration("uri"), value_type=str),
                "robot": ParameterValue(LaunchConfiguration("robot"), value_type=str),
                "use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool),
            },
        ],
    )
    ended = OnProcessExit(target_action=recorder, on_exit=[EmitEvent(event=Shutdown(reason="the recorder ended"))])
    return LaunchDescription(
        [
            DeclareLaunchArgument("uri", description="Folder of the bag; it must not exist yet."),
            DeclareLaunchArgument("robot", default_value="", description="Name of the robot, kept in the bag."),
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node and its topics."),
            DeclareLaunchArgument("use_sim_time", default_value="false", description="Stamp messages with /clock."),
            DeclareLaunchArgument("params_file", default_value=PARAMS, description="Parameters that are no arguments here."),
            recorder,
            RegisterEventHandler(ended),
            # A second Shutdown on the way down would be an error.
            RegisterEventHandler(OnShutdown(on_shutdown=[UnregisterEventHandler(ended)])),
        ]
    )
