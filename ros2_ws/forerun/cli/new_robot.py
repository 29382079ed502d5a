"""`forerun new-robot`: a robot.yaml for a user's own robot, from its URDF."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forerun.cli.common import JsonOption, console, emit, progress

if TYPE_CHECKING:
    from rich.console import Console

    from forerun_sim.authoring import Drafted

EXAMPLE = """
forerun new-robot my_arm.urdf
forerun new-robot description/robot.urdf --out robots/dog --name dog --base floating --interface position
"""


class Base(str, Enum):
    """How the root link may move."""

    fixed = "fixed"
    planar = "planar"
    floating = "floating"


class Interface(str, Enum):
    """What a joint is commanded by."""

    effort = "effort"
    position = "position"
    velocity = "velocity"


def command(
    urdf: Annotated[Path, typer.Argument(help="The robot's URDF (not xacro).", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="The new folder; one of the robot's name, here, if absent.", show_default=False)
    ] = None,
    name: Annotated[str | None, typer.Option(help="The robot's name; the URDF's if absent.", show_default=False)] = None,
    base: Annotated[Base, typer.Option(help="Bolted down, driving on the ground, or free.")] = Base.fixed,
    interface: Annotated[
        Interface | None,
        typer.Option(help="Commands of the joints; what ros2_control or transmissions say, else effort.", show_default=False),
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Give bodies that cannot exist a mass and inertia that can.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the folder if it exists.")] = False,
    json: JsonOption = None,
) -> None:
    """Write a folder with a commented robot.yaml and recipe.yaml for a URDF, the URDF itself, and its meshes.

    Joints, limits, rates, a first task and careful safety are filled in; what the URDF does not say is guessed, and said to be a
    guess. The robot is simulated for a moment before anything is written.
    """
    from forerun_sim.authoring import new_robot
    from forerun_sim.authoring.draft import robot_name
    from forerun_sim.urdf_xml import read_urdf

    folder = out or Path(name or robot_name(read_urdf(urdf).get("name") or urdf.stem))
    with progress(f"new robot from {urdf.name}") as move:
        made = new_robot(
            urdf,
            folder,
            name=name,
            base=base.value,
            interface=None if interface is None else interface.value,
            repair=repair,
            overwrite=force,
            progress=lambda text: move(0, text),
        )
    _tell(made, console(json))
    emit(
        {
            "folder": str(made.folder),
            "name": made.name,
            "joints": list(made.joints),
            "driven": list(made.driven),
            "meshes": made.meshes,
            "guesses": list(made.guesses),
            "changes": list(made.changes),
        },
        json,
    )


def _tell(made: Drafted, out: Console) -> None:
    out.print(f"[bold]{made.name}[/]: {len(made.joints)} joints, {len(made.driven)} of them driven; tried out in simulation")
    out.print(f"{made.folder}: robot.yaml, recipe.yaml, {made.name}.urdf, {made.meshes} meshes and textures", markup=False)
    for change in made.changes:
        out.print(f"  changed in the copy of the URDF: {change}", markup=False)
    if made.guesses:
        out.print("What the URDF does not say, and robot.yaml guesses (look for GUESS there):")
    for guess, where in _alike(made.guesses).items():
        out.print(f"  {', '.join(where)}: {guess}", markup=False)
    out.print("Next:")
    bag, run = f"bags/{made.name}", f"runs/{made.name}"
    for line in (
        f"forerun inspect {made.folder} --picture {made.name}.png",
        f"forerun simulate {made.folder} --episodes 200 --out {bag}",
        f"forerun train {bag} --robot {made.folder} --out {run}",
    ):
        out.print(f"  {line}", markup=False)


def _alike(guesses: Sequence[str]) -> dict[str, list[str]]:
    """What is guessed -> where: legs are alike."""
    found: dict[str, list[str]] = {}
    for guess in guesses:
        where, _, what = guess.partition(": ")
        found.setdefault(what, []).append(where)
    return found
