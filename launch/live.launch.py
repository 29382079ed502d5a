"""Controller, trainer and recorder: `ros2 launch forerun live.launch.py bundle:=/path/to/bundle folder:=/path/to/learning`.

This moves the robot, which learns meanwhile. When one of them ends, all do.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, NotEqualsSubstitution, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare("forerun")


def include(name: str, *arguments: str, condition: IfCondition | None = None) -> IncludeLaunchDescription:
    """The launch file ``name`` with these of our arguments."""
    path = PathJoinSubstitution([SHARE, "launch", name])
    passed = [(argument, LaunchConfiguration(argument)) for argument in (*arguments, "namespace", "use_sim_time", "params_file")]
    return IncludeLaunchDescription(path, launch_arguments=passed, condition=condition)


def generate_launch_description() -> LaunchDescription:
    params = PathJoinSubstitution([SHARE, "config", "forerun.yaml"])
    return LaunchDescription(
        [
            DeclareLaunchArgument("robot", default_value="", description="A shipped robot, for its ready bundle."),
            DeclareLaunchArgument(
                "bundle", default_value=LaunchConfiguration("robot"), description="Folder of the bundle that decides first."
            ),
            DeclareLaunchArgument("folder", description="Where the trainer keeps trials and bundles; one a robot."),
            DeclareLaunchArgument("uri", default_value="", description="Folder of the bag to record; empty: none is recorded."),
            DeclareLaunchArgument("activate", default_value="true", description="false: the operator activates the controller."),
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of the nodes and their topics."),
            DeclareLaunchArgument("use_sim_time", default_value="false", description="All follow /clock."),
            DeclareLaunchArgument("params_file", default_value=params, description="Parameters that are no arguments here."),
            include("controller.launch.py", "bundle", "activate"),
            include("trainer.launch.py", "bundle", "folder"),
            include(
                "record.launch.py", "uri", "robot", condition=IfCondition(NotEqualsSubstitution(LaunchConfiguration("uri"), ""))
            ),
        ]
    )
