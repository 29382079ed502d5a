"""Learn from a bag as if it came live: `ros2 launch forerun replay.launch.py uri:=bags/monday robot:=cartpole folder:=learning`.

Nothing moves. Ends with the bag; the trials stay in the folder, where a trainer beside the controller goes on from them.
"""

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    IncludeLaunchDescription,
    RegisterEventHandler,
    UnregisterEventHandler,
)
from launch.event_handlers import OnProcessExit, OnShutdown
from launch.events import Shutdown
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare("forerun")


def generate_launch_description() -> LaunchDescription:
    params = PathJoinSubstitution([SHARE, "config", "forerun.yaml"])
    trainer = IncludeLaunchDescription(
        PathJoinSubstitution([SHARE, "launch", "trainer.launch.py"]),
        launch_arguments=[
            (name, LaunchConfiguration(name)) for name in ("bundle", "folder", "namespace", "use_sim_time", "params_file")
        ],
    )
    player = Node(
        package="forerun",
        executable="player",
        name="player",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        parameters=[
            LaunchConfiguration("params_file"),
            {
                "uri": ParameterValue(LaunchConfiguration("uri"), value_type=str),
                "rate": ParameterValue(LaunchConfiguration("rate"), value_type=float),
                "publish_clock": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool),
            },
        ],
    )
    ended = OnProcessExit(target_action=player, on_exit=[EmitEvent(event=Shutdown(reason="the bag is over"))])
    return LaunchDescription(
        [
            DeclareLaunchArgument("uri", description="The bag to play."),
            DeclareLaunchArgument("rate", default_value="1.0", description="How many times as fast as it was recorded."),
            DeclareLaunchArgument("robot", default_value="", description="A shipped robot, for its ready bundle."),
            DeclareLaunchArgument(
                "bundle", default_value=LaunchConfiguration("robot"), description="Folder of the first bundle."
            ),
            DeclareLaunchArgument("folder", description="Where trials and bundles are kept; one a robot."),
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of the nodes and their topics."),
            DeclareLaunchArgument("use_sim_time", default_value="false", description="The bag's time goes to /clock."),
            DeclareLaunchArgument("params_file", default_value=params, description="Parameters that are no arguments here."),
            trainer,
            player,
            RegisterEventHandler(ended),
            # A second Shutdown on the way down would be an error.
            RegisterEventHandler(OnShutdown(on_shutdown=[UnregisterEventHandler(ended)])),
        ]
    )
