"""From a URDF to a robot's folder: URDF and meshes copied, robot.yaml and recipe drafted, all tried out, put in place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from forerun_sim.authoring.draft import Draft, robot_name
from forerun_sim.authoring.recipe import recipe_text
from forerun_sim.authoring.repair import repair_bodies
from forerun_sim.authoring.source import copy_meshes, read_source
from forerun_sim.authoring.trial import try_out
from forerun_sim.errors import InputError
from forerun_sim.files import atomic_folder
from forerun_sim.spec import load_robot
from forerun_sim.spec.scene import Base
from forerun_sim.urdf import load_urdf
from forerun_sim.urdf_checks import check_bodies, check_loadable, check_meshes

_FASTEST = 8000
"""Physics steps per second beyond which nobody waits for a simulation."""


@dataclass(frozen=True)
class Drafted:
    """A robot's new folder. ``guesses`` is what the URDF did not say, ``changes`` what differs in the copy of the URDF."""

    folder: Path
    name: str
    joints: tuple[str, ...]
    driven: tuple[str, ...]
    meshes: int
    guesses: tuple[str, ...]
    changes: tuple[str, ...]


def new_robot(
    urdf: Path,
    out: Path,
    *,
    name: str | None = None,
    base: Base = "fixed",
    interface: str | None = None,
    repair: bool = False,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda text: None,
) -> Drafted:
    """Writes the folder ``out`` with a robot.yaml and a recipe.yaml for ``urdf``, the URDF itself, and its meshes.

    Args:
        urdf: the robot; meshes are found as PyBullet finds them, and in ROS packages.
        out: the new folder; it appears whole, or not at all.
        name: of the robot; the URDF's own if absent.
        base: how the root link may move.
        interface: by which the joints are driven; what the URDF's transmissions or ros2_control say, else effort, if absent.
        repair: give impossible bodies an inertia that can exist, instead of refusing them.
        overwrite: replace ``out``.
        progress: told what is under way.

    Raises:
        InputError: the URDF is wrong, has no joint that moves, or PyBullet cannot simulate it; or ``out`` exists. The message
            names file, link or joint, and what to do. Nothing is written.
    """
    source = read_source(urdf)
    chosen = robot_name(name or source.tree.get("name") or urdf.stem)
    if name is not None and name != chosen:
        raise InputError(f"'{name}' is no name for a robot: small letters, digits and underscores, as in '{chosen}'")
    _refuse_precious(out, urdf, overwrite)
    with atomic_folder(out, overwrite=overwrite) as folder:
        folder.mkdir()
        file = f"{chosen}.urdf"
        try:
            progress("copying meshes")
            meshes = copy_meshes(source, folder)
            source.write(folder / file)
            if repair:
                repair_bodies(source, load_urdf(folder / file))
                source.write(folder / file)
            model = load_urdf(folder / file)
            for check in (check_bodies, check_loadable, check_meshes):
                check(model)
            if not model.movable:
                raise InputError(f"{urdf}: no joint of this URDF moves: it is an object, not a robot")
            draft = Draft(chosen, model, file, base, source.tree, interface)
            if len(draft.drives.left_out) == len(model.movable):
                raise InputError(f"{urdf}: every joint follows another or has no room to move: no joint is left for robot.yaml")
            _settle(draft, folder, progress)
        except InputError as error:
            raise InputError(str(error).replace(str(folder / file), str(urdf)).replace(str(folder), str(out))) from error
    driven = tuple(draft.drives.interface)
    joints = tuple(joint for joint in model.movable if joint not in draft.drives.left_out)
    return Drafted(out, chosen, joints, driven, meshes, tuple(draft.notes), tuple(source.notes))


def _refuse_precious(out: Path, urdf: Path, overwrite: bool) -> None:
    """Raises InputError where ``out`` must not be replaced: unasked, or holding anything but a robot made here."""
    if not out.exists():
        return
    if not overwrite:
        raise InputError(f"{out}: exists already; choose another folder with --out, or replace it with --force")
    if urdf.resolve().is_relative_to(out.resolve()):
        raise InputError(f"{out}: holds {urdf} itself, which would be gone with it; choose another folder with --out")
    if not out.is_dir() or (any(out.iterdir()) and not (out / "robot.yaml").is_file()):
        raise InputError(f"{out}: is no robot's folder (it has no robot.yaml) and is not replaced; choose another with --out")


def _settle(draft: Draft, folder: Path, progress: Callable[[str], None]) -> None:
    """Writes recipe.yaml, and robot.yaml with the slowest physics rate at which randomized episodes stay stable."""
    while True:
        (folder / "robot.yaml").write_text(draft.text(), encoding="utf-8")
        robot = load_robot(folder)
        if robot.tasks:
            text = recipe_text(
                robot.name, next(iter(robot.tasks)), robot.control.rate, [joint.interface for joint in robot.actuated]
            )
            (folder / "recipe.yaml").write_text(text, encoding="utf-8")
        progress(f"trying out, physics at {draft.physics_rate} Hz")
        if try_out(folder):
            return
        draft.physics_rate *= 2
        if draft.physics_rate > _FASTEST:
            raise InputError(
                f"{draft.urdf.path}: its physics explodes even at {_FASTEST} Hz: the masses and inertias of neighbouring links"
                f" differ too much, or efforts are far too large for the bodies ({draft.hastiest()}); correct the URDF"
            )
