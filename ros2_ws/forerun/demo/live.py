"""The live part of the demo: controller, foreign robot and recorder as processes over DDS, a hot swap in the middle."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forerun.demo.processes import NodeProcess
from forerun.nodes.conductor import Conductor
from forerun_models.bundle import load
from forerun_sim.errors import ForerunError

Say = Callable[[str], None]
_PRIORITY = 20
"""SCHED_FIFO priority of the controller, the simulator's is a little lower; without the right to it a node warns and goes on."""
_TOLERANCE = 1.1
"""``swap.tolerance`` of the controller: what it is if nobody says otherwise."""
_MARGIN = 0.3
"""Seconds that an episode runs longer than its task, so that the recorded trial has all of it."""


@dataclass
class Session:
    """What the live part leaves: ids of the trials before and after, bags, figures of the control loop, the verdict."""

    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    bags: list[Path] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    verdict: dict[str, Any] = field(default_factory=dict)
    swapped: bool = False


@dataclass(frozen=True)
class Plan:
    """What to run: ``episodes`` of ``duration`` [s] before and after fine-tuning, on the robot's plant in ``engine``.

    ``promote_below`` is the recipe's: what the gate lets through, the controller does not refuse for the same reason.
    """

    robot: str
    task: str
    engine: str
    bundle: Path
    tuned: Path
    folder: Path
    seed: int
    episodes: int
    duration: float
    topics: tuple[str, ...]
    promote_below: float


def run_live(plan: Plan, say: Say) -> Session:
    """Episodes with the first bundle, fine-tuning on their bag while the controller goes on, a hot swap, episodes again.

    Raises:
        ForerunError: a node died or did not answer; the message has the end of its log.
    """
    session = Session()
    logs, figures = plan.folder / "logs", plan.folder / "controller.json"
    shared = {"robot": plan.robot, "task": plan.task, "engine": plan.engine, "seed": plan.seed, "randomize": False}
    shared |= {"realtime_priority": _PRIORITY - 5}
    with NodeProcess("simulator", logs, shared) as simulator, Conductor() as conductor:
        settings = {"bundle": str(plan.bundle), "stats_file": str(figures), "seed": plan.seed}
        settings |= {"realtime_priority": _PRIORITY, "swap.tolerance": max(_TOLERANCE, plan.promote_below)}
        with NodeProcess("controller", logs, settings) as controller:

            def check() -> None:
                simulator.check()
                controller.check()

            try:
                conductor.transition("configure")
                with _recorder(plan, logs, "before", session, conductor):
                    conductor.transition("activate")
                    session.before = _episodes(conductor, plan, say, check)
                with _recorder(plan, logs, "after", session, conductor):
                    digest = _finetune(conductor, plan, session, say, check)
                    if digest is not None:
                        session.swapped = _swap(conductor, plan, digest, say)
                        conductor.wait(1.0, check)
                    session.after = _episodes(conductor, plan, say, check)
                conductor.transition("deactivate")
            except ForerunError as error:
                check()
                raise ForerunError(f"{error}\nend of the controller's log:\n{controller.tail()}") from error
    session.figures = json.loads(figures.read_text())
    return session


@contextmanager
def _recorder(plan: Plan, logs: Path, name: str, session: Session, conductor: Conductor) -> Iterator[None]:
    bag = plan.folder / f"bag_{name}"
    with NodeProcess(
        "recorder", logs, {"uri": str(bag), "robot": plan.robot, "topics": list(plan.topics)}, f"recorder_{name}"
    ) as recorder:
        # Beside the recorder, the controller listens to the states, the simulator to the commands, the conductor to the trials.
        conductor.wait_for_listeners(plan.topics, 2)
        yield
        recorder.check()
    session.bags.append(bag)


def _episodes(conductor: Conductor, plan: Plan, say: Say, check: Callable[[], None]) -> list[str]:
    ids = []
    for number in range(plan.episodes):
        ids.append(conductor.next_episode())
        conductor.wait(plan.duration + _MARGIN, check)
        say(f"episode {number + 1} of {plan.episodes}: {conductor.status.get('message', '')}")
    # The last trial ends here, as every other one does: with the beginning of another.
    conductor.next_episode()
    return ids


def _swap(conductor: Conductor, plan: Plan, digest: str, say: Say) -> bool:
    """Offers the fine-tuned bundle at the beginning of an episode, where its shadow has something to predict."""
    conductor.next_episode()
    refused = conductor.offer(plan.tuned, digest)
    if refused:
        say(f"hot swap: the controller keeps the first bundle: {refused}")
    else:
        say("hot swap: the fine-tuned bundle has taken over while the controller was running, after its time as a shadow")
    return not refused


def _finetune(conductor: Conductor, plan: Plan, session: Session, say: Say, check: Callable[[], None]) -> str | None:
    """Fine-tunes in a process of its own, beside the running controller; the new bundle's digest, None if not promoted."""
    verdict = plan.folder / "verdict.json"
    command = [sys.executable, "-m", "forerun.cli.main", "finetune", str(plan.bundle), str(session.bags[0])]
    command += ["--out", str(plan.tuned), "--verdict", str(verdict), "--seed", str(plan.seed), "--threads", "1"]
    say("fine-tuning on the bag just recorded, while the controller goes on")
    with (plan.folder / "logs" / "finetune.log").open("wb") as log:
        process = subprocess.Popen(["nice", "-n", "19", *command], stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            while process.poll() is None:
                conductor.wait(0.2, check)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if not verdict.exists():
        text = (plan.folder / "logs" / "finetune.log").read_text(errors="replace")
        raise ForerunError(f"fine-tuning ended with exit code {process.returncode}:\n{text[-2000:]}")
    session.verdict = json.loads(verdict.read_text())
    say(f"verdict: {session.verdict['reason']}")
    return load(plan.tuned).digest if session.verdict["promoted"] else None
