"""One row of the planner's table, measured in a process of its own: ``python -m forerun.bench.planner_row JOB RESULT``.

JOB is a JSON file of {part, size, threads, ...}; the figures are written to RESULT. A process of its own keeps one row's threads,
memory and compiled code from another's, and can be stopped when it takes too long.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from forerun.bench.planner_sessions import session
from forerun.bench.timing import Times, once, turns

if TYPE_CHECKING:
    import torch

    from forerun.bench.planner_sizes import Case

Figures = dict[str, Any]
_AGREEMENT = 1e-3
"""Of commands in [-1, 1] and of returns relative to them, in the median over inputs: rounding may swap equally good elites."""


def speed(job: Mapping[str, Any], folder: Path) -> list[Figures]:
    """Ticks of act.onnx, and in turns with it bare products, eager torch and a loop of step graphs.

    Leaves act.onnx in ``folder``. Returns one entry per number of threads.
    """
    import torch

    from forerun.bench.planner_baselines import StepLoop
    from forerun.bench.planner_plain import plain_planner
    from forerun.bench.planner_products import Products, fastest
    from forerun_models.export.export import act_onnx

    case = _case(job, folder)
    plain = plain_planner(case.planner, case.model)
    products, content = Products.of(case.planner, case.model), act_onnx(case.planner, case.history)
    (folder / "act.onnx").write_bytes(content)
    inputs, rows = {name: tensor.numpy() for name, tensor in case.inputs.items()}, []
    for threads in job["threads"]:
        torch.set_num_threads(threads)
        act, loop = Act(content, threads), StepLoop(case.planner, case.spec, case.recipe.task, threads)
        eager = _eager(case.planner, case.inputs)
        _agree(case, plain, act, loop, job["seed"])
        works: dict[str, Callable[[], object]] = {"act": partial(act, inputs), "eager": eager, "loop": partial(loop, inputs)}
        works |= products.works(threads, job["seed"])
        works |= {"plain": _eager(plain, case.inputs)} if plain is not None else {}
        taken = turns(works, _repeats(works, job["compare_seconds"], 3, 40))
        ticks = _ticks(act, inputs, case.spec.control.period, job)
        wall = {name: float(np.median(times.wall)) for name, times in taken.items()}
        cpu = {name: float(np.median(times.cpu)) for name, times in taken.items()}
        bare, bare_cpu = fastest(wall), fastest(cpu)
        p50, p99, p999 = (float(value) for value in np.percentile(ticks.wall, (50, 99, 99.9)))
        rows.append(
            {
                "threads": threads,
                **_sizes(case),
                "p50_ms": _ms(p50),
                "p99_ms": _ms(p99),
                "p999_ms": _ms(p999),
                "cpu_ms": _ms(np.median(ticks.cpu)),
                "ticks": len(ticks.wall),
                "evaluations_per_s": round(products.evaluations / p50),
                "gflops": round(products.flops / p50 / 1e9, 1),
                "bmm_gflops": round(products.flops / bare[0] / 1e9, 1),
                "onnx_matmul_gflops": round(products.flops / bare[1] / 1e9, 1),
                "share_of_matmul": round(min(bare) / wall["act"], 3),
                "share_of_matmul_cpu": round(min(bare_cpu) / cpu["act"], 3),
                **_against("eager", wall, cpu),
                **_against("plain", wall, cpu),
                **_against("loop", wall, cpu),
            }
        )
    return rows


def _against(name: str, wall: Mapping[str, float], cpu: Mapping[str, float]) -> Figures:
    if name not in wall:
        return {}
    times = {f"times_{name}": round(wall[name] / wall["act"], 2), f"times_{name}_cpu": round(cpu[name] / cpu["act"], 2)}
    return {f"{name}_ms": _ms(wall[name]), **times}


def _sizes(case: Case) -> Figures:
    """S, A, M and the like, as the planner has them."""
    planner, settings, model = case.planner, case.recipe.planner, case.recipe.model
    return {
        "state": planner.state_size,
        "action": planner.action_size,
        "members": planner.rollout.members,
        "hidden": model.hidden,
        "layers": model.layers,
        "samples": settings.samples,
        "particles": settings.particles,
        "horizon": settings.horizon,
        "iterations": settings.iterations,
        "history": case.history,
    }


def compiled(job: Mapping[str, Any], folder: Path) -> list[Figures]:
    """torch.compile of the planner (``whole``), or of its step alone, in turns with act.onnx; one entry per number of threads.

    Compiled once, for any number of threads.
    """
    import torch
    from torch._inductor import config

    config.cpp.dynamic_threads = True
    case = _case(job, folder)
    planner = case.planner
    torch.set_num_threads(max(job["threads"]))
    with torch.inference_mode():
        expected = planner(*case.inputs.values())[0]
    began = time.perf_counter()
    run: Any = planner
    if job["whole"]:
        run = torch.compile(planner)
    else:
        planner.rollout.step = torch.compile(planner.rollout.step)  # type: ignore[method-assign]
    compiled_run = _eager(run, case.inputs)
    found = compiled_run()[0]
    seconds = round(time.perf_counter() - began, 1)
    if float((found - expected).abs().max()) > _AGREEMENT * float(planner.half_range.max()):
        raise RuntimeError("torch.compile's plan is not the planner's")
    content, inputs = (folder / "act.onnx").read_bytes(), {name: tensor.numpy() for name, tensor in case.inputs.items()}
    rows = []
    for threads in job["threads"]:
        torch.set_num_threads(threads)
        act = Act(content, threads)
        works: dict[str, Callable[[], object]] = {"act": partial(act, inputs), "compiled": compiled_run}
        taken = turns(works, _repeats(works, job["compare_seconds"] / 2, 3, 40))
        wall = {name: float(np.median(times.wall)) for name, times in taken.items()}
        cpu = {name: float(np.median(times.cpu)) for name, times in taken.items()}
        rows.append(
            {
                "compiled": "whole" if job["whole"] else "step",
                "compile_s": seconds,
                "compiled_ms": _ms(wall["compiled"]),
                "times_compiled": round(wall["compiled"] / wall["act"], 2),
                "times_compiled_cpu": round(cpu["compiled"] / cpu["act"], 2),
            }
        )
    return rows


def memory(job: Mapping[str, Any], folder: Path) -> list[Figures]:
    """How much a process that has numpy and ONNX Runtime grows at most by loading and running act.onnx [MB]."""
    rows = []
    for threads in job["threads"]:  # one, as the peak does not come down again
        before = _resident()
        act = Act((folder / "act.onnx").read_bytes(), threads)
        inputs = {entry.name: np.zeros(entry.shape, np.float32) for entry in act.session.get_inputs()}
        for _ in range(10):
            act(inputs)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        rows.append({"peak_memory_mb": round((peak - before) / 1e6, 1)})
    return rows


class Act:
    """act.onnx as the controller runs it."""

    def __init__(self, content: bytes, threads: int):
        self.session = session(content, threads)
        self._names = [entry.name for entry in self.session.get_inputs()]
        self.outputs = [entry.name for entry in self.session.get_outputs()]

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs by name; inputs that this planner does not read may be there."""
        results = self.session.run(self.outputs, {name: inputs[name] for name in self._names})
        return dict(zip(self.outputs, results, strict=True))


