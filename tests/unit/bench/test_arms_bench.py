"""`forerun bench arms`: references, figures and laws of which the answer is known; a row a method."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forerun.bench import arms
from forerun.bench.arms import MOVING, Law, Reference, figures, follow
from forerun.bench.arms_hand import MovingHand, ResolvedRates
from forerun.bench.pieces import Pieces
from forerun.bench.records import Options
from forerun_sim.spec import load_robot

SPEC = load_robot(arms.ROBOT)


def test_a_reference_begins_at_rest_where_the_arm_begins_and_moves_four_joints() -> None:
    one, other = Reference(SPEC, 1), Reference(SPEC, 2)
    assert np.abs(one.velocity(0.0)).max() < 1e-3
    moved = np.ptp([one.position(t) for t in np.arange(0, 8, 0.05)], axis=0)
    assert (moved[list(MOVING)] > 0.1).all() and (np.delete(moved, MOVING) == 0).all()
    assert not np.allclose(one.position(3.0), other.position(3.0))
    assert one.ahead(3.0, 0.1) == pytest.approx(one.position(3.1), abs=0.02)


def test_error_and_lag_are_those_of_a_shifted_motion() -> None:
    reference = Reference(SPEC, 0)
    late = np.array([reference.position(step * 0.02 - 0.1) for step in range(500)])
    found = figures(late, reference, 0.02)
    assert found["lag_ms"] == pytest.approx(100, abs=1) and found["rms_mrad"] > 10


def test_the_servo_lags_and_a_reference_ahead_of_it_does_not() -> None:
    lags = []
    for law in (Law(), Law(lead=0.12)):
        trial, true = follow(SPEC, arms.NOMINAL, law, Reference(SPEC, 0), 4.0, 0)
        assert len(trial) == len(true) == 200
        lags.append(figures(true, Reference(SPEC, 0), 0.02)["lag_ms"])
    assert lags[0] > 60 > lags[1]


def test_each_method_is_a_row_with_its_spread_over_seeds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def methods(arm: arms.Arm) -> dict[str, dict[str, float]]:
        return {"servo alone": {"rms_mrad": 10.0 + arm.seed}, "planner": {"rms_mrad": 5.0, "promoted": 1.0}}

    monkeypatch.setattr(arms, "_methods", methods)
    rows = arms.measure(Options((0, 1, 2), tmp_path, tmp_path, only=(arms.ROBOT,))).rows
    assert [row["method"] for row in rows] == ["servo alone", "planner"]
    assert (rows[0]["rms_mrad_median"], rows[0]["rms_mrad_min"], rows[0]["rms_mrad_max"]) == (11.0, 10.0, 12.0)


def test_a_hand_under_resolved_rates_follows_its_goal_until_a_payload_pulls_at_it(tmp_path: Path) -> None:
    bench = MovingHand(0, Pieces(tmp_path))
    jacobian = bench.hand.jacobian(np.zeros(7))
    assert jacobian[:, 0] == pytest.approx([0.0, 0.088, 0.0], abs=1e-4)  # the flange stands 88 mm off the first joint's axis
    law = ResolvedRates(bench.hand, np.array([0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785]), 0.0, 8.0)
    trial, far = bench.run("bullet", law, 0, 3.0)
    assert len(trial) == 150 and 1e3 * far[120:].max() < 10
    loaded = bench.run("mujoco_urdf", law, 0, 4.0)[1]
    assert loaded[-20:].mean() > 1.5 * far[-20:].mean()
