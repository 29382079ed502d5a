"""What `forerun inspect` tells of a robot: joints, tasks, what varies, the values of one episode, and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forerun.cli.tables import number, span, table
from forerun_sim.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from forerun_sim.engines.base import Image
    from forerun_sim.spec import Distribution, RobotSpec

_SMALL = (56, 40)
"""Columns and rows of pixels of a picture in a terminal; two rows share a line."""


def inspect_robot(
    what: str, out: Console, episode: int | None, seed: int, picture: Path | None, pose: Mapping[str, float]
) -> dict[str, Any]:
    """Prints what robot ``what`` is, and writes ``picture``. ``pose`` says where single joints stand in it.

    Raises:
        InputError: there is no such robot or joint, or it cannot be simulated where it must be.
    """
    from forerun_sim.spec import load_robot

    spec = load_robot(what)
    out.print(f"[bold]robot[/] {spec.name}: ", end="")
    out.print(spec.description, markup=False)
    out.print(f"{spec.folder}", markup=False)
    engines = [] if spec.urdf is None else ["bullet"] if spec.bodies else ["bullet", "mujoco_urdf"]
    engines += [] if spec.foreign is None else ["mujoco"]
    out.print(
        f"{number(spec.control.rate)} Hz, history {spec.control.history}, physics {number(spec.control.physics_rate)} Hz, "
        f"engines {', '.join(engines) or 'none (logs only)'}"
    )
    scene = [f"{spec.base} base"] + ["ground"] * (spec.ground is not None) + [f"object {name}" for name in spec.objects]
    scene += [f"camera {name} ({camera.width} x {camera.height})" for name, camera in spec.cameras.items()]
    out.print(", ".join(scene), markup=False)
    out.print(_joints(spec))
    if spec.tasks:
        out.print(_tasks(spec))
    _varied(spec, out)
    out.print(f"safe action {spec.safety.action}")
    found: dict[str, Any] = {"kind": "robot", "path": str(spec.folder), **spec.model_dump(mode="json")}
    if episode is not None:
        found["sampled"] = _sampled(spec, episode, seed, out)
    if picture is not None:
        _write_picture(spec, picture, pose)
        out.print(f"{picture}: the robot as it is at first", markup=False)
    elif out.is_terminal and spec.urdf is not None:
        _show(_picture(spec, pose, *_SMALL), out)
    return found


def _joints(spec: RobotSpec) -> Table:
    shown = table("joint", "type", "position", "velocity", "effort", "command", "limits", "slew per s")
    for joint in spec.joints:
        position = span(*joint.position) if joint.position else "-"
        row = [joint.name, joint.type, position, number(joint.velocity), number(joint.effort)]
        if joint.actuated:
            row += [joint.interface, span(*joint.command_limits), number(joint.slew)]
        shown.add_row(*row)
    return shown


def _tasks(spec: RobotSpec) -> Table:
    shown = table("task", "duration", "goal", "terms")
    for name, task in spec.tasks.items():
        goal = ", ".join(f"{key} {value:.4g}" for key, value in zip(task.goal.names, task.goal.default, strict=True))
        shown.add_row(name, f"{number(task.duration)} s", goal, ", ".join(dict.fromkeys(term.kind for term in task.terms)))
    return shown


def _varied(spec: RobotSpec, out: Console) -> None:
    """What varies between episodes, with its distributions."""
    shown = table("varies", "of", "as")
    for quantity, drawn in spec.randomization:
        if isinstance(drawn, dict):
            for name, distribution in drawn.items():
                shown.add_row(quantity, name, distribution_text(distribution))
        elif drawn is not None:
            shown.add_row(quantity, "", distribution_text(drawn))
    if shown.row_count:
        out.print(shown)
    else:
        out.print("nothing varies between episodes")


def distribution_text(distribution: Distribution) -> str:
    """A distribution in a few words: ``0.8 to 1.2 times nominal``."""
    if distribution.uniform is not None:
        text = span(*distribution.uniform)
    elif distribution.log_uniform is not None:
        text = f"{span(*distribution.log_uniform)}, even in its logarithm"
    elif distribution.normal is not None:
        text = f"{number(distribution.normal[0])} +- {number(distribution.normal[1])}"
    else:
        text = number(distribution.value)
    return f"{text} times nominal" if distribution.relative else text


def _sampled(spec: RobotSpec, episode: int, seed: int, out: Console) -> dict[str, float]:
    """Prints the plant of one episode beside the nominal one."""
    from forerun_sim.plant import Plant

    plant = Plant(spec, seed=seed)
    try:
        plant.reset(episode)
        values, nominal = plant.parameters, plant.nominal.flat()
    finally:
        plant.close()
    shown = table(f"episode {episode}, seed {seed}", "nominal", "sampled")
    for name, value in values.items():
        if name not in nominal or value != nominal[name]:
            shown.add_row(name, number(nominal.get(name)), number(value))
    out.print(shown)
    return values


def _picture(spec: RobotSpec, pose: Mapping[str, float], width: int, height: int) -> Image:
    from forerun_sim.engines.bullet_portrait import portrait

    return portrait(spec, pose, width, height)


def _write_picture(spec: RobotSpec, path: Path, pose: Mapping[str, float]) -> None:
    from forerun_sim.files import write_file
    from forerun_sim.png import png

    if path.suffix.lower() != ".png":
        raise InputError(f"{path}: pictures are PNG files: name it {path.with_suffix('.png').name}")
    write_file(path, png(_picture(spec, pose, 800, 600).rgb))


def _show(image: Image, out: Console) -> None:
    """The picture in a terminal: each character is two pixels, one above the other."""
    from rich.text import Text

    for row in range(0, image.rgb.shape[0] - 1, 2):
        line = Text()
        for above, below in zip(image.rgb[row], image.rgb[row + 1], strict=True):
            line.append("\N{UPPER HALF BLOCK}", style=f"rgb({','.join(map(str, above))}) on rgb({','.join(map(str, below))})")
        out.print(line)