def _resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _case(job: Mapping[str, Any], folder: Path) -> Case:
    from forerun.bench.planner_sizes import Size, make_case

    return make_case(Size(**job["size"]), folder, job["seed"])


def _eager(module: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> Callable[[], Any]:
    import torch

    def run() -> Any:
        with torch.inference_mode():
            return module(*inputs.values())

    return run


def _agree(
    case: Case,
    plain: torch.nn.Module | None,
    act: Act,
    loop: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    seed: int,
) -> None:
    """The decisions that are compared are the same: of eager torch, folded and plain, of the loop and of the graph."""
    import torch

    from forerun_models.export.export import act_inputs, act_outputs

    planner, generator = case.planner, torch.Generator().manual_seed(seed + 1)
    modules = {"eager torch": planner} | ({"plain eager torch": plain} if plain is not None else {})
    apart: dict[str, list[float]] = {name: [] for name in (*modules, "the loop of step graphs")}
    for _ in range(3):
        given = act_inputs(planner, 0.3 * torch.randn(case.inputs["history"].shape, generator=generator), generator)
        inputs = {name: tensor.numpy() for name, tensor in given.items()}
        wanted = act(inputs)
        others = {"the loop of step graphs": loop(inputs)}
        for name, module in modules.items():
            others[name] = dict(zip(act_outputs(planner), (result.numpy() for result in _eager(module, given)()), strict=True))
        for name, other in others.items():
            plan = np.abs((other["plan"] - wanted["plan"]) / planner.half_range.numpy()[:, 0]).max()
            value = np.abs(other["value"] - wanted["value"]).max() / (1 + np.abs(wanted["value"]).max())
            apart[name].append(float(max(plan, value)))
    for name, distances in apart.items():
        if not np.median(distances) < _AGREEMENT:
            raise RuntimeError(f"{name} decides otherwise than act.onnx: {distances}")


def _repeats(works: Mapping[str, Callable[[], object]], seconds: float, least: int, most: int) -> int:
    """How often ``works`` can all be called in that time."""
    began = time.perf_counter()
    for work in works.values():
        work()
    return int(np.clip(seconds / (time.perf_counter() - began), least, most))


def _ticks(act: Act, inputs: Mapping[str, Any], period: float, job: Mapping[str, Any]) -> Times:
    """Decisions one after another, the carry handed on, noise and states new each time."""
    random = np.random.default_rng(job["seed"])
    given = dict(inputs)

    def tick() -> None:
        given.update({name.removeprefix("next_"): value for name, value in act(given).items() if name.startswith("next_")})

    taken: list[tuple[float, float]] = []
    deadline = time.perf_counter() + job["tick_seconds"]
    for number in range(job["warm_up"] + job["ticks"]):
        if len(taken) >= job["least_ticks"] and time.perf_counter() > deadline:
            break
        given["history"] = (0.3 * random.standard_normal(inputs["history"].shape)).astype(np.float32)
        given["noise"] = random.standard_normal(inputs["noise"].shape).astype(np.float32)
        given["elapsed"] = np.array([period if number else 0.0], np.float32)
        times = once(tick)
        if number >= job["warm_up"]:
            taken.append(times)
    return Times(*np.array(taken).T)


def _ms(seconds: float) -> float:
    return round(float(seconds) * 1e3, 3)


PARTS: Mapping[str, Callable[[Mapping[str, Any], Path], list[Figures]]] = {
    "speed": speed,
    "compiled": compiled,
    "memory": memory,
}


def main(job_file: str, result_file: str) -> None:
    """Runs one part and writes its figures."""
    job = json.loads(Path(job_file).read_text())
    figures = PARTS[job["part"]](job, Path(job["folder"]))
    Path(result_file).write_text(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
