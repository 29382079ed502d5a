"""Simulated robot, controller and recorder together: `ros2 launch forerun demo.launch.py bundle:=/path/to/bundle`.

By default the robot is the foreign one (MuJoCo), which training never saw. When one of the three ends, all do.
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
            DeclareLaunchArgument("bundle", description="Folder of the bundle that decides."),
            DeclareLaunchArgument(
                "robot", default_value="cartpole", description="A shipped robot, a robot folder or a robot.yaml."
            ),
            DeclareLaunchArgument(
                "engine",
                default_value="mujoco",
                choices=["bullet", "mujoco", "mujoco_urdf"],
                description="mujoco: the foreign robot; mujoco_urdf: the robot's URDF in MuJoCo.",
            ),
            DeclareLaunchArgument("uri", default_value="", description="Folder of the bag to record; empty: none is recorded."),
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of the nodes and their topics."),
            DeclareLaunchArgument("use_sim_time", default_value="false", description="All follow the simulator's /clock."),
            DeclareLaunchArgument("params_file", default_value=params, description="Parameters that are no arguments here."),
            include("simulator.launch.py", "robot", "engine"),
            include(
                "record.launch.py", "uri", "robot", condition=IfCondition(NotEqualsSubstitution(LaunchConfiguration("uri"), ""))
            ),
            include("controller.launch.py", "bundle"),
        ]
    )
