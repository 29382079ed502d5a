"""Learning while the robot runs: `ros2 launch forerun trainer.launch.py bundle:=/path/to/bundle folder:=/path/to/learning`.

`robot:=cartpole` takes the ready bundle of a shipped robot."""

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
    trainer = Node(
        package="forerun",
        executable="trainer",
        name="trainer",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        parameters=[
            LaunchConfiguration("params_file"),
            {
                "bundle": ParameterValue(LaunchConfiguration("bundle"), value_type=str),
                "folder": ParameterValue(LaunchConfiguration("folder"), value_type=str),
                "use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool),
            },
        ],
    )
    ended = OnProcessExit(target_action=trainer, on_exit=[EmitEvent(event=Shutdown(reason="the trainer ended"))])
    return LaunchDescription(
        [
            DeclareLaunchArgument("robot", default_value="", description="A shipped robot, for its ready bundle."),
            DeclareLaunchArgument(
                "bundle", default_value=LaunchConfiguration("robot"), description="Folder of the first bundle."
            ),
            DeclareLaunchArgument("folder", description="Where trials and bundles are kept; one a robot."),
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node and its topics."),
            DeclareLaunchArgument("use_sim_time", default_value="false", description="Stamp diagnostics with /clock."),
            DeclareLaunchArgument("params_file", default_value=PARAMS, description="Parameters that are no arguments here."),
            trainer,
            RegisterEventHandler(ended),
            # A second Shutdown on the way down would be an error.
            RegisterEventHandler(OnShutdown(on_shutdown=[UnregisterEventHandler(ended)])),
        ]
    )
