"""Settings of a latent world model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from forerun_sim.spec import Strict
from forerun_sim.spec.base import NonNegative, Positive

Count = Annotated[int, Field(ge=1)]


class LatentSettings(Strict):
    """Sizes and losses of an RSSM with its encoder, decoder and heads; the names are those of Hafner et al. (2023).

    ``latent`` is ``categorical`` (``groups`` variables of ``classes`` each, the fraction ``unimix`` uniform) or ``gaussian``
    (``groups`` variables with a standard deviation of at least ``min_std``). ``deter``: size of the recurrent state; ``hidden``
    and ``layers``: of networks on vectors; ``channels``: of the first convolution, doubled by each further one. ``bins`` (odd)
    up to ``symexp(span)`` for rewards.

    Loss: observations under a Gaussian of ``decoder_std`` (on symlog where ``symlog``, for vectors; pixels are between 0 and 1),
    plus ``reward_scale`` and ``continue_scale`` times the heads' losses, plus ``dynamics_scale`` and ``representation_scale``
    times the two halves of the KL, of which ``free_nats`` a step cost nothing.
    """

    latent: Literal["categorical", "gaussian"] = "categorical"
    groups: Count = 16
    classes: Annotated[int, Field(ge=2)] = 16
    unimix: Annotated[float, Field(ge=0, lt=1)] = 0.01
    min_std: Positive = 0.1
    deter: Count = 128
    hidden: Count = 128
    layers: Count = 1
    channels: Count = 16
    bins: Annotated[int, Field(ge=3)] = 255
    span: Positive = 20.0
    symlog: bool = True
    decoder_std: Positive = 1.0
    free_nats: NonNegative = 1.0
    dynamics_scale: NonNegative = 0.5
    representation_scale: NonNegative = 0.1
    reward_scale: NonNegative = 1.0
    continue_scale: NonNegative = 1.0

    @model_validator(mode="after")
    def _odd(self) -> LatentSettings:
        if self.bins % 2 == 0:
            raise ValueError(f"{self.bins} bins: an odd number is needed, so that zero is one of them")
        return self
