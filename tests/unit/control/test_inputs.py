"""States by name, announcements, and a plant whose commands act when they arrive."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forerun.control.loading import BundleLoader, announced
from forerun.control.simulation import Simulation
from forerun.control.states import StateReader, StateRefused, measured_at
from forerun_models.bundle import Bundle
from forerun_sim.errors import InputError
from support.tiny_bundle import tiny_bundle


def test_joints_are_matched_by_name() -> None:
    reader = StateReader(("a", "b"))
    for names, position in ((["b", "x", "a"], [2.0, 9.0, 1.0]), (["a", "b"], [1.0, 2.0])):
        q, dq = reader.read(names, position, [10 * value for value in position])
        assert q.tolist() == [1.0, 2.0] and dq.tolist() == [10.0, 20.0]


@pytest.mark.parametrize(
    ("names", "position", "velocity", "words"),
    [
        (["a"], [1.0], [1.0], "no joint 'b'; it has: a"),
        ([], [], [], "no joint 'a'; it has: none"),
        (["a", "b"], [1.0, math.nan], [0.0, 0.0], "position of joint 'b' is nan"),
        (["a", "b"], [1.0, 1.0], [math.inf, 0.0], "velocity of joint 'a' is inf"),
        (["a", "b"], [1.0, 1.0], [], "0 velocity values for 2 joints"),
        (["a", "b"], [1.0], [0.0, 0.0], "1 position values for 2 joints"),
    ],
)
def test_message_that_is_no_state_is_refused(names: list[str], position: list[float], velocity: list[float], words: str) -> None:
    with pytest.raises(StateRefused) as caught:
        StateReader(("a", "b")).read(names, position, velocity)
    assert words in str(caught.value)


def test_layout_may_change_between_messages() -> None:
    reader = StateReader(("a", "b"))
    reader.read(["a", "b"], [1.0, 2.0], [0.0, 0.0])
    assert reader.read(["b", "a"], [2.0, 1.0], [0.0, 0.0])[0].tolist() == [1.0, 2.0]


def test_state_counts_from_its_stamp_and_not_from_its_arrival() -> None:
    assert measured_at(100.0, 0.05) == pytest.approx(99.95)
    assert measured_at(100.0, None) == 100.0
    assert measured_at(100.0, -0.001) == 100.0
    with pytest.raises(StateRefused, match="in the future; synchronise the clocks"):
        measured_at(100.0, -0.5)


def test_announcement_names_a_folder_and_a_digest() -> None:
    assert announced('{"uri": "/a b", "sha256": "00"}') == ("/a b", "00")
    assert announced('{"uri": "file:///a%20b"}') == ("/a b", None)


@pytest.mark.parametrize(
    "text", ["", "nonsense", "[]", '{"sha256": "00"}', '{"uri": 3}', '{"uri": "https://x/y"}', "x" * 100_000]
)
def test_announcement_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="bundle"):
        announced(text)


def test_loader_refuses_damaged_bundles_and_goes_on(tmp_path: Path) -> None:
    good, bad = tiny_bundle(tmp_path / "good"), tiny_bundle(tmp_path / "bad")
    content = bytearray((bad / "act.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (bad / "act.onnx").write_bytes(bytes(content))
    accepted: list[Bundle] = []
    refused: list[str] = []
    loader = BundleLoader("cartpole", accepted.append, refused.append)
    for path in (bad, tmp_path / "absent", good):
        before = len(accepted) + len(refused)
        loader.request(str(path), None)
        while len(accepted) + len(refused) == before:
            pass
    loader.close()
    assert "was changed or damaged" in refused[0] and "no such bundle folder" in refused[1]
    assert [bundle.path for bundle in accepted] == [good]


class Recorder:
    """A plant that notes which command acted for how many physics steps."""

    episode = 0

    def __init__(self) -> None:
        self.acted: list[float] = []

    def reset(self, episode: int | None = None) -> Any:
        return None

    def advance(self, command: Any, substeps: int) -> None:
        self.acted += [float(command[0])] * substeps

    def read(self) -> Any:
        return None


def _simulation(held: bool = False, timeout: float = math.inf) -> tuple[Simulation, Recorder]:
    plant = Recorder()
    simulation = Simulation(plant, 0.001, np.array([held]), timeout)
    simulation.begin(1.0, np.zeros(1))
    return simulation, plant


def test_command_acts_from_the_physics_step_in_which_it_arrived() -> None:
    simulation, plant = _simulation()
    simulation.command(1.0035, np.array([1.0]))
    simulation.command(1.0072, np.array([2.0]))
    simulation.advance(1.010)
    assert plant.acted == [0.0] * 3 + [1.0] * 4 + [2.0] * 3
    assert simulation.time == pytest.approx(1.010)


def test_command_that_arrives_between_two_readings_waits_for_none() -> None:
    simulation, plant = _simulation()
    for _ in range(10):
        simulation.advance(simulation.time + 0.02)
    simulation.command(1.2101, np.array([5.0]))
    simulation.advance(1.22)
    assert len(plant.acted) == 220 and plant.acted.index(5.0) == 210


@pytest.mark.parametrize(("held", "after"), [(False, 0.0), (True, 3.0)])
def test_command_that_is_not_renewed_ends(held: bool, after: float) -> None:
    simulation, plant = _simulation(held, timeout=0.01)
    simulation.command(1.0, np.array([3.0]))
    simulation.advance(1.02)
    assert plant.acted[:10] == [3.0] * 10 and plant.acted[12:] == [after] * 8
