"""The drives of all joints in one physics step, on plain floats.

``_drives.c`` is the same, to the last bit, and takes a tenth of the time. It is used where a compiler built it (``compiled``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat

from forerun_sim.actuators.parts import Figures, Gear, Losses

JointRow = Sequence[float]
"""State of one joint: position, velocity, and whatever the engine adds."""
Part = tuple[int, Sequence[float]]
"""For how many physics steps a command [A] counts."""
Moving = tuple[float, float, float | None]
"""What a drive remembers: effort of its motor, lead of its rotor, and the rotor's speed while it crosses the play."""


class Drives:
    """The drives of ``figures`` [A] from step to step; ``step`` is the physics step [s]. Motors begin without effort."""

    def __init__(self, figures: Sequence[Figures], step: float) -> None:
        self._outputs = [0.0] * len(figures)
        self._lags = any(drive.keep for drive in figures)
        self._forward = [drive.forward for drive in figures]
        self._asked: list[list[float]] = []
        self._held: Sequence[float] = ()
        self._rows: list[tuple[int, float, float, float, float, float, float, Gear | None, Losses | None]] = []
        for drive in figures:
            gear = Gear(drive.half, drive.inertia, step) if drive.half > 0 else None
            losses = Losses(drive.stiction, drive.slow, drive.share) if drive.stiction > 0 or drive.share > 0 else None
            self._rows.append((drive.joint, *drive[2:8], gear, losses))

    def moving(self) -> list[Moving]:
        """What each drive [A] remembers."""
        gears = [row[7] or Gear(0.0, 0.0, 0.0) for row in self._rows]
        return [(output, gear.lead, gear.speed) for output, gear in zip(self._outputs, gears, strict=True)]

    def resume(self, moving: Sequence[Moving]) -> None:
        """Goes on where other drives [A] were; rotors stay within their play."""
        self._outputs = [output for output, _, _ in moving]
        for row, (_, lead, speed) in zip(self._rows, moving, strict=True):
            if row[7] is not None:
                row[7].take(lead, speed)

    def forwarded(self, parts: Sequence[Part], held: Sequence[float]) -> list[Sequence[float]]:
        """Efforts [J] of each step on top of what is ``held`` [J], where they follow from the commands alone (which never exceed
        the joints' limits)."""
        if not self._lags:
            rows: list[Sequence[float]] = []
            for steps, command in parts:
                row = list(held)
                for (index, _, _, _, _, strength, *_), demand in zip(self._rows, command, strict=True):
                    row[index] += strength * demand
                rows += [row] * steps
            return rows
        columns: list[Iterable[float]] = [repeat(effort) for effort in held]
        for slot, (index, _, _, _, keep, strength, *_) in enumerate(self._rows):
            output, column = self._outputs[slot], []
            for steps, command in parts:
                demand = command[slot]
                for _ in range(steps):
                    output = demand + keep * (output - demand)
                    column.append(held[index] + strength * output)
            self._outputs[slot], columns[index] = output, column
        return list(zip(*columns, strict=False))

    def ask(self, parts: Sequence[Part], held: Sequence[float]) -> None:
        """What ``effort`` goes by in the steps from now on: what the interfaces forward of the commands, and what is ``held`` [J]
        besides."""
        self._asked, self._held = [], held
        for steps, command in parts:
            self._asked += [[share * value for share, value in zip(self._forward, command, strict=True)]] * steps

    def effort(self, ahead: int, rows: Sequence[JointRow]) -> list[float]:
        """Effort of the motors [J] in step ``ahead`` of those asked for, from the joints' states at its beginning: what a torque
        sensor would show. To be asked once for each step, in turn."""
        # The motor's law, curve and lag stand here in full: a call for each of twelve joints would cost as much as a third of the
        # physics.
        produced, outputs = list(self._held), []
        for forwarded, output, drive in zip(self._asked[ahead], self._outputs, self._rows, strict=True):
            index, stiffness, damping, limit, keep, strength, no_load_speed, gear, losses = drive
            row = rows[index]
            position = row[0]
            speed = felt = row[1]
            if gear is not None:
                position += gear.lead
                felt = speed if gear.speed is None else gear.speed
            demand = forwarded - stiffness * position - damping * felt
            if no_load_speed and demand * felt > 0:
                limit *= max(0.0, 1.0 - abs(felt) / no_load_speed)
            demand = limit if demand > limit else -limit if demand < -limit else demand
            if keep:
                demand += keep * (output - demand)
            outputs.append(demand)
            passed = strength * demand
            if gear is not None:
                passed = gear.passed(passed, speed)
            produced[index] += passed if losses is None else losses.left(passed, speed)
        self._outputs = outputs
        return produced
