"""The live loop without ROS: rows come in, now and then a training runs beside, and what passes the gate is announced.

Of the bundle that runs, the controller's word counts: trainings start from what it runs. What it refuses or goes back from is
noted with its reason, the bundle that runs is announced instead, and a training that started from the other one is stopped.
Where no controller is heard (a bag is replayed), the newest promoted bundle counts as the running one.

Whatever is killed, and when: trials are on the disk within a second (``store``), a training that was under way begins anew, and
what it left half done is removed (``shelf``).
"""

from __future__ import annotations

import fcntl
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from forerun.training.child import Child
from forerun.training.choice import choose, lacking
from forerun.training.collect import Rows
from forerun.training.job import Request
from forerun.training.occasions import Occasions
from forerun.training.shelf import Shelf, verdict_of
from forerun.training.store import SHARES, Store
from forerun_models.bundle import Bundle, load
from forerun_models.recipe import load_recipe
from forerun_sim.errors import ForerunError, InputError
from forerun_sim.files import write_error
from forerun_sim.resources import bundle_folder
from forerun_sim.spec import load_robot

_HEARD = 5.0
"""Seconds for which a word of the controller counts."""
_DECIDES = 90.0
"""Seconds that the controller has to decide about an announced bundle; then training goes on from the one that runs."""
_PATIENCE = (1.0, 600.0)
"""Seconds until a training that failed begins anew: twice as many with each failure, at most the second figure."""


@dataclass(frozen=True)
class Settings:
    """
    Attributes:
        every: seconds of new data after which a training begins in any case.
        piece: seconds of a piece of a trial.
        quota: bytes that all trials may take.
        newest, earlier: seconds of the newest and of all older data that a training takes.
        keep: bundles that are kept.
        cores: that trainings may run on; empty: all.
        step_back: whether trainings give way to everything else on the machine.
        seed: of the trainings.
        finetuning: keys of the recipe's section ``finetuning`` that are to be other than there.
    """

    every: float = 60.0
    piece: float = 10.0
    quota: int = 256 * 2**20
    newest: float = 300.0
    earlier: float = 300.0
    keep: int = 5
    cores: Sequence[int] = ()
    step_back: bool = True
    seed: int = 0
    finetuning: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class _Announced:
    """A bundle that was offered to the controller, at ``since`` on the learner's clock."""

    path: str
    digest: str
    since: float
    adopted: bool = False


