"""How well the hand of an arm of velocity servos follows a moving goal, before and after a payload that nobody told of.

Learned from is ``panda_velocity`` in randomized PyBullet, judged by another engine, with drives outside of what was
randomized, and from the middle on with a payload six times the largest. Compared are a planner with the model from
simulation, the same after fine-tuning on a minute of that arm, and resolved rates (Whitney 1969): the damped inverse of the
Jacobian times the goal's velocity and a gain times the hand's distance, which is what a PD controller is to such an arm. All
are told the goal's position and velocity of now; leads and gain are chosen in the nominal simulator.

``rms_mm`` is the distance of the true hand from the goal after the first two seconds, ``loaded_rms_mm`` with the payload.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forerun.bench.arms import Method, Planned, followed, learned, tuned
from forerun.bench.pieces import Pieces
from forerun.control.states import State
from forerun_models.bundle import load
from forerun_sim.changes import Change
from forerun_sim.kinematics import Kinematics
from forerun_sim.plant import Plant
from forerun_sim.spec import RobotSpec, load_robot
from forerun_sim.urdf import robot_urdf

Floats = NDArray[np.float64]

ROBOT = RECIPE = "panda_velocity"
TASK, HAND = "reach", "panda_grasptarget"
FOREIGN, NOMINAL = "mujoco_urdf", "bullet"
DRIVES = Change(at=0.0, times={"coulomb": 2.5, "viscous": 3.0, "servo_damping": 0.6, "delay": 5.0})
PAYLOAD = 0.6
"""kg; simulation trains with 0.1 at most."""
LEADS = (0.0, 0.04, 0.08, 0.12)
GAINS = (2.0, 4.0, 8.0, 12.0, 20.0)
"""Of resolved rates, per second."""
LEARN, JUDGE, CHOOSE = 60.0, 24.0, 8.0
"""Seconds that are learned from, judged by, and of the simulator by which leads and gains are chosen."""
_SETTLED = 2.0
_DAMPING = 0.05
_POSTURE = 0.5


class Path3D:
    """A smooth motion [m] in front of the arm, from where the hand begins: two sines of 0.08 to 0.3 Hz an axis, by ``seed``."""

    def __init__(self, begin: Floats, seed: int) -> None:
        rng = np.random.default_rng([seed, 107])
        self._begin, self._centre = begin, np.array([0.45, 0.0, 0.4])
        self._size = np.array([0.04, 0.12, 0.05]) * rng.uniform(0.6, 1.0, (2, 3))
        self._pace, self._phase = 2 * np.pi * rng.uniform(0.08, 0.3, (2, 3)), rng.uniform(0, 2 * np.pi, (2, 3))

    def position(self, time: float) -> Floats:
        """[3] m, in the frame of the arm's base."""
        share = 0.5 - 0.5 * np.cos(np.pi * min(max(time, 0.0), _SETTLED) / _SETTLED)
        path = self._centre + (self._size * np.sin(self._pace * time + self._phase)).sum(axis=0)
        return np.asarray((1 - share) * self._begin + share * path)

    def velocity(self, time: float) -> Floats:
        """[3] m/s."""
        step = 1e-4
        return (self.position(time + step) - self.position(time - step)) / (2 * step)

    def ahead(self, time: float, lead: float) -> Floats:
        """Where the goal would be ``lead`` [s] later if it went on as it does at ``time``."""
        return self.position(time) + lead * self.velocity(time)


class Hand:
    """Where the hand of the robot is, and how it moves with the joints."""

    def __init__(self, spec: RobotSpec) -> None:
        self._kinematics = Kinematics(robot_urdf(spec).frames(spec.joint_names))

    def at(self, position: Floats) -> Floats:
        """[..., 3] m of joint positions [..., J]."""
        return np.asarray(self._kinematics.point(np, position, HAND))

    def jacobian(self, position: Floats) -> Floats:
        """[3, J] m/rad."""
        step = 1e-5
        moved = self.at(np.vstack([position, position + step * np.eye(len(position))]))
        return np.asarray((moved[1:] - moved[0]).T / step)


@dataclass(frozen=True)
class ResolvedRates:
    """Velocities [J] that bring the hand to a goal ``lead`` [s] ahead with ``gain`` [1/s], and the rest back to its posture."""

    hand: Hand
    posture: Floats
    lead: float
    gain: float

    def __call__(self, time: float, state: State, reference: Any) -> Floats:
        jacobian = self.hand.jacobian(state.position)
        inverse = jacobian.T @ np.linalg.inv(jacobian @ jacobian.T + _DAMPING**2 * np.eye(3))
        wanted = reference.velocity(time) + self.gain * (reference.ahead(time, self.lead) - self.hand.at(state.position))
        home = _POSTURE * (self.posture - state.position)
        return np.asarray(inverse @ wanted + home - inverse @ (jacobian @ home))


