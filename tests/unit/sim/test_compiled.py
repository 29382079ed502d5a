"""Compiled inner loops give the numbers of their twins in Python, bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from forerun_sim.actuators import drives
from forerun_sim.actuators.parts import Figures
from forerun_sim.compiled import compiled
from forerun_sim.engines import bullet_steps, rotor_efforts, tree_inertia
from forerun_sim.plant import Plant
from forerun_sim.sensors import encoders
from forerun_sim.spec import load_robot

STEPS = 200
RNG = np.random.default_rng

Drives = compiled("forerun_sim.actuators._drives", drives.Drives)
RotorEfforts = compiled("forerun_sim.engines._rotor_efforts", rotor_efforts.RotorEfforts)
TreeInertia = compiled("forerun_sim.engines._tree_inertia", tree_inertia.TreeInertia)
Encoders = compiled("forerun_sim.sensors._encoders", encoders.Encoders)
TWINS = (
    (Drives, drives.Drives),
    (RotorEfforts, rotor_efforts.RotorEfforts),
    (TreeInertia, tree_inertia.TreeInertia),
    (Encoders, encoders.Encoders),
    (compiled("forerun_sim.engines._bullet_steps", bullet_steps.Steps), bullet_steps.Steps),
)
built = pytest.mark.skipif(any(kind is twin for kind, twin in TWINS), reason="no C compiler was there at installation")


def figures(number: int) -> list[Figures]:
    """Drives of all kinds: servos with play, with a torque-speed curve, with losses, light rotors, some without any of it."""
    rng = RNG(number)

    def some(most: float) -> list[float]:
        return [float(value) for value in rng.uniform(0.1, 1.0, 4) * most * (rng.random(4) < 0.6)]

    rows = zip(some(50.0), some(2.0), some(0.9), some(8.0), some(0.01), some(0.02), some(0.3), some(0.1), some(0.2), strict=True)
    return [
        Figures(2 * slot, 1.0, stiffness, damping, 3.0 + slot, keep, 0.9, top, half, inertia, stiction, slow + 1e-6, share)
        for slot, (stiffness, damping, keep, top, half, inertia, stiction, slow, share) in enumerate(rows)
    ]


def states(rng: np.random.Generator, joints: int) -> list[tuple[float, float]]:
    return [
        (float(position), float(speed))
        for position, speed in zip(rng.normal(0, 0.3, joints), rng.normal(0, 3, joints), strict=True)
    ]


def test_what_was_built_for_another_version_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Older:
        def moving(self) -> None: ...

    monkeypatch.setattr("forerun_sim.errors.Drives", Older, raising=False)
    assert compiled("forerun_sim.errors", drives.Drives) is drives.Drives
    assert compiled("forerun_sim.nowhere", drives.Drives) is drives.Drives


@built
@pytest.mark.parametrize("number", range(8))
def test_drives_are_the_same_bit_by_bit(number: int) -> None:
    rng, held = RNG(100 + number), [0.0, 0.25, 0.0, -0.5, 0.0, 0.0, 0.0]
    pair: list[Any] = [kind(figures(number), 0.002) for kind in (drives.Drives, Drives)]
    for _ in range(STEPS):
        parts = [(2, rng.normal(0, 5, 4).tolist()), (1, rng.normal(0, 5, 4).tolist())]
        for each in pair:
            each.ask(parts, held)
        for ahead in range(3):
            rows = states(rng, 7)
            one, other = (each.effort(ahead, rows) for each in pair)
            assert one == other
            assert pair[0].moving() == pair[1].moving()
    heirs = [kind(figures(number + 1), 0.002) for kind in (drives.Drives, Drives)]
    for each, heir in zip(pair, heirs, strict=True):
        heir.resume(each.moving())
    assert heirs[0].moving() == heirs[1].moving()


@built
@pytest.mark.parametrize("lag", [0.0, 0.7])
def test_efforts_that_follow_from_commands_alone_are_the_same(lag: float) -> None:
    plain = [figure._replace(keep=lag * slot) for slot, figure in enumerate(figures(1))]
    parts = [(3, [1.0, -2.0, 0.5, 0.25]), (1, [0.1, 0.2, 0.3, 0.4]), (4, [-1.0, 1.0, 0.0, 2.0])]
    one, other = ([list(row) for row in kind(plain, 0.002).forwarded(parts, [0.5] * 7)] for kind in (drives.Drives, Drives))
    assert one == other and len(one) == 8


def reach(position: Sequence[float]) -> list[list[float]]:
    """Some symmetric matrix with a heavy diagonal that depends on the positions."""
    joints = len(position)
    mixed = np.sin(np.add.outer(position, position)) * 0.2
    return (mixed + np.eye(joints) * joints).tolist()  # type: ignore[no-any-return]


@built
@pytest.mark.parametrize("joints", [1, 6])
def test_rotors_are_the_same_bit_by_bit(joints: int) -> None:
    rng = RNG(joints)
    damping, rotors, coulomb = (rng.uniform(0.0, most, joints).tolist() for most in (0.1, 0.02, 0.5))
    coulomb[0] = 0.0
    pair: list[Any] = [
        kind(0.002, damping, rotors, coulomb, reach, [0.0] * joints) for kind in (rotor_efforts.RotorEfforts, RotorEfforts)
    ]
    for number in range(STEPS):
        if number % 100 == 50:
            for each in pair:
                each.start([0.1] * joints, [0.2] * joints)
        effort, rows = rng.normal(0, 1, joints).tolist(), states(rng, joints)
        one, other = (each.efforts(effort, rows) for each in pair)
        assert one == other


def tree(rng: np.random.Generator, joints: int) -> tuple[list[list[float]], list[list[float]]]:
    """Joints of both kinds that branch, some named before those above them, and two links of each body."""
    above = [-1, *(int(rng.integers(-1, number)) for number in range(1, joints))]
    name = rng.permutation(joints).tolist()
    frames: list[list[float]] = [[] for _ in name]
    for number, parent in enumerate(above):
        axis = rng.normal(size=3)
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        body, slides = float(name[parent] if parent >= 0 else -1), float(rng.random() < 0.3)
        frames[name[number]] = [body, slides, *(axis / np.linalg.norm(axis)), *rng.normal(0, 0.2, 3), *turn.ravel()]
    links = []
    for body in [*range(-1, joints)] * 2:
        turn, spread = np.linalg.qr(rng.normal(size=(3, 3)))[0], rng.normal(0, 0.1, (3, 3))
        inertia = (spread @ spread.T + 0.01 * np.eye(3))[(0, 1, 2, 0, 0, 1), (0, 1, 2, 1, 2, 2)]
        links.append([float(body), float(rng.uniform(0.1, 2.0)), *turn.ravel(), *rng.normal(0, 0.1, 3), *inertia])
    return [list(map(float, frame)) for frame in frames], [list(map(float, link)) for link in links]


@built
@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("joints", [1, 7])
def test_mass_matrices_are_the_same_bit_by_bit(joints: int, free: bool) -> None:
    rng = RNG(10 + joints)
    pair: list[Any] = [kind(*tree(RNG(joints), joints), free) for kind in (tree_inertia.TreeInertia, TreeInertia)]
    for number in range(20):
        at = rng.normal(0, 1.5, joints).tolist()
        one, other = (each.inverse(at) for each in pair)
        assert one == other
        assert np.linalg.eigvalsh(np.array(one)).min() > 0
        if number % 5 == 0:
            links = 2 * (joints + 1)
            masses, factors, rotors = (rng.uniform(0.5, 1.5, size).tolist() for size in (links, links, joints))
            shifts = rng.normal(0, 0.01, (links, 3)).tolist()
            for each in pair:
                each.load(masses, factors, shifts, rotors)


@built
@pytest.mark.parametrize("differences", ["none", "to the reading before", "to earlier positions"])
@pytest.mark.parametrize("quanta", [(0.0, 0.0), (0.01, 0.3)])
def test_encoders_report_the_same_bit_by_bit(differences: str, quanta: tuple[float, float]) -> None:
    rng, joints = RNG(7), 3
    bias, own = rng.normal(size=joints).tolist(), 2 * joints if differences == "to earlier positions" else joints
    pair: list[Any] = [kind(bias, *quanta, own) for kind in (encoders.Encoders, Encoders)]
    for number in range(STEPS):
        old, new = ((number, states(rng, joints), rng.normal(size=joints).tolist()) for _ in range(2))
        part, slip = float(rng.random()) * (number % 2), 0.002 * (number % 3)
        noise = rng.normal(0, 0.01, 4 * joints).tolist()
        past = rng.normal(size=joints).tolist() if differences == "to earlier positions" else None
        passed = 0.0 if differences == "none" else 0.02
        reports = [np.empty(3 * joints) for _ in pair]
        for each, values in zip(pair, reports, strict=True):
            each.read(values, old, new, part, slip, noise, 0.1, past, passed)
        assert reports[0].tobytes() == reports[1].tobytes()


@built
def test_what_is_no_number_is_refused() -> None:
    driven: Any = Drives(figures(0), 0.002)
    turned: Any = RotorEfforts(0.002, [0.1], [0.1], [0.1], reach, [0.0])
    driven.ask([(2, [1.0] * 4)], [0.0] * 7)
    wrong: list[Callable[[], object]] = [
        lambda: driven.effort(0, [(0.0, "fast")] * 7),
        lambda: driven.ask([(1, [1.0] * 3)], [0.0] * 7),
        lambda: driven.ask([(1, None)], [0.0] * 7),
        lambda: turned.efforts([1.0], [(0.0, None)]),
        lambda: turned.efforts([1.0], []),
    ]
    for call in wrong:
        with pytest.raises(TypeError):
            call()
    driven.ask([(2, [1.0] * 4)], [0.0] * 7)
    with pytest.raises(IndexError):
        driven.effort(2, states(RNG(0), 7))


@built
@pytest.mark.parametrize("robot", ["so101", "husky", "pendulum"])
def test_a_robot_goes_the_same_way_with_and_without(robot: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Position servos with rotors along a chain, velocity servos on wheels that roll, and efforts."""

    def run() -> np.ndarray:
        plant = Plant(load_robot(robot), seed=3)
        try:
            plant.reset(0)
            for command in RNG(0).uniform(-0.5, 0.5, (30, plant.spec.action_size)):
                plant.step(command)
            return plant.true_state()
        finally:
            plant.close()

    quick = run()
    monkeypatch.setattr("forerun_sim.actuators.model._Drives", drives.Drives)
    monkeypatch.setattr("forerun_sim.engines.bullet_rotors._Efforts", rotor_efforts.RotorEfforts)
    monkeypatch.setattr("forerun_sim.engines.mass_matrix._Tree", tree_inertia.TreeInertia)
    monkeypatch.setattr("forerun_sim.sensors.model._Encoders", encoders.Encoders)
    monkeypatch.setattr("forerun_sim.engines.bullet._Steps", bullet_steps.Steps)
    assert (run() == quick).all()