class Learner:
    """Not thread-safe; ``poll`` is to be called a few times a second.

    Args:
        folder: for trials and bundles; what is there already is gone on with.
        bundle: the first one: a folder, or the name of a ready one.
        settings: of everything.
        note: told what the user should know.
        announce: told folder and digest of each bundle that is to run.
        clock: in seconds; steady.

    Attributes:
        bundle: from which the next training starts.
        store, occasions: the trials, and when to train.
        error: what went wrong last, empty where nothing did since.

    Raises:
        InputError: the bundle cannot be trained on, or the folder is that of another robot.
        ForerunError: the bundle is damaged, or the folder cannot be written to.
    """

    def __init__(
        self,
        folder: Path,
        bundle: str,
        settings: Settings,
        note: Callable[[str], None] = lambda text: None,
        announce: Callable[[str, str], None] = lambda path, digest: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings, self._note, self._announce, self._clock = settings, note, announce, clock
        self.bundle = _trainable(load(bundle_folder(bundle)))
        train = self.bundle.path / "train"
        self.robot = load_robot(train / "robot")
        training = load_recipe(train / "recipe.yaml", self.robot.name).finetuning.training
        self._shortest = max(*(phase.horizon for phase in training.phases), training.validation_horizon) + 1
        rate = self.robot.control.rate
        if settings.piece * rate < self._shortest:
            raise InputError(
                f"pieces of {settings.piece:g} s are too short: the recipe needs {self._shortest} rows at {rate:g} Hz"
            )
        folder = folder.resolve()
        self._lock = _claim(folder)
        self.store = Store(folder / "trials", self.robot, seconds=settings.piece, quota=settings.quota, note=note)
        self._shelf, self._child = Shelf(folder, settings.keep, note), Child(folder)
        records = self._shelf.records
        since = sum(entry.rows for entry in self.store.entries.values() if entry.number >= records.seen)
        self.occasions = Occasions(round(settings.every * rate), since)
        self._request: Request | None = None
        self._announced: _Announced | None = None
        self._heard = -math.inf
        self._failures, self._not_before, self._began = 0, -math.inf, -math.inf
        self._unusable = self.error = self._verdict = ""
        self._reason = "none yet"
        if records.training:
            # Its verdict may have come when nobody looked any more.
            self._take_verdict()
        self._asked = records.training
        self._return_to_newest()
        self.occasions.watch(self.bundle)

    def add(self, part: Rows) -> None:
        """Rows of the live stream: they are stored first, then looked at.

        Raises:
            ForerunError: the disk is full or failed; later rows may find room again.
        """
        self.store.add(part)
        self.occasions.add(part)

    def close(self) -> None:
        """Ends the training under way, which begins anew at the next start, and the piece under way."""
        self._child.kill()
        self.store.close()
        self._lock.close()

    # The controller ----------------------------------------------------------------------------------------------------

    def controller(self, digest: str, path: str, refused: str, disagreement: float) -> None:
        """What the controller says of itself: the bundle that it runs, why it refused the last one (or an empty text), and how
        much the members of its model disagree about its plan."""
        self._heard = self._clock()
        self.occasions.plan(disagreement)
        announced = self._announced
        if announced is not None and digest == announced.digest:
            announced.adopted = True
        elif announced is not None and (announced.digest[:12] in refused or announced.path in refused):
            self._send_back(announced, refused, path, digest)
        elif announced is not None and announced.adopted:
            self._send_back(announced, f"the controller went back to {digest[:12]}", path, digest)
        if digest not in (self.bundle.digest, self._unusable):
            self._follow(path, digest)

    @property
    def _controlled(self) -> bool:
        return self._clock() - self._heard < _HEARD

    @property
    def _undecided(self) -> bool:
        announced = self._announced
        waits = announced is not None and not announced.adopted and self._clock() - announced.since < _DECIDES
        return waits and self._controlled

    def _send_back(self, announced: _Announced, reason: str, path: str, digest: str) -> None:
        self._note(f"the controller does not run {announced.path}: {reason}")
        try:
            self._shelf.send_back(announced.digest, reason, (path, digest))
        except ForerunError as error:
            self._complain(str(error))
        self._offer(path, digest)

    def _offer(self, path: str, digest: str) -> None:
        self._announced = _Announced(path, digest, self._clock())
        self._announce(path, digest)

    def _follow(self, path: str, digest: str) -> None:
        """Trainings start from this bundle from now on."""
        try:
            self.bundle = _trainable(load(path, robot=self.robot.name, sha256=digest))
        except ForerunError as error:
            self._unusable = digest
            self._complain(f"the running bundle cannot be trained on: {error}")
            return
        self.occasions.watch(self.bundle)
        if self._child.running and self._request is not None and self._request.sha256 != digest:
            self._child.kill()
            self._asked = f"the training before started from {self._request.sha256[:12]}, which does not run any more"

    # Trainings ---------------------------------------------------------------------------------------------------------

    def ask(self) -> tuple[bool, str]:
        """Somebody wants a training now; whether it will begin, and why not."""
        if self._child.running:
            return False, f"a training is under way: {self._reason}"
        if reason := lacking(self.store.entries, self._shortest):
            return False, reason
        self._asked, self._not_before = "asked for", -math.inf
        return True, "a training begins"

    @property
    def phase(self) -> str:
        """``collecting``, ``training`` or ``judging``."""
        return str(self._child.progress().get("phase", "training")) if self._child.running else "collecting"

    def poll(self) -> None:
        """Begins trainings, and takes what came of them."""
        if self._child.running:
            ended = self._child.ended()
            if ended is not None and not self._take_verdict():
                self._failed(ended)
            return
        reason = self._asked or self.occasions.reason()
        ready = not self._undecided and self._clock() >= self._not_before
        if reason and ready and not lacking(self.store.entries, self._shortest):
            self._begin(reason)

    def _begin(self, reason: str) -> None:
        settings, rate, entries = self.settings, self.robot.control.rate, self.store.entries
        try:
            out = self._shelf.begin(reason)
            self._request = Request(
                parent=str(self.bundle.path.resolve()),
                sha256=self.bundle.digest,
                store=str(self.store.folder),
                pieces=choose(entries, round(settings.newest * rate), round(settings.earlier * rate)),
                out=str(out),
                verdict=str(verdict_of(out)),
                progress=str(self._child.progress_file),
                finetuning=dict(settings.finetuning),
                seed=settings.seed + self._shelf.records.generation,
                cores=list(settings.cores),
                step_back=settings.step_back,
                reason=reason,
                starter=os.getpid(),
            )
            self._child.start(self._request)
        except (OSError, ForerunError) as error:
            self._failed(f"no training could be started: {error}")
            return
        self._reason, self._asked, self._began = reason, "", self._clock()
        self._shelf.records.seen = max(entries) + 1
        self.occasions.trained()
        self._note(f"training {out.name} from {self.bundle.digest[:12]}: {reason}")

    def _take_verdict(self) -> bool:
        """Whether the newest training came to one; a promoted bundle is announced."""
        try:
            verdict = self._shelf.verdict()
            if verdict is None:
                return False
            self._failures, self.error = 0, ""
            self._verdict = f"{'promoted' if verdict['promoted'] else 'not promoted'}: {verdict['reason']}"
            self._note(f"{self._shelf.newest.name}: {self._verdict}")
            current = self._shelf.records.current
            if verdict["promoted"] and current is not None:
                self._offer(*current)
                if not self._controlled:
                    self._follow(*current)
            self._shelf.write()
            self._shelf.prune(self.bundle.path)
        except ForerunError as error:
            self._complain(str(error))
        return True

    def _return_to_newest(self) -> None:
        """The newest promoted bundle that was not sent back is announced again, or the one before it, where there is one."""
        for known in (self._shelf.records.current, self._shelf.records.before):
            if known is not None:
                try:
                    self.bundle = _trainable(load(known[0], robot=self.robot.name, sha256=known[1]))
                except ForerunError as error:
                    self._complain(f"{error}; the one before it is gone on with")
                    continue
                self._offer(*known)
                return

    def _failed(self, reason: str) -> None:
        self._failures += 1
        wait = min(_PATIENCE[0] * 2.0 ** (self._failures - 1), _PATIENCE[1])
        self._not_before = self._clock() + wait
        self._asked = self._asked or self._shelf.records.training
        self._complain(f"{reason}; it begins anew in {wait:g} s")

    def _complain(self, text: str) -> None:
        self.error = text
        self._note(text)

    def describe(self) -> dict[str, object]:
        """For diagnostics."""
        rate, store, progress, records = self.robot.control.rate, self.store, self._child.progress(), self._shelf.records
        announced = self._announced
        offered = "none"
        if announced is not None:
            offered = f"{announced.digest[:12]}: {'runs' if announced.adopted else 'does not run yet'}"
        return {
            "state": self.phase,
            "epoch": f"{progress['epoch']} of {progress['of']}" if "epoch" in progress else "none",
            "training for [s]": self._clock() - self._began if self._child.running else 0.0,
            "data [s]": (store.rows() + store.unfinished) / rate,
            **{f"data to {role} [s]": store.rows(role) / rate for role in SHARES},
            "data since the last training [s]": self.occasions.rows / rate,
            "pieces of trials": len(store.entries),
            "bytes of trials": store.bytes,
            "lacking": lacking(store.entries, self._shortest) or "nothing",
            "reason of the last training": self._reason,
            "last verdict": self._verdict or "none yet",
            "trainings": records.generation,
            "promoted": records.promoted,
            "sent back": len(records.rejected),
            "why the last one was": next(reversed(records.rejected.values()), "none"),
            "bundle": self.bundle.digest,
            "announced": offered,
            "prediction error": self.occasions.error,
            "error": self.error or "none",
        }


def _trainable(bundle: Bundle) -> Bundle:
    """``bundle``, where there is something in it to train on; InputError otherwise."""
    if not bundle.has_model or not (bundle.path / "train" / "weights.safetensors").is_file():
        raise InputError(f"{bundle.path}: holds no model with a train/ folder, which is what the trainer goes on from")
    return bundle


def _claim(folder: Path) -> IO[bytes]:
    """An open file by which no other trainer uses ``folder`` until it is closed or this process ends.

    Raises:
        InputError: another one does, or the folder may not be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("wb")
    except OSError as error:
        raise write_error(folder, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise InputError(f"{folder}: another trainer uses it; give each robot's trainer a folder of its own") from error
    return lock
