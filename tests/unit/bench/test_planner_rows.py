"""`forerun bench planner`: what is compared is the same decision, and what fails is told."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from forerun.bench import planner
from forerun.bench.planner_baselines import StepLoop
from forerun.bench.planner_children import Failed, run_part
from forerun.bench.planner_products import Products, fastest
from forerun.bench.planner_row import Act
from forerun.bench.planner_sizes import PETS, SIZES, Size, make_case
from forerun.bench.records import Options
from forerun_models.export.export import act_onnx

TINY = Size("tiny", hidden=16, members=3, samples=24, horizon=4, iterations=2)


@pytest.mark.parametrize(
    "size",
    [
        TINY,
        Size("arm", state=14, actions=7, hidden=16, samples=24, horizon=4, iterations=2, history=3),
        Size("pets", members=3, hidden=16, samples=24, horizon=4, iterations=2, planner={**PETS, "elites": 5}),
        Size("cartpole", robot="cartpole"),
    ],
    ids=lambda size: size.name,
)
def test_the_loop_of_step_graphs_decides_what_the_one_graph_decides(size: Size, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    case = make_case(size, tmp_path)
    inputs = {name: tensor.numpy() for name, tensor in case.inputs.items()}
    inputs |= {"elapsed": np.array([0.01], np.float32), "delay": np.array([0.004], np.float32)}
    inputs |= {
        name: 0.2 * np.random.default_rng(0).standard_normal(value.shape, dtype=np.float32)
        for name, value in inputs.items()
        if name.startswith("carry_")
    }
    whole = Act(act_onnx(case.planner, case.history), 1)(inputs)
    stepped = StepLoop(case.planner, case.spec, case.recipe.task, 1)(inputs)
    for name, value in stepped.items():
        np.testing.assert_allclose(value, whole[name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_products_are_those_of_the_network(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    case = make_case(TINY, tmp_path)
    products = Products.of(case.planner, case.model)
    inputs = case.model.features.size
    weights = inputs * 16 + 16 * 16 + 16 * 4 + inputs * 4
    assert products.flops == 2 * 3 * 4 * sum(case.planner.populations) * weights
    works = products.works(1)
    for work in works.values():
        work()
    assert fastest({name: float(number) for number, name in enumerate(works, 1)}) == (1.0, 3.0)


def test_a_part_that_takes_too_long_or_fails_is_told_in_the_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(planner, "SIZES", (Size("impossible", state=4, actions=3, planner={"kind": "mppi"}),))
    monkeypatch.setattr(planner, "THREADS", (1,))
    (row,) = planner.measure(Options((0,), tmp_path, tmp_path)).rows
    assert row["row"] == "impossible" and "p50_ms" not in row
    assert "speed exit code 1" in str(row["failed"])
    job: dict[str, Any] = {"part": "speed", "size": asdict(SIZES[0]), "seed": 0}
    with pytest.raises(Failed, match=r"timeout after 0\.2 s"):
        run_part(job, tmp_path, 0.2)


def test_shares_and_times_are_positive_and_the_sizes_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(planner, "SIZES", (TINY,))
    monkeypatch.setattr(planner, "TICKS", {**planner.TICKS, "ticks": 3, "compare_seconds": 0.1})
    monkeypatch.setattr(planner, "LIMITS", {**planner.LIMITS, "compiled": 0.5})
    rows = planner.measure(Options((0,), tmp_path, tmp_path)).rows
    assert [row["threads"] for row in rows] == [1, 2]
    for row in rows:
        for name in ("p50_ms", "p999_ms", "cpu_ms", "share_of_matmul", "share_of_matmul_cpu", "times_eager", "times_loop"):
            assert float(row[name]) > 0, name
        assert float(row["peak_memory_mb"]) > 0
        assert (row["hidden"], row["members"], row["samples"], row["ticks"]) == (16, 3, 24, 3)
        assert row["failed"] == "compiled whole timeout after 0.5 s; compiled timeout after 0.5 s"


def test_the_table_spans_what_it_promises() -> None:
    plain = [size for size in SIZES if size.robot is None]
    for name, least, most in (("state", 4, 24), ("actions", 1, 7), ("members", 5, 7), ("hidden", 64, 256), ("samples", 32, 512)):
        values = [getattr(size, name) for size in plain]
        assert (min(values), max(values)) == (least, most), name
