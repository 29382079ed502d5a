"""What rotors, damping and dry friction make of the motors' efforts, step by step, on plain floats; ``bullet_rotors`` says why.

``_rotor_efforts.c`` is the same, to the last bit, and takes a twentieth of the time. It is used where a compiler built it
(``compiled``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from forerun_sim.actuators import JointRow

STALE = 0.1
"""Movement [rad or m] of any joint after which R is made anew."""
Rows = Sequence[Sequence[float]]


class RotorEfforts:
    """``bullet_rotors``' a' = g + R (t - 2 u1 + u2 - D g), u' = t - D a'.

    Args:
        step: physics step dt [s].
        damping: of the joints, d [J].
        rotors: their inertias with the damping that counts as such, D = armature + d dt [J].
        coulomb: the most that dry friction gives [J].
        reach: R [J, J] at positions [J].
        position: where the joints are [J].
    """

    def __init__(
        self,
        step: float,
        damping: Sequence[float],
        rotors: Sequence[float],
        coulomb: Sequence[float],
        reach: Callable[[list[float]], Rows],
        position: Sequence[float],
    ) -> None:
        self._rate = 1.0 / step
        self._damping, self._rotors, self._coulomb = damping, rotors, coulomb
        self._find = reach
        self._at = list(position)
        self._reach = reach(self._at)
        self._stiction = [0.0] * len(self._at)
        self.start(self._stiction, self._stiction)

    def start(self, speeds: Sequence[float], change: Sequence[float]) -> None:
        """The next step follows one that began at ``speeds`` [J], and one before it with the acceleration ``change`` [J]."""
        nothing = [0.0] * len(speeds)
        self._past = [speeds, change, nothing, nothing]
        """Of the step before: speeds at its beginning; the acceleration in the one before it; what was applied in both."""

    def efforts(self, effort: Sequence[float], rows: Sequence[JointRow]) -> list[float]:
        """What to apply [J] for the motors' ``effort`` [J] while the joints are in the states ``rows`` [J]."""
        rate, moved = self._rate, False
        speeds, wanted, changes, speeding, forces = [], [], [], [], []
        for row, at, asked, damping, rotor, rubbing, speed_before, change_before, last, before in zip(
            rows, self._at, effort, self._damping, self._rotors, self._stiction, *self._past, strict=True
        ):
            speed = row[1]
            if row[0] - at > STALE or at - row[0] > STALE:
                moved = True
            change = (speed - speed_before) * rate
            guess = change + change - change_before
            want = asked - damping * speed + rubbing
            speeds.append(speed)
            changes.append(change)
            speeding.append(guess)
            wanted.append(want)
            forces.append(want - last - last + before - rotor * guess)
        if moved:
            self._at = [row[0] for row in rows]
            self._reach = self._find(self._at)
        for joint, gains in enumerate(self._reach):
            reached = 0.0
            for gain, force in zip(gains, forces, strict=True):
                reached += gain * force
            speeding[joint] += reached
        for joint, most in enumerate(self._coulomb):
            if most > 0:
                self._rub(joint, most, speeds[joint] * rate, speeding, wanted)
        applied = [want - rotor * gained for want, rotor, gained in zip(wanted, self._rotors, speeding, strict=True)]
        self._past = [speeds, changes, applied, self._past[2]]
        return applied

    def _rub(self, joint: int, most: float, stopping: float, speeding: list[float], wanted: list[float]) -> None:
        """Dry friction of ``joint``, from that of the last step on: adds its change to the accelerations ``speeding`` [J] and to
        the efforts ``wanted`` [J]. ``stopping`` is the acceleration that stopping within the step would take away."""
        kept = self._stiction[joint]
        found = kept - (stopping + speeding[joint]) / self._reach[joint][joint]
        found = most if found > most else -most if found < -most else found
        if found != kept:
            self._stiction[joint] = found
            change = found - kept
            wanted[joint] += change
            for other, gains in enumerate(self._reach):
                speeding[other] += gains[joint] * change
