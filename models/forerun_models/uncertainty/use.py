"""Disagreement of an ensemble, and its three uses: shorter rollouts, lighter transitions, penalised rewards.

All functions take numpy arrays or torch tensors and give back the same kind, differentiable where torch is.
"""

from __future__ import annotations

from typing import Any, TypeVar

Array = TypeVar("Array", bound=Any)
"""A numpy array or a torch tensor."""


def disagreement(members: Array, scale: Array) -> Array:
    """Epistemic spread of an ensemble in standard deviations of the state; the planner's yardstick too.

    Args:
        members: [E, ..., S] predicted states (or rewards and the like) of each member.
        scale: [S] standard deviation of the states (``Features.state_std``, ``metrics["state_std"]`` of a bundle).

    Returns:
        [...] root mean square over the state's dimensions.
    """
    spread: Array = (((members - members.mean(0)) / scale) ** 2).mean(0).mean(-1) ** 0.5
    return spread


def separate(means: Array, variances: Array) -> tuple[Array, Array]:
    """Aleatoric and epistemic variance [..., S] of Gaussian members (law of total variance).

    Args:
        means, variances: [E, ..., S].

    Returns:
        The mean of the members' variances, and the variance of their means; their sum is the variance of the mixture.
    """
    return variances.mean(0), ((means - means.mean(0)) ** 2).mean(0)


def trusted(disagreements: Array, threshold: float) -> Array:
    """Which steps of rollouts to keep (M2AC, Pan et al. 2020; MOReL, Kidambi et al. 2020).

    Args:
        disagreements: [N, H] of imagined rollouts; ``threshold`` is the bundle's, or the like.

    Returns:
        [N, H] bool: True up to the last step before the first one above the threshold; a rollout does not come back.
    """
    kept: Array = (disagreements <= threshold).cumprod(-1) > 0
    return kept


def transition_weights(disagreements: Array, scale: float = 1.0) -> Array:
    """Weight 1 / (1 + disagreement) of each imagined transition in a loss.

    Args:
        disagreements: [...]; ``scale`` is the disagreement that halves a weight.
    """
    weights: Array = 1.0 / (1.0 + disagreements / scale)
    return weights


def penalised(rewards: Array, disagreements: Array, weight: float) -> Array:
    """Rewards [...] less ``weight`` times the disagreement [...] (MOPO, Yu et al. 2020)."""
    lessened: Array = rewards - weight * disagreements
    return lessened
