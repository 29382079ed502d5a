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
from forerun_models.export.loops import put_loops, rename
from forerun_models.planners.scan import recording

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
    with recording() as loops:
        model = _traced(module, tuple(inputs.values()), list(inputs), list(outputs), axes)
    put_loops(model, loops, lambda loop, given, found: _traced(loop.body, loop.examples, given, found, {}))
    _compact(model)
    return bytes(model.SerializeToString())


def _traced(
    module: nn.Module, examples: tuple[Tensor, ...], inputs: list[str], outputs: list[str], axes: Mapping[str, dict[int, str]]
) -> onnx.ModelProto:
    with torch.no_grad(), warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        # The tracing exporter is deprecated, but quick, and its successor needs further packages.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            examples,
            path,
            input_names=inputs,
            output_names=outputs,
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,
        )
        return onnx.load(path)


def _compact(model: onnx.ModelProto) -> None:
    """Gives the graph short names, as the tracer's may weigh more than all weights, and equal constants the same one."""
    graph = model.graph
    kept = {entry.name for entry in (*graph.input, *graph.output)}
    known: dict[bytes, str] = {}
    first: dict[str, str] = {}
    for constant in graph.initializer:
        long, constant.name = constant.name, ""
        same = known.setdefault(constant.SerializeToString(), long)
        constant.name, first[long] = long, long if long in kept else same
    constants = [constant for constant in graph.initializer if first[constant.name] == constant.name]
    del graph.initializer[:]
    graph.initializer.extend(constants)
    short: dict[str, str] = {}

    def name(long: str) -> str:
        own = first.get(long, long)
        return own if own in kept else short.setdefault(own, format(len(short), "x"))

    rename(graph, name)
