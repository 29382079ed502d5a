"""torch modules as ONNX graphs."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from forerun_models.dynamics.model import WorldModel

_OPSET = 18


class DynamicsGraph(nn.Module):
    """One step of every elite from a history: the module behind dynamics.onnx."""

    def __init__(self, model: WorldModel):
        super().__init__()
        self.model = model
        self.state_size, self.history = model.state_size, model.features.history
        self.outputs = ("mean", "log_variance", "next_history", *(["memory"] if model.memory_sizes else []))

    def forward(self, history: Tensor, action: Tensor) -> tuple[Tensor, ...]:
        """history [N, K, S+A], action [N, A] -> mean and log-variance [E, N, S] of the next state, next history [N, K, S+A]; of
        models that remember more than a window, also the memory of all members after the step, for advance.onnx.

        The last row's command is the one that was under way when its state was measured; ``action`` takes its place.
        """
        size, model = self.state_size, self.model
        rows = torch.cat([history[:, :-1], torch.cat([history[:, -1:, :size], action[:, None]], dim=2)], dim=1)
        wide = rows.expand(model.members, -1, -1, -1)
        states, actions = wide[..., :size].unbind(2), wide[..., size:].unbind(2)
        mean, log_variance, memory = model.advance(model.begin(states, actions[:-1]), actions[-1])
        mean, log_variance = mean[model.elites], log_variance[model.elites]
        newest = torch.cat([mean.mean(dim=0), action], dim=1)[:, None]
        following = torch.cat([rows[:, 1:], newest], dim=1)
        remembered = [torch.cat(memory[: len(model.memory_sizes)], dim=-1)] if model.memory_sizes else []
        return mean, log_variance, following, *remembered


class AdvanceGraph(nn.Module):
    """One step of every elite from what all members remember: the module behind advance.onnx."""

    outputs = ("mean", "log_variance", "next_memory")

    def __init__(self, model: WorldModel):
        super().__init__()
        self.model = model

    def forward(self, memory: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """memory [members, N, M], action [N, A] -> mean and log-variance [E, N, S] of the next state, and the next memory."""
        model = self.model
        sizes = model.memory_sizes
        parts = model.resumed(tuple(torch.split(memory, list(sizes), dim=-1)))
        mean, log_variance, after = model.advance(parts, action.expand(model.members, -1, -1))
        return mean[model.elites], log_variance[model.elites], torch.cat(after[: len(sizes)], dim=-1)


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
