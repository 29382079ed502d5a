"""torch modules as ONNX graphs."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from forerun_models.dynamics.ensemble import Ensemble

_OPSET = 18


class DynamicsGraph(nn.Module):
    """One step of every elite: the module behind dynamics.onnx."""

    def __init__(self, ensemble: Ensemble):
        super().__init__()
        self.ensemble = ensemble
        self.state_size, self.history = ensemble.state_size, ensemble.features.history

    def forward(self, history: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """history [N, K, S+A], action [N, A] -> mean and log-variance [E, N, S] of the next state, next history [N, K, S+A].

        The last row's command is the one that was under way when its state was measured; ``action`` takes its place.
        """
        size, elites = self.state_size, self.ensemble.elites
        rows = torch.cat([history[:, :-1], torch.cat([history[:, -1:, :size], action[:, None]], dim=2)], dim=1)
        wide = rows.expand(self.ensemble.members, -1, -1, -1)
        mean, log_variance = self.ensemble.step(wide[..., :size].unbind(2), wide[..., size:].unbind(2))
        mean, log_variance = mean[elites], log_variance[elites]
        newest = torch.cat([mean.mean(dim=0), action], dim=1)[:, None]
        return mean, log_variance, torch.cat([rows[:, 1:], newest], dim=1)


def to_onnx(
    module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], batched: Mapping[str, int] | None = None
) -> bytes:
    """``module`` as an ONNX file.

    Args:
        module: its forward takes ``inputs`` in their order.
        inputs: example tensors by name.
        outputs: names of what it returns.
        batched: which dimension of a tensor may have any size, by tensor name.
    """
    axes = {name: {dimension: "N"} for name, dimension in (batched or {}).items()}
    with torch.no_grad(), warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        # The tracing exporter is deprecated, but quick on unrolled graphs, and its successor needs further packages.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            path,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,
        )
        return _compact(path)


def _compact(path: Path) -> bytes:
    """The graph with short names: in an unrolled graph the tracer's long ones weigh more than all weights."""
    model = onnx.load(path)
    graph = model.graph
    kept = {entry.name for entry in (*graph.input, *graph.output)}
    short: dict[str, str] = {"": ""}

    def name(long: str) -> str:
        return long if long in kept else short.setdefault(long, format(len(short), "x"))

    for constant in graph.initializer:
        constant.name = name(constant.name)
    for node in graph.node:
        node.name = ""
        node.input[:] = [name(entry) for entry in node.input]
        node.output[:] = [name(entry) for entry in node.output]
    del graph.value_info[:]
    return bytes(model.SerializeToString())
