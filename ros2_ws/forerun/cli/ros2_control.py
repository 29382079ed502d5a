"""`forerun ros2-control`: the controllers' YAML of a robot's own side, with a command timeout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forerun.cli.common import JsonOption, console, emit

EXAMPLE = """
forerun ros2-control my_robot --out my_robot_control.yaml
ros2 run forerun guard --ros-args --params-file my_robot_control.yaml
"""


def command(
    robot: Annotated[str, typer.Argument(metavar="ROBOT", help="A robot's name, its folder or its robot.yaml.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The YAML file to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file where it exists.")] = False,
    json: JsonOption = None,
) -> None:
    """Write ros2_control's controllers for a robot, and the guard that ends its commands after a timeout.

    The controllers take the joints in the order of `commands`. ros2_control's forward controllers hold their last command for
    ever; the node `guard`, on the robot's computer, stops the robot when commands stay away. The file's comments show a launch.
    """
    from forerun.ros2_control import controllers_yaml, update_rates
    from forerun_sim.errors import InputError
    from forerun_sim.files import write_file
    from forerun_sim.spec import load_robot

    spec = load_robot(robot)
    if not spec.actuated:
        raise InputError(f"robot '{spec.name}' has no actuated joint: there is nothing to command")
    write_file(out, controllers_yaml(spec, robot, out.name), overwrite=overwrite)
    manager, states = update_rates(spec.control.rate, spec.control.command_rate)
    joints = ", ".join(f"{joint.name} ({joint.interface})" for joint in spec.actuated)
    timeout = spec.safety.command_timeout
    console(json).print(
        f"{out}: {joints}; manager {manager} Hz, states {states} Hz, commands end after {timeout:g} s", markup=False
    )
    emit(
        {
            "file": str(out),
            "robot": spec.name,
            "joints": list(spec.action_names),
            "interfaces": [joint.interface for joint in spec.actuated],
            "update_rate": manager,
            "command_timeout": timeout,
        },
        json,
    )
