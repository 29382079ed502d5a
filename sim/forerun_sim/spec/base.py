"""What every part of robot.yaml is made of: strict models, numbers with limits, distributions."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Interval = tuple[Finite, Finite]


class Strict(BaseModel):
    """Base of all configuration: unknown keys are refused, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Distribution(Strict):
    """One of ``uniform: [low, high]``, ``log_uniform: [low, high]``, ``normal: [mean, std]``, ``value: x``.

    With ``relative: true`` the sample is a factor of the nominal value, else it is the value itself (SI).
    """

    uniform: Interval | None = None
    log_uniform: Interval | None = None
    normal: Interval | None = None
    value: Finite | None = None
    relative: bool = False

    @model_validator(mode="after")
    def _one_kind(self) -> Distribution:
        given = [kind for kind in ("uniform", "log_uniform", "normal", "value") if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of uniform, log_uniform, normal, value (given: {', '.join(given) or 'none'})")
        for kind in ("uniform", "log_uniform"):
            pair = getattr(self, kind)
            if pair is not None and pair[0] > pair[1]:
                raise ValueError(f"{kind}: the limits are reversed: [{pair[0]}, {pair[1]}]")
        if self.log_uniform is not None and self.log_uniform[0] <= 0:
            raise ValueError("log_uniform: both limits must be above 0")
        if self.normal is not None and self.normal[1] < 0:
            raise ValueError("normal: the standard deviation must not be negative")
        return self

    def at(self, uniform: float, normal: float, nominal: float = 1.0) -> float:
        """The value, in SI units, that follows from a number in [0, 1) or a standard normal one, whichever the kind needs;
        ``nominal`` is used where the distribution is relative."""
        offset, span = self.line
        if self.log_uniform is not None:
            drawn = offset * math.exp(span * uniform)
        else:
            drawn = offset + span * (normal if self.normal is not None else uniform)
        return drawn * nominal if self.relative else drawn

    @property
    def line(self) -> tuple[float, float]:
        """a and b: a sample is a + b x of a number x as ``at`` takes it, or a exp(b x) of a ``log_uniform`` one."""
        if self.uniform is not None:
            return self.uniform[0], self.uniform[1] - self.uniform[0]
        if self.log_uniform is not None:
            return self.log_uniform[0], math.log(self.log_uniform[1] / self.log_uniform[0])
        if self.normal is not None:
            return self.normal
        assert self.value is not None
        return self.value, 0.0

    @property
    def middle(self) -> float:
        """The middle of the distribution, a factor where it is relative."""
        if self.uniform is not None:
            return 0.5 * (self.uniform[0] + self.uniform[1])
        if self.log_uniform is not None:
            return math.sqrt(self.log_uniform[0] * self.log_uniform[1])
        chosen = self.normal[0] if self.normal is not None else self.value
        assert chosen is not None
        return chosen

    def sample(self, rng: np.random.Generator, nominal: float = 1.0) -> float:
        """One value, in SI units; ``nominal`` is used where the distribution is relative."""
        return self.at(rng.random(), rng.standard_normal(), nominal)


ONE, NAMED = "(one for all)", "(one per name)"
"""Tags of the two ways to write a value; they show up in the places of validation errors, and ``validate`` leaves them out."""


def _distribution_or_names(data: Any) -> str:
    names = isinstance(data, dict) and not set(data) & set(Distribution.model_fields)
    return NAMED if names else ONE


def _number_or_names(data: Any) -> str:
    return NAMED if isinstance(data, dict) else ONE


PerName = Annotated[
    Annotated[Distribution, Tag(ONE)] | Annotated[dict[str, Distribution], Tag(NAMED)], Discriminator(_distribution_or_names)
]
"""One distribution for all joints (or links), drawn for each of them, or a distribution per name."""

NumberPerName = Annotated[
    Annotated[NonNegative, Tag(ONE)] | Annotated[dict[str, NonNegative], Tag(NAMED)], Discriminator(_number_or_names)
]
"""One number, not below 0, for all joints, or a number per joint name."""

SignedPerName = Annotated[Annotated[Finite, Tag(ONE)] | Annotated[dict[str, Finite], Tag(NAMED)], Discriminator(_number_or_names)]
"""The same for numbers of either sign."""
