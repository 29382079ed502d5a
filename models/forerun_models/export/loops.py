"""Puts the loops of an exported graph into their places, as ONNX's Scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx
from onnx import helper

from forerun_models.planners.scan import DOMAIN, Loop

Export = Callable[[Loop, list[str], list[str]], onnx.ModelProto]
"""Makes a graph of a loop's body, with these names of inputs and outputs."""


def put_loops(model: onnx.ModelProto, loops: Sequence[Loop], export: Export) -> None:
    """Changes ``model`` in place, some of whose nodes stand for ``loops``, by number."""
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.domain == DOMAIN:
            number = helper.get_node_attr_value(node, "number")
            nodes += _scan(node, loops[number], f"loop{number}/", export, model.graph)
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = [entry for entry in model.opset_import if entry.domain != DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(used)


def rename(graph: onnx.GraphProto, name: Callable[[str], str]) -> None:
    """Gives all values of ``graph`` and of the graphs in it the names that ``name`` makes of theirs."""
    for entry in (*graph.input, *graph.output, *graph.initializer):
        entry.name = name(entry.name)
    for node in graph.node:
        node.name = ""
        node.input[:] = [name(entry) if entry else "" for entry in node.input]
        node.output[:] = [name(entry) if entry else "" for entry in node.output]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                rename(attribute.g, name)
    del graph.value_info[:]


def _scan(node: onnx.NodeProto, loop: Loop, prefix: str, export: Export, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """What ``node`` stands for, and before it what is the same in all steps."""
    given, fixed = list(node.input), loop.carried + loop.kept
    inputs = [f"in{number}" for number in range(len(given))]
    outputs = [f"out{number}" for number in range(loop.carried + 1)]
    body = export(loop, inputs, outputs).graph
    # A body sees the names of the graph around it, so what stays need not be handed on.
    outer = dict(zip(inputs[loop.carried : fixed], given[loop.carried : fixed], strict=True))
    rename(body, lambda own: outer.get(own, prefix + own))
    graph.initializer.extend(body.initializer)
    del body.initializer[:]
    # Scan tells its body what its inputs are; the tracer drops those that no node reads.
    del body.input[:]
    body.input.extend(onnx.ValueInfoProto(name=prefix + own) for own in (*inputs[: loop.carried], *inputs[fixed:]))
    before = _unvarying(body)
    ends, rows = [f"{prefix}end{number}" for number in range(loop.carried)], given[fixed:]
    scan = helper.make_node(
        "Scan", [*given[: loop.carried], *rows], [*ends, node.output[0]], body=body, num_scan_inputs=len(rows)
    )
    return [*before, scan]


def _unvarying(body: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Takes out of ``body`` the nodes that nothing reaches of what is handed on or given at each step."""
    varying, told = {entry.name for entry in body.input}, {entry.name for entry in body.output}
    inside, outside = [], []
    for node in body.node:
        if varying.intersection(node.input) or told.intersection(node.output):
            varying.update(node.output)
            inside.append(node)
        else:
            outside.append(node)
    del body.node[:]
    body.node.extend(inside)
    return outside
