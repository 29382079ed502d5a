"""A simulated robot: `ros2 launch forerun simulator.launch.py robot:=cartpole engine:=mujoco`."""

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
    simulator = Node(
        package="forerun",
        executable="simulator",
        name="simulator",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        parameters=[
            LaunchConfiguration("params_file"),
            {
                "robot": ParameterValue(LaunchConfiguration("robot"), value_type=str),
                "engine": ParameterValue(LaunchConfiguration("engine"), value_type=str),
                "publish_clock": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool),
            },
        ],
    )
    ended = OnProcessExit(target_action=simulator, on_exit=[EmitEvent(event=Shutdown(reason="the simulator ended"))])
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "robot", default_value="cartpole", description="A shipped robot, a robot folder or a robot.yaml."
            ),
            DeclareLaunchArgument(
                "engine",
                default_value="bullet",
                choices=["bullet", "mujoco", "mujoco_urdf"],
                description="mujoco: the foreign robot; mujoco_urdf: the robot's URDF in MuJoCo.",
            ),
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node and its topics."),
            DeclareLaunchArgument(
                "use_sim_time", default_value="false", description="Publish /clock for nodes with use_sim_time."
            ),
            DeclareLaunchArgument("params_file", default_value=PARAMS, description="Parameters that are no arguments here."),
            simulator,
            RegisterEventHandler(ended),
            # A second Shutdown on the way down would be an error.
            RegisterEventHandler(OnShutdown(on_shutdown=[UnregisterEventHandler(ended)])),
        ]
    )
