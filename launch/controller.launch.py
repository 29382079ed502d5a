"""The controller, brought to active: `ros2 launch forerun controller.launch.py bundle:=/path/to/bundle`. This moves the robot.

`robot:=cartpole` takes the ready bundle of a shipped robot."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, RegisterEventHandler, UnregisterEventHandler
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessExit, OnProcessStart, OnShutdown
from launch.events import Shutdown, matches_action
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare
from lifecycle_msgs.msg import Transition

PARAMS = PathJoinSubstitution([FindPackageShare("forerun"), "config", "forerun.yaml"])


def generate_launch_description() -> LaunchDescription:
    controller = LifecycleNode(
        package="forerun",
        executable="controller",
        name="controller",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        parameters=[
            LaunchConfiguration("params_file"),
            {
                "bundle": ParameterValue(LaunchConfiguration("bundle"), value_type=str),
                "use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool),
            },
        ],
    )

    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", PathJoinSubstitution([FindPackageShare("forerun"), "rviz", "forerun.rviz"])],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )

    def change(transition: int) -> EmitEvent:
        return EmitEvent(event=ChangeState(lifecycle_node_matcher=matches_action(controller), transition_id=transition))

    def on(start: str, goal: str, action: EmitEvent, condition: IfCondition | None = None) -> RegisterEventHandler:
        handler = OnStateTransition(target_lifecycle_node=controller, start_state=start, goal_state=goal, entities=[action])
        return RegisterEventHandler(handler, condition=condition)

    ended = OnProcessExit(target_action=controller, on_exit=[EmitEvent(event=Shutdown(reason="the controller ended"))])
    refused = Shutdown(reason="the controller could not be configured; its message says why")
    configure = change(Transition.TRANSITION_CONFIGURE)
    activate = change(Transition.TRANSITION_ACTIVATE)
    return LaunchDescription(
        [
            DeclareLaunchArgument("robot", default_value="", description="A shipped robot, for its ready bundle."),
            DeclareLaunchArgument(
                "bundle", default_value=LaunchConfiguration("robot"), description="Folder of the bundle that decides."
            ),
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node and its topics."),
            DeclareLaunchArgument("use_sim_time", default_value="false", description="Deadlines follow /clock."),
            DeclareLaunchArgument("params_file", default_value=PARAMS, description="Parameters that are no arguments here."),
            DeclareLaunchArgument("activate", default_value="true", description="false: configure only; the operator activates."),
            DeclareLaunchArgument("rviz", default_value="false", description="true: RViz shows what the model imagines."),
            controller,
            rviz,
            RegisterEventHandler(OnProcessStart(target_action=controller, on_start=[configure])),
            on("configuring", "inactive", activate, IfCondition(LaunchConfiguration("activate"))),
            on("configuring", "unconfigured", EmitEvent(event=refused)),
            RegisterEventHandler(ended),
            # A second Shutdown on the way down would be an error.
            RegisterEventHandler(OnShutdown(on_shutdown=[UnregisterEventHandler(ended)])),
        ]
    )
