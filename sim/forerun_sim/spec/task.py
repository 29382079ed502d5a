"""Tasks as data: reward terms on named features, termination, success, goal, initial state."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from forerun_sim.spec.base import Distribution, Finite, Interval, NonNegative, Positive, Strict

FEATURES = ("position", "velocity", "sin", "cos", "command", "link")


def parse_feature(text: str) -> tuple[str, str]:
    """``kind:name`` as (kind, name); for ``link:NAME.x`` and the like the name keeps its axes.

    Raises:
        ValueError: ``text`` is no feature.
    """
    kind, _, name = text.partition(":")
    if kind not in FEATURES or not name:
        kinds = ", ".join(f"{known}:JOINT" for known in FEATURES[:-1])
        raise ValueError(f"'{text}' is no feature; write {kinds}, link:LINK.x|y|z or link:LINK.xx to .zz")
    if kind == "link" and not re.fullmatch(r".+\.[xyz]{1,2}", name):
        ends = "where it is ends in .x, .y or .z, as in link:tip.z, and where its axes point in two such letters"
        raise ValueError(f"'{text}' is no feature; a link's feature that says {ends}, as in link:tip.zx")
    return kind, name


def _checked(text: str) -> str:
    parse_feature(text)
    return text


Feature = Annotated[str, AfterValidator(_checked)]
"""``position:JOINT``, ``velocity:JOINT``, ``sin:JOINT``, ``cos:JOINT``, ``command:JOINT`` (physical units),
``link:LINK.x|y|z`` (origin of the link's frame in the base frame [m], by forward kinematics), ``link:LINK.xx`` to ``.zz`` (how
far an axis of the link points along one of the base frame: ``zx`` is the component along x of the link's z axis, -1 to 1)."""


class Term(Strict):
    """One term of a reward. ``kind``:

    - ``tolerance``: weight * g, g = 1 within ``bounds`` around the target, falling to 0.1 at ``margin`` outside (Gaussian).
    - ``quadratic``: -weight * (feature - target)^2.
    - ``action``: -weight * mean of the squared commands, each in [-1, 1] of its limits.
    - ``slew``: -weight * mean of the squared changes of these.
    - ``limit``: -weight * max(0, |excess| / margin)^2, excess beyond ``bounds`` shrunk by ``margin``.
    - ``distance``: -weight * distance [m] of ``link`` to the three goal numbers from index ``goal`` on, or to the link ``to``.
      Objects count as links.
    - ``product``: weight * product of the values of ``terms``.
    - ``alive``: weight, at every step. Where a fall ends the episode and all else is a cost, nothing is paid after a fall, and
      without it an agent learns to fall soon.

    ``target`` is a number, ``goal`` the index of the goal number that replaces it.
    """

    kind: Literal["tolerance", "quadratic", "action", "slew", "limit", "distance", "product", "alive"]
    feature: Feature | None = None
    link: str | None = None
    to: str | None = None
    target: Finite = 0.0
    goal: Annotated[int, Field(ge=0)] | None = None
    bounds: Interval = (0.0, 0.0)
    margin: Positive = 1.0
    weight: Finite = 1.0
    terms: tuple[Term, ...] = ()

    @model_validator(mode="after")
    def _fields_of_kind(self) -> Term:
        if self.kind in ("tolerance", "quadratic", "limit") and self.feature is None:
            raise ValueError(f"a {self.kind} term needs a 'feature'")
        if self.kind == "distance" and (self.link is None or (self.goal is None) == (self.to is None)):
            raise ValueError("a distance term needs a 'link', and either the 'goal' index of its x or another link 'to'")
        if (self.kind == "product") != bool(self.terms):
            raise ValueError("'terms' belong to a product term, and a product term needs them")
        if self.bounds[0] > self.bounds[1]:
            raise ValueError(f"bounds are reversed: [{self.bounds[0]}, {self.bounds[1]}]")
        return self

    def flat(self) -> Iterator[Term]:
        """This term and all terms below it."""
        yield self
        for term in self.terms:
            yield from term.flat()


class Goal(Strict):
    """Goal numbers with their names and default values; a goal is an input of the planner, never baked in.

    ``random`` are the distributions, by name, from which environments draw the goals of their episodes; a number without one
    keeps its default."""

    names: tuple[str, ...] = ()
    default: tuple[Finite, ...] = ()
    random: dict[str, Distribution] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _same_length(self) -> Goal:
        if len(self.names) != len(self.default):
            raise ValueError(f"goal has {len(self.names)} names and {len(self.default)} default values")
        if unknown := sorted(set(self.random) - set(self.names)):
            raise ValueError(f"goal.random: the goal has no number '{unknown[0]}'; it has: {list(self.names)}")
        return self


class Bound(Strict):
    """A feature of the state and the interval that it must stay in (termination) or be in (success). ``goal`` is the index of the
    goal number that ``bounds`` are around; without one they are around 0. Only success may look at the goal."""

    feature: Feature
    bounds: Interval
    goal: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _of_the_state(self) -> Bound:
        if self.bounds[0] > self.bounds[1]:
            raise ValueError(f"bounds are reversed: [{self.bounds[0]}, {self.bounds[1]}]")
        if self.feature.startswith("command:"):
            raise ValueError(f"'{self.feature}' is no feature of the state; termination and success look at the state alone")
        return self


class Task(Strict):
    """Reward, termination, goal and initial state of one task.

    ``initial_position`` and ``initial_velocity`` are per joint name; joints that are not named start at 0.
    ``command_limits`` narrows the command limits per joint (``acrobot: shoulder: [0, 0]``). ``python`` names a class
    ``module:Class`` where terms are not enough. ``success`` says what holding the goal means, for reports: all of its features
    within bounds for the last ``hold`` seconds.
    """

    duration: Positive = 10.0
    goal: Goal = Goal()
    terms: tuple[Term, ...] = ()
    python: str | None = None
    termination: tuple[Bound, ...] = ()
    success: tuple[Bound, ...] = ()
    hold: NonNegative = 1.0
    initial_position: dict[str, Distribution] = Field(default_factory=dict)
    initial_velocity: dict[str, Distribution] = Field(default_factory=dict)
    command_limits: dict[str, Interval] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _goals_exist(self) -> Task:
        size = len(self.goal.names)
        for term in (inner for outer in self.terms for inner in outer.flat()):
            if term.goal is not None and term.goal + (3 if term.kind == "distance" else 1) > size:
                has = f"the goal has {size} numbers: {list(self.goal.names)}"
                raise ValueError(f"a {term.kind} term reads goal number {term.goal}, but {has}")
        for bound in self.success:
            if bound.goal is not None and bound.goal >= size:
                raise ValueError(f"success: '{bound.feature}' reads goal number {bound.goal}, but the goal has {size} numbers")
        if any(bound.goal is not None for bound in self.termination):
            raise ValueError("termination does not know the goal: leave 'goal' out there")
        for joint, (low, high) in self.command_limits.items():
            if low > high:
                raise ValueError(f"command_limits.{joint}: the limits are reversed: [{low}, {high}]")
        return self

    def features(self) -> tuple[str, ...]:
        """Every feature that this task looks at."""
        terms = tuple(inner.feature for outer in self.terms for inner in outer.flat() if inner.feature is not None)
        return terms + tuple(bound.feature for bound in (*self.termination, *self.success))
