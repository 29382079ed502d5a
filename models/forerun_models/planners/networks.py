"""A learned value and policy as a robot's planner takes them: networks that read the robot's state and the task's goal.

networks = Networks(policy, critics)             # perceptrons over [state, goal]
make_exportable(model, robot, recipe, value=networks.value, policy=networks.act)
Networks.unpack(networks.pack(), "value.safetensors")
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from forerun_sim.errors import InputError

NORM_EPSILON = 1e-5
"""What is added to variances where layers are normalised."""
FAR = 5.0
"""A value without a policy is shown numbers up to this many of their usual deviations."""


def perceptron(sizes: Sequence[int], normalised: bool = False) -> nn.Sequential:
    """Linear layers of ``sizes`` with ReLU between them, ``normalised`` ahead of it or not."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(before, after)]
        layers += [nn.LayerNorm(after, NORM_EPSILON, elementwise_affine=False)] if normalised else []
        layers += [nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


def reordered(network: nn.Sequential, order: Sequence[int]) -> nn.Sequential:
    """``network``, which is changed to take first the inputs of these numbers; those that ``order`` lacks stay behind them."""
    first = network[0]
    assert isinstance(first, nn.Linear)
    columns = [*order, *range(len(order), first.in_features)]
    first.load_state_dict({"weight": first.weight.detach()[:, columns], "bias": first.bias.detach()})
    return network


class Networks(nn.Module):
    """Value and policy of soft actor-critic, or a value alone.

    Args:
        policy: gives means of actions before tanh, A of them, and A numbers more; None for a value alone.
        critics: values of state, goal and the policy's action, of which the least counts; without a policy of state and goal, and
            their mean counts. Nothing here learns any more.
        turning: numbers of the state that are angles without limits (see ``observed``).

    Attributes:
        shift, scale: the networks are given (what is observed - shift) / scale.
        worth: and their values count so many times.
        possible: the least and the most [2] that a value without a policy says.
    """

    def __init__(self, policy: nn.Sequential | None, critics: Sequence[nn.Sequential], turning: Sequence[int] = ()) -> None:
        super().__init__()
        self.turning: Tensor = nn.Buffer(torch.tensor(turning, dtype=torch.int64))
        self._turning = list(turning)
        self.shift: Tensor = nn.Buffer(torch.zeros(()))
        self.scale: Tensor = nn.Buffer(torch.ones(()))
        self.worth: Tensor = nn.Buffer(torch.ones(()))
        if policy is None:
            self.possible: Tensor = nn.Buffer(torch.tensor([-1.0, 1.0]))
        self.policy, self.critics = policy, nn.ModuleList(critics)
        self.requires_grad_(False)  # a graph takes weights that are to be learned for inputs

    def value(self, state: Tensor, goal: Tensor) -> Tensor:
        """What can still be earned [...] from state [..., S] on, for goal [G]."""
        seen = self._seen(state, goal)
        if self.policy is None:
            seen = torch.clamp(seen, -FAR, FAR)
            said = torch.stack([critic(seen)[..., 0] for critic in self.critics]).mean(dim=0) * self.worth
            return torch.minimum(torch.maximum(said, self.possible[0]), self.possible[1])
        pair = torch.cat([seen, self._action(seen)], dim=-1)
        values = [critic(pair)[..., 0] for critic in self.critics]
        return torch.stack(values).amin(dim=0) * self.worth

    def act(self, state: Tensor, goal: Tensor) -> Tensor:
        """Action [..., A] in [-1, 1] at state [..., S], for goal [G]; there is a policy."""
        return self._action(self._seen(state, goal))

    def _seen(self, state: Tensor, goal: Tensor) -> Tensor:
        return (observed(state, goal, self._turning) - self.shift) / self.scale

    def _action(self, seen: Tensor) -> Tensor:
        assert self.policy is not None
        output: Tensor = self.policy(seen)
        return torch.tanh(output[..., : output.shape[-1] // 2])

    def pack(self) -> bytes:
        """All weights as safetensors."""
        return bytes(save_tensors({name: tensor.contiguous() for name, tensor in self.state_dict().items()}))

    @classmethod
    def unpack(cls, content: bytes, source: str) -> Networks:
        """The networks that ``pack`` packed.

        Raises:
            InputError: not such a file.
        """
        try:
            weights = load_tensors(content)
            count = len({name.split(".")[1] for name in weights if name.startswith("critics.")})
            made = cls(
                _empty(weights, "policy") if any(name.startswith("policy.") for name in weights) else None,
                [_empty(weights, f"critics.{number}") for number in range(count)],
                weights["turning"].tolist(),
            )
            made.shift, made.scale = weights["shift"].clone(), weights["scale"].clone()
            made.load_state_dict(weights)
        except Exception as error:  # safetensors raises a type of its own
            raise InputError(f"{source}: holds no value and policy: {error}") from error
        return made.eval()


def _empty(weights: dict[str, Tensor], name: str) -> nn.Sequential:
    """A perceptron of the sizes that ``weights`` has under ``name``."""
    layers = sorted(int(key.split(".")[-2]) for key in weights if key.startswith(f"{name}.") and key.endswith(".weight"))
    shapes = [weights[f"{name}.{layer}.weight"].shape for layer in layers]
    # A normalisation has no weights, but a place.
    return perceptron([shapes[0][1], *(shape[0] for shape in shapes)], normalised=layers[:2] == [0, 3])


def observed(state: Tensor, goal: Tensor, turning: Sequence[int]) -> Tensor:
    """What the networks see of state [..., S] and goal [..., G] or [G]: the state's numbers, for those that are ``turning`` their
    sines and cosines, and the goal."""
    straight = [number for number in range(state.shape[-1]) if number not in turning]
    angles = state[..., list(turning)]
    parts = [state[..., straight], torch.sin(angles), torch.cos(angles)] if turning else [state]
    # Without a goal there is nothing to join: runtimes disagree about tensors without elements.
    parts += [goal.expand(*state.shape[:-1], -1)] if goal.shape[-1] else []
    return torch.cat(parts, dim=-1) if len(parts) > 1 else state
