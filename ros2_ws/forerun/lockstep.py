"""Episodes in lockstep: simulator, controller and recorder over DDS, each tick waited for: as fast as the planner, repeatable.

Every episode begins with a controller that has forgotten the one before, so that what happens depends on the bundle, the plant
and the episode's number alone, however busy the machine is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forerun.bags import load_trials
from forerun.control.agent import BundlePolicy, drive
from forerun.demo.processes import NodeProcess
from forerun.deployment import Setting, judged
from forerun.domains import own_domain
from forerun.report import Episode
from forerun_models.bundle import Bundle, load
from forerun_sim.changes import load_changes
from forerun_sim.errors import ForerunError
from forerun_sim.plant import Plant
from forerun_sim.spec import load_robot
from forerun_sim.trial import Trial

if TYPE_CHECKING:
    from forerun.nodes.conductor import Conductor

ANSWERS = "controller/command_stamped"
"""Commands with the stamps of the states that they answer: simulated time is all that counts here."""


@dataclass(frozen=True)
class Lockstep:
    """``episodes`` of ``seconds`` each, from number ``first`` on, on the plant of ``robot`` in ``engine``: the nominal one, or
    one drawn for each episode (``randomize``). ``changes`` (a YAML file, ``forerun_sim.changes``) may vary it meanwhile."""

    robot: str
    task: str
    seconds: float
    first: int
    episodes: int
    engine: str = "mujoco"
    seed: int = 0
    changes: Path | None = None
    randomize: bool = False


def play(
    bundle: Path, setting: Lockstep, folder: Path, said: Callable[[int], None] = lambda done: None
) -> tuple[Path, list[Trial]]:
    """Plays the episodes and records them.

    Args:
        bundle: decides.
        setting: what to play.
        folder: for logs and the bag.
        said: told how many episodes are over.

    Returns:
        The bag, and the trial of each episode: the first ``setting.seconds`` that were recorded of it.

    Raises:
        ForerunError: a node died or did not answer, or an episode was not recorded.
    """
    spec = load_robot(setting.robot)
    bag, states = folder / "bag", spec.topics.joint_states
    plant = {"robot": setting.robot, "task": setting.task, "engine": setting.engine, "randomize": setting.randomize}
    seconds = round(setting.seconds / spec.control.period) * spec.control.period
    plant |= {"seed": setting.seed, "episode": setting.first, "episode_seconds": seconds}
    plant |= {"changes": str(setting.changes.resolve())} if setting.changes is not None else {}
    control = {"bundle": str(bundle.resolve()), "seed": setting.seed}
    record = {"uri": str(bag), "robot": setting.robot, "topics": [states, ANSWERS, "trial"]}
    ids = []
    with own_domain(), rig(plant, control, record, folder / "logs") as nodes:
        for number in range(setting.episodes):
            ids.append(nodes.conductor.play(seconds - 0.5 * spec.control.period, first=number == 0, check=nodes.check))
            said(number + 1)
        nodes.conductor.wait(1.0, nodes.check)  # the recorder may be behind
        nodes.conductor.transition("deactivate")
    return bag, recorded(bag, setting, ids)


def deploy(bundle: Path, setting: Setting, episodes: int, folder: Path) -> list[Episode]:
    """Plays the ``episodes`` of a ``setting`` from number 0 on, on the plants of its training.

    Raises:
        ForerunError: as ``play``.
    """
    played = Lockstep(
        setting.robot,
        setting.task,
        setting.duration,
        first=0,
        episodes=episodes,
        engine=setting.engine,
        seed=setting.seed,
        randomize=setting.randomize,
    )
    return judged(play(bundle, played, folder)[1], setting)


def alone(bundle: Path, setting: Lockstep) -> list[Trial]:
    """What ``play`` records, to the last digit, without DDS: the controller's own core on the plant's clock, in this process."""
    spec, changes = load_robot(setting.robot), load_changes(setting.changes) if setting.changes is not None else ()
    plant = Plant(spec, engine=setting.engine, task=setting.task, seed=setting.seed, randomize=setting.randomize, changes=changes)
    found = load(bundle, robot=spec.name)
    try:
        return [_episode(found, plant, setting, setting.first + number) for number in range(setting.episodes)]
    finally:
        plant.close()


def _episode(bundle: Bundle, plant: Plant, setting: Lockstep, number: int) -> Trial:
    policy = BundlePolicy(bundle, setting.seed, plant.spec.control.period)
    source = f"{setting.robot}-{setting.engine}-{setting.seed}-{number}"
    return replace(drive(policy, plant, number, setting.seconds), source=source)


def recorded(bag: Path, setting: Lockstep, ids: Sequence[str]) -> list[Trial]:
    """The trials with these ids of a ``bag`` that ``play`` recorded, each as long as an episode.

    Raises:
        ForerunError: one was not recorded whole.
    """
    spec = load_robot(setting.robot)
    spec = spec.model_copy(update={"topics": spec.topics.model_copy(update={"commands": ANSWERS})})
    found = {str(trial.meta.get("id")): trial for trial in load_trials(bag, spec, note=lambda text: None)}
    rows = round(setting.seconds / spec.control.period)
    short = [name for name in ids if name not in found or len(found[name]) < rows]
    if short:
        raise ForerunError(f"{bag}: trials that were not recorded whole: {', '.join(short)}")
    return [found[name].part(0, rows) for name in ids]


@dataclass(frozen=True)
class Rig:
    """Nodes at work, who drives them, and what raises ForerunError where one of them has died."""

    conductor: Conductor
    check: Callable[[], None]


@contextmanager
def rig(plant: dict[str, Any], control: dict[str, Any], record: dict[str, Any], logs: Path) -> Iterator[Rig]:
    """Simulator, controller and recorder with these parameters, and in lockstep, as processes of their own: the controller
    active, the recorder listening.

    Raises:
        ForerunError: a node died or did not answer; the message has the end of its log.
    """
    from forerun.nodes.conductor import Conductor

    with ExitStack() as stack:
        simulator = stack.enter_context(NodeProcess("simulator", logs, {**plant, "lockstep": True}))
        conductor = stack.enter_context(Conductor())
        controller = stack.enter_context(NodeProcess("controller", logs, {**control, "lockstep": True}))
        recorder = stack.enter_context(NodeProcess("recorder", logs, record))

        def check() -> None:
            for node in (simulator, controller, recorder):
                node.check()

        try:
            conductor.transition("configure")
            conductor.listen(ANSWERS)
            conductor.wait_for_listeners(record["topics"], 2)
            conductor.wait_for_listeners([ANSWERS], 3)  # simulator, recorder and conductor
            conductor.transition("activate")
            yield Rig(conductor, check)
        except ForerunError as error:
            check()
            raise ForerunError(f"{error}\nend of the controller's log:\n{controller.tail()}") from error
