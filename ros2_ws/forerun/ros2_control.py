"""A robot's side in ros2_control: the controllers' YAML, with the guard that gives them a command timeout.

ROS 2 Jazzy's forward controllers (forward_command_controller, and the effort, velocity and position groups made of it) hold
their last command for ever; joint_trajectory_controller's ``cmd_timeout`` counts from a trajectory's end and takes trajectories
only. So the group controllers, which command zero effort and velocity at least when they are deactivated, get their commands from
the guard, and the guard from the controller.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from forerun_sim.spec import RobotSpec

GROUPS = {
    "effort": "effort_controllers/JointGroupEffortController",
    "velocity": "velocity_controllers/JointGroupVelocityController",
    "position": "position_controllers/JointGroupPositionController",
}
_FASTER = 4
"""The manager runs this often in a control period, as far as ``_FASTEST`` allows: a command waits for its next update."""
_FASTEST = 1000


def update_rates(rate: float, command_rate: float | None = None) -> tuple[int, int]:
    """Update rates [Hz, whole] of the controller manager and of the state broadcaster for the control ``rate`` [Hz] and the rate
    of the commands (the same if None).

    The states come once a control period, so that the controller ticks in phase with them; the manager's rate is a multiple.
    """
    states = math.ceil(rate)
    needed = math.ceil((command_rate or rate) / states)
    return states * max(min(_FASTER, _FASTEST // states), needed), states


def controllers_yaml(robot: RobotSpec, source: str, file: str) -> str:
    """The commented YAML.

    Args:
        robot: the robot.
        source: how it was named on the command line.
        file: name of the file that this text goes to.
    """
    manager, states = update_rates(robot.control.rate, robot.control.command_rate)
    groups = {kind: [j.name for j in robot.actuated if j.interface == kind] for kind in GROUPS}
    groups = {kind: names for kind, names in groups.items() if names}
    lines = [
        *_header(robot, source, file, list(groups)),
        "/**/controller_manager:",
        "  ros__parameters:",
        f"    update_rate: {manager} # Hz; a command waits up to one such period, and longer than that costs phase",
        "    joint_state_broadcaster:",
        "      type: joint_state_broadcaster/JointStateBroadcaster",
    ]
    for kind in groups:
        lines += [f"    forerun_{kind}:", f"      type: {GROUPS[kind]}"]
    lines += [
        "",
        "/**/joint_state_broadcaster:",
        "  ros__parameters:",
        f"    update_rate: {states} # Hz; one state a control period, so that the controller ticks in phase with them",
        f"    joints: {_list(robot.joint_names)}",
        "    interfaces: [position, velocity] # the hardware must export both, for each joint",
    ]
    for kind, names in groups.items():
        lines += [
            "",
            f"/**/forerun_{kind}: # hears forerun_{kind}/commands, and stops on deactivation"
            if kind != "position"
            else f"/**/forerun_{kind}: # hears forerun_{kind}/commands",
            "  ros__parameters:",
            f"    joints: {_list(names)}",
        ]
    lines += _guard(robot)
    return "\n".join(lines) + "\n"


def _header(robot: RobotSpec, source: str, file: str, kinds: Sequence[str]) -> list[str]:
    timeout, topics = robot.safety.command_timeout, robot.topics
    controllers = ", ".join(f'"forerun_{kind}"' for kind in kinds)
    remap = ""
    if topics.joint_states != "joint_states":
        remap = f', remappings=[("joint_states", "{topics.joint_states}")]'
    inactive = " ".join(f"forerun_{kind}" for kind in kinds)
    return [
        f"# ros2_control for the robot '{robot.name}' on ROS 2 Jazzy, written by `forerun ros2-control {source}`.",
        "#",
        f"#   controller --{topics.commands}--> guard --forerun_*/commands--> forward controllers --> hardware",
        "#",
        "# The forward controllers hold their last command for ever. The guard is the timeout: on the robot's own computer it",
        f"# hands each command on within the limits, and sends zero effort, zero velocity and the last position {timeout:g} s",
        "# after the newest one. A watchdog in the drives, where they have one, should be set to the same time.",
        "# Of a launch file (the URDF's ros2_control tag names the hardware):",
        "#",
        '#   Node(package="controller_manager", executable="ros2_control_node",',
        f'#        parameters=["{file}"]{remap}),',
        '#   Node(package="controller_manager", executable="spawner",',
        f'#        arguments=["joint_state_broadcaster", {controllers}, "--param-file", "{file}"]),',
        '#   Node(package="forerun", executable="guard", name="guard", parameters=["' + file + '"], respawn=True),',
        "#",
        "# A guard that was killed and comes back stops what it left moving. To take the drives from Forerun:",
        f"#   ros2 control switch_controllers --deactivate {inactive}",
        "# `/**` stands for any namespace; manager, controllers, guard and controller must share one.",
        "",
    ]


def _guard(robot: RobotSpec) -> list[str]:
    lower, upper = robot.action_limits()
    interfaces = [joint.interface for joint in robot.actuated]
    return [
        "",
        "/**/guard:",
        "  ros__parameters:",
        f"    commands: {robot.topics.commands} # std_msgs/Float64MultiArray in the order of these joints:",
        f"    joints: {_list(robot.action_names)}",
        f"    interfaces: {_list(interfaces)}",
        f"    lower: {_numbers(lower.tolist())} # SI units",
        f"    upper: {_numbers(upper.tolist())}",
        f"    rate: {_number(robot.control.rate)} # Hz",
        f"    command_timeout: {_number(robot.safety.command_timeout)} # s, safety.command_timeout of robot.yaml",
        "    realtime_priority: 0 # SCHED_FIFO; below that of ros2_control_node, which takes 50",
    ]


def _list(names: Sequence[str]) -> str:
    return "[" + ", ".join(_text(name) for name in names) + "]"


def _text(name: str) -> str:
    """A YAML string: quoted where YAML could take it for something else (yes, 1, a: b)."""
    return name if name.replace("_", "a").isalpha() and name.lower() not in _WORDS else "'" + name.replace("'", "''") + "'"


_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


def _numbers(values: Sequence[float]) -> str:
    return "[" + ", ".join(_number(value) for value in values) + "]"


def _number(value: float) -> str:
    """A YAML float: with a point, so that ROS takes it for a double, and never as 1e-05, which YAML takes for text."""
    text = repr(float(value))
    if "e" not in text:
        return text
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{int(exponent):+03d}"
