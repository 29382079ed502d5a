"""Perceptrons of equal shape as batched matrix products, with their derivatives written out.

An update of soft actor-critic on small networks is mostly overhead: one call per network and layer, a graph of derivatives, an
optimizer's loop over tensors. Here E networks are one product a layer, their parameters lie in one tensor, so that an optimizer
or a moving average is one call, and the backward pass writes into one tensor of gradients. It also leaves out what nobody asks
for: the critics' weight gradients while the policy is improved.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from forerun_models.planners.networks import NORM_EPSILON, perceptron


class Stack:
    """E multilayer perceptrons with ReLU between layers.

    Args:
        members: E.
        sizes: units of input, hidden layers and output.
        generator: draws the first parameters, uniformly within 1 / sqrt(inputs), as torch.nn.Linear does.
        normalised: whether each hidden layer is normalised ahead of its ReLU, over its units (Ba et al. 2016, without weights of
            its own): outputs are then bounded by the last layer's weights, also for inputs far from all that was learned from.

    Attributes:
        parameters: all of them, in one row; ``parameters.grad`` is where ``backward`` writes.
    """

    def __init__(self, members: int, sizes: Sequence[int], generator: torch.Generator, normalised: bool = False) -> None:
        self.members, self.sizes, self.normalised = members, tuple(sizes), normalised
        pairs = list(itertools.pairwise(sizes))
        shapes = [shape for rows, columns in pairs for shape in ((members, rows, columns), (members, 1, columns))]
        counts = [math.prod(shape) for shape in shapes]
        self.parameters = torch.zeros(sum(counts), device=generator.device)
        self.parameters.grad = torch.zeros_like(self.parameters)
        self.weights, self.biases = _views(self.parameters, shapes, counts)
        self._weight_grads, self._bias_grads = _views(self.parameters.grad, shapes, counts)
        for weight, bias, (rows, _) in zip(self.weights, self.biases, pairs, strict=True):
            bound = 1.0 / math.sqrt(rows)
            weight.uniform_(-bound, bound, generator=generator)
            bias.uniform_(-bound, bound, generator=generator)

    def forward(self, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Outputs [E, N, out] of ``inputs`` [E, N, in], and what ``backward`` needs, all [E, N, ...]: what each layer was given,
        and where hidden layers are normalised, for each what was, its means and its inverse deviations."""
        given, hidden = [inputs], inputs
        before: list[Tensor] = []
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = torch.baddbmm(bias, hidden, weight)
            if self.normalised:
                normal = torch.native_layer_norm(hidden, hidden.shape[-1:], None, None, NORM_EPSILON)
                before += [hidden, *normal[1:]]
                hidden = normal[0]
            hidden = hidden.relu_()
            given.append(hidden)
        return torch.baddbmm(self.biases[-1], hidden, self.weights[-1]), given + before

    def module(self, member: int) -> nn.Sequential:
        """One of the perceptrons as a module, which shares no memory with it."""
        made = perceptron(self.sizes, self.normalised)
        layers = [layer for layer in made if isinstance(layer, nn.Linear)]
        for layer, weight, bias in zip(layers, self.weights, self.biases, strict=True):
            layer.load_state_dict({"weight": weight[member].T, "bias": bias[member, 0]})
        return made

    def backward(self, outward: Tensor, given: Sequence[Tensor]) -> None:
        """Sets the gradients of the parameters.

        Args:
            outward: derivatives [E, N, out] of a loss by the outputs.
            given: as ``forward`` gave it.
        """
        for layer in reversed(range(len(self.weights))):
            torch.bmm(given[layer].mT, outward, out=self._weight_grads[layer])
            torch.sum(outward, dim=1, keepdim=True, out=self._bias_grads[layer])
            if layer:
                outward = self._through(layer, outward, given)

    def input_gradient(self, outward: Tensor, given: Sequence[Tensor]) -> Tensor:
        """Derivatives [E, N, in] by the inputs; arguments as of ``backward``, gradients of the parameters stay as they are."""
        for layer in reversed(range(1, len(self.weights))):
            outward = self._through(layer, outward, given)
        return torch.bmm(outward, self.weights[0].mT)

    def _through(self, layer: int, outward: Tensor, given: Sequence[Tensor]) -> Tensor:
        """Derivatives by what comes out of the layer before ``layer``, ahead of its normalisation and its ReLU."""
        # The derivative of ReLU as one pass over the memory: a product with a mask takes five times as long.
        behind = torch.bmm(outward, self.weights[layer].mT)
        passed: Tensor = torch.ops.aten.threshold_backward(behind, given[layer], 0)
        if self.normalised:
            first = len(self.weights) + 3 * (layer - 1)
            hidden, mean, scale = given[first : first + 3]
            wanted, shape = [True, False, False], hidden.shape[-1:]
            passed = torch.ops.aten.native_layer_norm_backward(passed, hidden, shape, mean, scale, None, None, wanted)[0]
        return passed


def _views(row: Tensor, shapes: Sequence[tuple[int, ...]], counts: list[int]) -> tuple[list[Tensor], list[Tensor]]:
    parts = [part.view(shape) for part, shape in zip(torch.split(row, counts), shapes, strict=True)]
    return parts[::2], parts[1::2]
