"""A busy machine slows all plans: a candidate is refused for its own slowness, not for the machine's."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from forerun_models.bundle import timing
from forerun_models.recipe import Finetuning
from forerun_models.training import gate

BUNDLE = SimpleNamespace(manifest=SimpleNamespace(period=0.01), has_agent=True)


@pytest.mark.parametrize(
    ("candidate", "parent", "passes"),
    [
        ((0.003, 0.006), (0.003, 0.006), True),
        ((0.005, 0.012), (0.005, 0.011), True),  # the machine is busy, and the parent's plans take as long
        ((0.005, 0.012), (0.003, 0.006), False),  # its own slowness
        ((0.008, 0.009), (0.008, 0.009), False),  # half of its plans do not fit, whatever the parent's do
        ((0.005, 0.012), None, False),
    ],
)
def test_the_slowest_plans_are_compared_with_the_parents_of_the_same_moments(monkeypatch, candidate, parent, passes):
    timed = []

    def in_turns(bundles, plans, clock):
        timed.extend(bundles)
        found = [candidate, parent][: len(bundles)]
        return np.array([[usual] * (plans - 4) + [slow] * 4 for usual, slow in found])

    monkeypatch.setattr(gate, "in_turns", in_turns)
    other = SimpleNamespace(manifest=BUNDLE.manifest, has_agent=parent is not None)
    row = gate.in_time(Finetuning(latency=0.7), BUNDLE, other)
    assert (row.passed, len(timed), row.figure) == (passes, 1 if parent is None else 2, candidate[1])
    assert "processor time" in row.text and ("parent's" in row.text) == (parent is not None)


def test_bundles_take_turns_and_each_begins_as_often(monkeypatch):
    order = []

    def decisions(bundle, clock):
        while True:
            order.append(bundle)
            yield float(len(order))

    monkeypatch.setattr(timing, "_decisions", decisions)
    seconds = timing.in_turns(["a", "b"], 3)
    assert "".join(order) == "abbaabba"
    np.testing.assert_array_equal(seconds, [[4.0, 5.0, 8.0], [3.0, 6.0, 7.0]])
