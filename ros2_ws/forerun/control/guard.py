"""The robot's side of the commands: what is let through, and what is sent when they end."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forerun_sim.errors import InputError

INTERFACES = ("effort", "velocity", "position")

Vector = NDArray[np.float64]


class CommandRefused(ValueError):
    """A command that must not reach the robot; the message says why."""


@dataclass(frozen=True)
class Contract:
    """What the robot's side holds commands to, in the order of the actuated joints (SI units).

    Raises:
        InputError: lists of different lengths, an interface that does not exist, limits that are reversed or not finite, or a
            timeout within the period.
    """

    joints: tuple[str, ...]
    interfaces: tuple[str, ...]
    lower: Vector
    upper: Vector
    rate: float
    timeout: float
    topic: str = "commands"

    def __post_init__(self) -> None:
        sizes = {len(self.joints), len(self.interfaces), len(self.lower), len(self.upper)}
        rules = [
            (bool(self.joints), "no joints are given"),
            (len(sizes) == 1, "joints, interfaces, lower and upper must have one entry per actuated joint"),
            (all(kind in INTERFACES for kind in self.interfaces), f"interfaces must be of: {', '.join(INTERFACES)}"),
            (bool(np.isfinite(self.lower).all() and np.isfinite(self.upper).all()), "limits must be finite"),
            (len(sizes) > 1 or bool((self.lower <= self.upper).all()), "limits: lower above upper"),
            (0 < self.rate <= 10_000, "rate must be within (0, 10000] Hz"),
            (1 < self.rate * self.timeout < math.inf, "command_timeout must exceed the control period"),
        ]
        for holds, message in rules:
            if not holds:
                raise InputError(f"guard: {message}")

    @classmethod
    def of_bundle(cls, folder: Path) -> Contract:
        """The contract in a bundle's bundle.json; its other files are not read.

        Raises:
            InputError: there is none, or it lacks something.
        """
        path = folder / "bundle.json"
        try:
            content = json.loads(path.read_text())
            return cls._of_content(content)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except KeyError as error:
            raise InputError(f"{path}: key {error} is missing; export the bundle again") from error
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{path}: is no manifest of a bundle: {error}") from error

    @classmethod
    def _of_content(cls, content: dict[str, Any]) -> Contract:
        actions = content["actions"]
        return cls(
            joints=tuple(str(action["joint"]) for action in actions),
            interfaces=tuple(str(action["interface"]) for action in actions),
            lower=np.array([float(action["scaling"][0]) for action in actions]),
            upper=np.array([float(action["scaling"][1]) for action in actions]),
            rate=float(content["rate"]),
            timeout=float(content["safety"]["command_timeout"]),
            topic=str(content["topics"]["commands"]),
        )

    def groups(self) -> Iterator[tuple[str, list[int]]]:
        """Each interface in use, with the indices of its joints: a forward controller commands one interface."""
        for kind in INTERFACES:
            indices = [index for index, other in enumerate(self.interfaces) if other == kind]
            if indices:
                yield kind, indices


class Guard:
    """Checks commands and knows the one to send when no more come.

    The safe command is no effort, no velocity and the last position. It takes effect at once, as a drive's own watchdog would
    act; the controller, while it lives, leads to its safe action within the slew limit long before.

    Attributes:
        clipped: commands that were brought into the limits.
        refused: commands that were not let through.
    """

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.clipped = 0
        self.refused = 0
        self._held = np.array([kind == "position" for kind in contract.interfaces])
        self._last = np.full(len(contract.joints), np.nan)

    def accept(self, values: Sequence[float]) -> Vector:
        """The command [A] to hand on: ``values`` within the limits.

        Raises:
            CommandRefused: another number of values than joints, or one that is not finite. Such a command does not count: the
                one before acts until it is too old.
        """
        command = np.asarray(values, dtype=np.float64)
        joints = self.contract.joints
        if len(command) != len(joints):
            self.refused += 1
            raise CommandRefused(f"it has {len(command)} values for {len(joints)} joints ({', '.join(joints)})")
        if not np.isfinite(command).all():
            self.refused += 1
            name = joints[int(np.argmin(np.isfinite(command)))]
            raise CommandRefused(f"the value of joint '{name}' is {command[joints.index(name)]}")
        within = np.clip(command, self.contract.lower, self.contract.upper)
        self.clipped += int((within != command).any())
        self._last = within
        return within

    def safe(self) -> Vector:
        """The command [A] when none may act; NaN for a position of which none is known yet."""
        return np.where(self._held, self._last, 0.0)
