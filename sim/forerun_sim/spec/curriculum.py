"""How far a plant may come to vary as an agent succeeds, as data: ``curriculum:`` of robot.yaml, or a file of its own."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from forerun_sim.spec.base import Distribution, Interval, Positive, Strict
from forerun_sim.spec.randomization import INITIAL, Randomization

_PARTS = 20
"""Steps from one end of the widest range to the other, where the step is not given."""


class Range(Strict):
    """Where the range of a quantity begins and how far it may go, in the quantity's units, or as a factor of its nominal value
    where ``relative``.

    ``step`` is how far an edge moves at a time, a twentieth of the widest range if absent. With ``log`` values are drawn
    log-uniformly, and an edge moves by the factor ``step``. An edge that begins at its widest place stays there.
    """

    start: Interval
    widest: Interval
    step: Positive | None = None
    relative: bool = False
    log: bool = False

    @model_validator(mode="after")
    def _inside(self) -> Range:
        (low, high), (least, most) = self.start, self.widest
        if low > high or least > most:
            raise ValueError(f"the limits are reversed: start [{low}, {high}], widest [{least}, {most}]")
        if low < least or high > most:
            raise ValueError(f"start [{low}, {high}] is not within widest [{least}, {most}]")
        if self.start == self.widest:
            raise ValueError(f"start is widest already: [{least}, {most}]; a fixed range belongs to randomization")
        if self.log and least <= 0:
            raise ValueError(f"log: widest [{least}, {most}] must be above 0")
        if self.log and self.step is not None and self.step <= 1:
            raise ValueError(f"log: step {self.step} is a factor and must be above 1")
        return self

    @property
    def stride(self) -> float:
        """How far an edge moves: a difference, or a factor with ``log``."""
        least, most = self.widest
        if self.step is not None:
            return self.step
        return float((most / least) ** (1.0 / _PARTS)) if self.log else (most - least) / _PARTS

    def distribution(self, low: float, high: float) -> Distribution:
        """What is drawn between two edges; the value itself where they meet."""
        if low == high:
            return Distribution(value=low, relative=self.relative)
        if self.log:
            return Distribution(log_uniform=(low, high), relative=self.relative)
        return Distribution(uniform=(low, high), relative=self.relative)


class Curriculum(Strict):
    """Automatic domain randomization: which quantities, and when their ranges widen or narrow.

    ``quantities`` are named as in ``randomization`` ("delay", "mass") or with one of its names ("mass.pole", "com.pole").
    An edge is judged by the last ``buffer`` episodes that had their quantity pinned to it: where the share of successes reaches
    the upper of ``thresholds`` the edge moves outwards, where it is no more than the lower one, inwards. ``pinned`` is the share
    of episodes that pin a quantity; the others draw all of them. ``ahead`` episodes are under way at a time, so that as many
    workers are busy; their ranges are those of the moment at which they were drawn. ``task`` is the robot's first if absent.
    """

    quantities: Annotated[dict[str, Range], Field(min_length=1)]
    thresholds: Interval = (0.4, 0.8)
    buffer: Annotated[int, Field(ge=1)] = 10
    pinned: Annotated[float, Field(gt=0, le=1)] = 1.0
    ahead: Annotated[int, Field(ge=1)] = 4
    task: str | None = None

    @model_validator(mode="after")
    def _known(self) -> Curriculum:
        low, high = self.thresholds
        if not 0 <= low < high <= 1:
            raise ValueError(f"thresholds [{low}, {high}]: write two shares of successes, 0 <= lower < upper <= 1")
        for name in self.quantities:
            group, dot, _ = name.partition(".")
            known = Randomization.model_fields
            if group not in known:
                raise ValueError(f"quantities.{name}: no such quantity; there are: {', '.join(known)}")
            if dot and known[group].annotation == (Distribution | None):
                raise ValueError(
                    f"quantities.{name}: '{group}' is one for the whole robot; leave out '.{name.partition('.')[2]}'"
                )
            if dot and group in self.quantities:
                raise ValueError(f"quantities.{name}: '{group}' is there already, for all of them")
            if group == "inertia" and not self.quantities[name].relative:
                raise ValueError(f"quantities.{name}: an inertia is a factor: add 'relative: true'")
            if group in INITIAL and self.quantities[name].relative:
                raise ValueError(f"quantities.{name}: an initial state is no factor: leave out 'relative'")
        return self
