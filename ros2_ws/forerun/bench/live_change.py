"""A robot that changes while it runs, with its trainer beside it: noticed, learned, swapped in, and the return comes back.

Simulator, controller, trainer and recorder are nodes over DDS in lockstep. Nobody tells the trainer of the change. Between two
episodes the robot waits until no training is under way: what counts are seconds of the robot, not of a busy machine. The same
episodes under the bundle that was in use at the change show what would have been without the trainer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from forerun.bench.records import Row
from forerun.demo.measure import score
from forerun.demo.processes import NodeProcess
from forerun.domains import own_domain
from forerun.lockstep import ANSWERS, Lockstep, alone, recorded, rig
from forerun_models.bundle import load
from forerun_sim.files import write_file
from forerun_sim.spec import load_robot
from forerun_sim.tasks import TaskFunction

if TYPE_CHECKING:
    from forerun.nodes.conductor import Conductor

CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "cartpole": ("friction", {"times": {"damping": 3.0, "viscous": 3.0, "coulomb": 3.0}}),
    "pendulum": ("payload", {"to": {"payload": 0.2}}),
}
"""What happens to each robot: its name, and the change."""
LEARN: dict[str, Any] = {"every": 30.0, "piece": 2.0, "step_back": False}
"""Parameters of the trainer."""
BEFORE, AFTER = 9, 8
"""Episodes before and after the change."""
_SEES = 1.5
"""Seconds in which a trainer has taken what was recorded, and has begun to train if it is time."""
_TRAINS = 900.0
"""Seconds that a training may take on a busy machine."""


@dataclass(frozen=True)
class Life:
    """``before`` and ``after`` episodes of ``setting``, between which the plant goes through ``change``, called ``name``; the
    controller begins with ``bundle``, the trainer has parameters ``learn``."""

    bundle: Path
    setting: Lockstep
    name: str
    change: Mapping[str, Any]
    before: int = BEFORE
    after: int = AFTER
    learn: Mapping[str, Any] | None = None

    @property
    def changes(self) -> dict[str, Any]:
        """As a file has it."""
        return {"format": 1, "changes": [{"at": self.before * self.setting.seconds, **self.change}]}


def change_rows(life: Life, folder: Path, note: Callable[[str], None]) -> list[Row]:
    """A row an episode: its return, what ran in it, and what the trainer did before it.

    Raises:
        ForerunError: a node died or did not answer, or an episode was not recorded.
    """
    file = folder / "changes.yaml"
    write_file(file, yaml.safe_dump(life.changes))
    setting = replace(life.setting, episodes=life.before + life.after, changes=file)
    bag, ids, ran = _lived(life, setting, folder, note)
    trials = recorded(bag, setting, ids)
    unlearned = _unlearned(life, ran[life.before - 1]["path"], folder)
    task = TaskFunction(load_robot(setting.robot), setting.task)
    rows: list[Row] = []
    for number, (trial, said) in enumerate(zip(trials, ran, strict=True)):
        found = score(trial, task, setting.seconds)
        row: dict[str, str | int | float] = {"part": "change", "robot": setting.robot, "change": life.name, "seed": setting.seed}
        row |= {
            "robot_s": round(number * setting.seconds, 3),
            "since_change_s": round((number - life.before) * setting.seconds, 3),
        }
        row |= {"return": round(found.total, 1), "success": int(bool(found.success))}
        if number >= life.before:
            row |= {"return_unlearned": round(unlearned[number - life.before], 1)}
        row |= {"bundle": said["bundle"][:12], "trainings_begun": int(said["trainings"]), "promoted": int(said["promoted"])}
        rows.append(row | {"reason": said["reason of the last training"], "last_verdict": said["last verdict"][:60]})
    return rows


def _lived(
    life: Life, setting: Lockstep, folder: Path, note: Callable[[str], None]
) -> tuple[Path, list[str], list[dict[str, str]]]:
    """The bag, the episodes' trials, and what controller and trainer said after each of them."""
    spec = load_robot(setting.robot)
    seconds = round(setting.seconds / spec.control.period) * spec.control.period
    plant = {"robot": setting.robot, "task": setting.task, "engine": setting.engine, "randomize": False}
    plant |= {"seed": setting.seed, "episode": setting.first, "episode_seconds": seconds, "changes": str(setting.changes)}
    control = {"bundle": str(life.bundle.resolve()), "seed": setting.seed}
    learn = {"bundle": control["bundle"], "folder": str(folder / "learning"), "command_stamped": ANSWERS, "seed": setting.seed}
    record = {"uri": str(folder / "bag"), "robot": setting.robot, "topics": [spec.topics.joint_states, ANSWERS, "trial"]}
    ids: list[str] = []
    ran: list[dict[str, str]] = []
    with (
        own_domain(),
        NodeProcess("trainer", folder / "logs", {**learn, **LEARN, **(life.learn or {})}) as trainer,
        rig(plant, control, record, folder / "logs") as nodes,
    ):
        conductor = nodes.conductor

        def check() -> None:
            nodes.check()
            trainer.check()

        conductor.wait_for_listeners([spec.topics.joint_states], 3)
        conductor.wait_for_listeners([ANSWERS], 4)
        for number in range(setting.episodes):
            note(f"live: episode {number + 1} of {setting.episodes}: {conductor.learning.get('last verdict', '')[:60]}")
            ids.append(conductor.play(seconds - 0.5 * spec.control.period, first=number == 0, check=check))
            _settle(conductor, check)
            ran.append({**conductor.learning, **conductor.status})
        conductor.transition("deactivate")
    return folder / "bag", ids, ran


def _settle(conductor: Conductor, check: Callable[[], None]) -> None:
    """Waits until the trainer has seen the episode, and no training is under way."""
    conductor.wait(_SEES, check)
    conductor.learning.clear()

    def at_rest() -> bool:
        check()
        return conductor.learning.get("state") == "collecting"

    conductor.wait_until(at_rest, _TRAINS, "the trainer does not come to rest")


def _unlearned(life: Life, bundle: str, folder: Path) -> list[float]:
    """Returns of the episodes after the change under the bundle that was in use when it came."""
    file = folder / "changed.yaml"
    write_file(file, yaml.safe_dump({"format": 1, "changes": [{"at": 0.0, **life.change}]}))
    setting = replace(life.setting, first=life.setting.first + life.before, episodes=life.after, changes=file)
    task = TaskFunction(load_robot(setting.robot), setting.task)
    return [score(trial, task, setting.seconds).total for trial in alone(Path(bundle), setting)]


def life_of(robot: str, bundle: Path, seed: int) -> Life:
    """The life of a robot of ``CHANGES`` on the foreign plant."""
    manifest = load(bundle, robot=robot).manifest
    name, change = CHANGES[robot]
    duration = load_robot(robot).task(manifest.task).duration
    return Life(bundle, Lockstep(robot, manifest.task, duration, 0, BEFORE + AFTER, "mujoco", seed), name, change)
