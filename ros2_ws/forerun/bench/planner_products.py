"""The matrix products that a planner cannot do without, alone: in torch and as ONNX nodes, in both layouts, as a yardstick."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from forerun_models.dynamics.ensemble import Ensemble
    from forerun_models.planners.sampling import SamplingPlanner

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Products:
    """What one decision multiplies.

    Attributes:
        members: M.
        horizon: H, how often each population is multiplied by all layers.
        populations: sequences (and their particles) of each iteration.
        layers: (inputs, outputs) of each layer, one after another.
        straight: of the linear path beside the layers.
    """

    members: int
    horizon: int
    populations: tuple[int, ...]
    layers: tuple[tuple[int, int], ...]
    straight: tuple[int, int]

    @classmethod
    def of(cls, planner: SamplingPlanner, model: Ensemble) -> Products:
        """Sizes of the networks as they were trained: rows and columns that a planner adds to fold biases are not counted."""
        size = model.state_size
        # Only planners that draw the members' own noise need variances.
        outputs = 2 * size if planner.rollout.aleatoric else size
        layers = [(weight.shape[1], weight.shape[2]) for weight in model.weights]
        layers[-1] = (layers[-1][0], outputs)
        particles = planner.settings.particles
        populations = tuple(count * particles for count in planner.populations)
        return cls(planner.rollout.members, planner.settings.horizon, populations, tuple(layers), (model.features.size, size))

    @property
    def evaluations(self) -> int:
        """Steps of a member's network on one sequence."""
        return self.members * self.horizon * sum(self.populations)

    @property
    def flops(self) -> int:
        """Floating-point operations; a multiplication and an addition are two."""
        return 2 * self.evaluations * sum(before * after for before, after in (*self.layers, self.straight))

    def works(self, threads: int, seed: int = 0) -> dict[str, Callable[[], object]]:
        """Ways to do all products of one decision, by name. torch has as many threads as it was told."""
        random = np.random.default_rng(seed)
        return {
            **{f"bmm_{layout}": self._bmm(layout, random) for layout in ("rows", "columns")},
            **{f"onnx_{layout}": self._onnx(layout, random, threads) for layout in ("rows", "columns")},
        }

    def _bmm(self, layout: str, random: np.random.Generator) -> Callable[[], object]:
        import torch

        shapes = (*self.layers, self.straight)
        calls = []
        for count in self.populations:
            for shape in shapes:
                given, weight, out = (torch.from_numpy(array) for array in _operands(self.members, count, shape, layout, random))
                calls.append((given, weight, out))

        def run() -> None:
            with torch.inference_mode():
                for first, second, out in calls:
                    for _ in range(self.horizon):
                        torch.bmm(first, second, out=out)

        return run

    def _onnx(self, layout: str, random: np.random.Generator, threads: int) -> Callable[[], object]:
        """The horizon's products of a population as one graph; the layers follow one another, steps have inputs of their own."""
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        from forerun.bench.planner_sessions import session

        def name(*parts: object) -> str:
            return "_".join(map(str, parts))

        weights = [_weight(self.members, shape, layout, random) for shape in (*self.layers, self.straight)]
        constants = [numpy_helper.from_array(weight, name("w", number)) for number, weight in enumerate(weights)]
        runs = []
        for count in dict.fromkeys(self.populations):
            nodes: list[onnx.NodeProto] = []
            inputs, outputs = [], []

            def product(given: str, number: int, out: str, nodes: list[onnx.NodeProto] = nodes) -> str:
                pair = [given, name("w", number)] if layout == "rows" else [name("w", number), given]
                nodes.append(helper.make_node("MatMul", pair, [out]))
                return out

            first = self.layers[0][0]
            shape = [self.members, count, first] if layout == "rows" else [self.members, first, count]
            feed: dict[str, Array] = {}
            for step in range(self.horizon):
                given = name("x", step)
                inputs.append(helper.make_tensor_value_info(given, TensorProto.FLOAT, shape))
                feed[given] = random.standard_normal(shape, dtype=np.float32)
                ends = [product(given, len(self.layers), name("s", step))]
                for number in range(len(self.layers)):
                    given = product(given, number, name("y", step, number))
                for end in (*ends, given):
                    outputs.append(helper.make_tensor_value_info(end, TensorProto.FLOAT, None))
            graph = helper.make_graph(nodes, "products", inputs, outputs, constants)
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
            made = session(model.SerializeToString(), threads)
            runs += [(made, feed)] * self.populations.count(count)
        return lambda: [made.run(None, feed) for made, feed in runs]


def _weight(members: int, shape: tuple[int, int], layout: str, random: np.random.Generator) -> Array:
    rows, columns = shape if layout == "rows" else shape[::-1]
    # Small, so that a chain of layers neither overflows nor vanishes.
    weight: Array = (random.standard_normal((members, rows, columns)) / np.sqrt(shape[0])).astype(np.float32)
    return weight


def _operands(
    members: int, count: int, shape: tuple[int, int], layout: str, random: np.random.Generator
) -> tuple[Array, Array, Array]:
    """First and second factor and room for the product, of [members, count, in] and [in, out] or, in columns, transposed."""
    weight = _weight(members, shape, layout, random)
    before, after = shape
    if layout == "rows":
        given = random.standard_normal((members, count, before), dtype=np.float32)
        return given, weight, np.empty((members, count, after), np.float32)
    given = random.standard_normal((members, before, count), dtype=np.float32)
    return weight, given, np.empty((members, after, count), np.float32)


def fastest(taken: Mapping[str, float]) -> tuple[float, float]:
    """Seconds of the faster layout in torch and in ONNX, of what ``works`` took."""
    return tuple(min(taken[f"{kind}_{layout}"] for layout in ("rows", "columns")) for kind in ("bmm", "onnx"))  # type: ignore[return-value]