class MovingHand:
    """The methods with one ``seed``: of the training in simulation, the goal's motion, and fine-tuning. Pieces are done once."""

    def __init__(self, seed: int, pieces: Pieces) -> None:
        self.spec, self.seed, self._pieces = load_robot(ROBOT), seed, pieces
        self.hand = Hand(self.spec)

    def rates(self) -> ResolvedRates:
        """The law that follows best in the nominal simulator."""
        start = [self.spec.task(TASK).initial_position[name].normal for name in self.spec.joint_names]
        posture = np.array([pair[0] if pair is not None else 0.0 for pair in start])
        laws = [ResolvedRates(self.hand, posture, lead, gain) for lead in LEADS for gain in GAINS]
        return laws[self._best("rates", laws)]

    def lead(self, bundle: Path) -> float:
        """That with which the bundle follows best in the nominal simulator."""
        return LEADS[self._best("lead", [Planned(load(bundle), lead, self.seed) for lead in LEADS])]

    def judged(self, name: str, make: Callable[[], Method]) -> dict[str, float]:
        """Figures of a method on the foreign arm, with a goal whose motion nobody has seen."""

        def work(folder: Path) -> dict[str, Any]:
            far = self._distances(FOREIGN, make(), 2000 + self.seed, JUDGE)
            period = self.spec.control.period
            settled, loaded = round(_SETTLED / period), round(JUDGE / 2 / period)
            return {"rms_mm": _rms(far[settled:loaded]), "loaded_rms_mm": _rms(far[loaded:])}

        return self._pieces.done(f"judged_{name}", work)

    def methods(self) -> dict[str, dict[str, float]]:
        """Figures of each method, in the order in which they ask for more."""
        rates = self.rates()
        self._pieces.done("simulated", lambda folder: learned(self.spec, RECIPE, self.seed, folder))
        bundle = self._pieces.folder("simulated") / "bundle"
        lead = self.lead(bundle)

        def adapt(folder: Path) -> dict[str, Any]:
            trial = self.run(FOREIGN, Planned(load(bundle), lead, self.seed), 3000 + self.seed, LEARN)[0]
            return tuned(bundle, [trial], self.seed, folder)

        verdict = self._pieces.done("tuned", adapt)
        adapted = self._pieces.folder("tuned") / "bundle" if verdict["promoted"] else bundle
        return {
            "resolved rates": {**self.judged("rates", lambda: rates), "lead_ms": 1e3 * rates.lead, "gain": rates.gain},
            "planner, simulated model": {
                **self.judged("simulated", lambda: Planned(load(bundle), lead, self.seed)),
                "lead_ms": 1e3 * lead,
            },
            "planner, fine-tuned model": {
                **self.judged("adapted", lambda: Planned(load(adapted), lead, self.seed)),
                "lead_ms": 1e3 * lead,
                "promoted": float(verdict["promoted"]),
            },
        }

    def _best(self, name: str, methods: Sequence[Method]) -> int:
        def work(folder: Path) -> dict[str, Any]:
            kept = round(_SETTLED / self.spec.control.period)
            found = [_rms(self._distances(NOMINAL, method, 1000 + self.seed, CHOOSE)[kept:]) for method in methods]
            return {"best": int(np.argmin(found)), "rms_mm": found}

        return int(self._pieces.done(f"chosen_{name}", work)["best"])

    def _distances(self, engine: str, method: Method, motion: int, seconds: float) -> Floats:
        return self.run(engine, method, motion, seconds)[1]

    def run(self, engine: str, method: Method, motion: int, seconds: float) -> tuple[Any, Floats]:
        """The trial, and how far [m] the true hand is from its goal at each row."""
        changes = (DRIVES, Change(at=seconds / 2, to={"payload": PAYLOAD})) if engine == FOREIGN else ()
        plant = Plant(self.spec, engine=engine, task=TASK, seed=self.seed, randomize=False, changes=changes)
        try:
            plant.reset(0)
            goal = Path3D(self.hand.at(plant.true_state()[: len(self.spec.joints)]), motion)
            trial, true = followed(plant, method, goal, seconds)
        finally:
            plant.close()
        wanted = np.array([goal.position(row * self.spec.control.period) for row in range(len(true))])
        return trial, np.asarray(np.linalg.norm(self.hand.at(true) - wanted, axis=1))


def _rms(distances: Floats) -> float:
    """[mm]"""
    return float(1e3 * np.sqrt(np.mean(distances**2)))
