"""Physics steps in a row: what is applied, PyBullet's three calls, what is seen.

``_bullet_steps.c`` is the same without an interpreter between the calls: a microsecond less a step. It is used where a compiler
built it (``compiled``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from forerun_sim.actuators import JointRow

Rows = Sequence[JointRow]
Efforts = Sequence[float]
Rotors = Callable[[Efforts, Rows], Efforts]


class Steps:
    """The steps of one robot, whose joints are those of its URDF.

    Args:
        command, step, read: PyBullet's setJointMotorControlArray, stepSimulation and getJointStates.
        body, joints, client: what these are asked for.
        mode, nothing: the mode of torques, and the places, speeds and gains that mean nothing in it [J].
        own: takes what belongs to the joints of what belongs to all coordinates; None where there are no others.
        whole, known: of the joints' states, the states of all coordinates, as they are and as they were last seen; None likewise.
    """

    def __init__(
        self,
        command: Callable[..., Any],
        step: Callable[[int], Any],
        read: Callable[..., Rows],
        body: int,
        joints: Sequence[int],
        client: int,
        mode: int,
        nothing: Efforts,
        own: Callable[[Any], Any] | None,
        whole: Callable[[Rows], Rows] | None,
        known: Callable[[Rows], Rows] | None,
    ) -> None:
        self._command, self._step, self._read = command, step, read
        self._about = (body, joints, client)
        self._mode, self._nothing = mode, nothing
        self._own, self._whole, self._known = own, whole, known

    def run(self, efforts: Sequence[Efforts], looked: Sequence[bool], rotors: Rotors | None, turning: bool) -> list[Rows]:
        """A step under each of ``efforts`` [steps, coordinates]; ``rotors`` says what to apply for them, from the states of the
        joints where they are ``turning``. Returns the states after the steps that are ``looked`` at."""
        # Names of arguments would cost half a microsecond a step.
        (body, joints, client), mode, none, own = self._about, self._mode, self._nothing, self._own
        seen: list[Rows] = []
        for effort, look in zip(efforts, looked, strict=True):
            applied = effort if own is None else own(effort)
            if rotors is not None:
                applied = rotors(applied, self._read(body, joints, client) if turning else ())
            self._command(body, joints, mode, none, none, applied, none, none, client)
            self._step(client)
            if look:
                found = self._read(body, joints, client)
                seen.append(found if self._whole is None else self._whole(found))
        return seen

    def serve(
        self, servo: Callable[[int, Rows], Efforts], first: int, rows: Rows, looked: Sequence[bool], rotors: Rotors | None
    ) -> tuple[list[Rows], list[Efforts]]:
        """The same under the efforts that ``servo`` asks for in the steps from number ``first`` on, from the states at the
        beginning of each: ``rows``, then those that follow. Returns the efforts, too."""
        (body, joints, client), mode, none, own = self._about, self._mode, self._nothing, self._own
        seen: list[Rows] = []
        efforts: list[Efforts] = []
        found, last = rows if own is None else own(rows), len(looked) - 1
        for number, look in enumerate(looked):
            effort = servo(first + number, rows)
            efforts.append(effort)
            applied = effort if own is None else own(effort)
            if rotors is not None:
                applied = rotors(applied, found)
            self._command(body, joints, mode, none, none, applied, none, none, client)
            self._step(client)
            if look or number < last:
                found = rows = self._read(body, joints, client)
                if self._whole is not None and self._known is not None:
                    rows = self._whole(found) if look else self._known(found)
                if look:
                    seen.append(rows)
        return seen, efforts
