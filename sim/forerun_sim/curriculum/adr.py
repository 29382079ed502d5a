"""Automatic domain randomization (OpenAI et al. 2019, "Solving Rubik's Cube with a Robot Hand", algorithm 1).

The plant's parameters lambda are drawn from P_phi, one range [phi_low, phi_high] per quantity. An episode draws lambda, then pins
one quantity, chosen at random, to one of its two edges, and its performance enters that edge's buffer D. A full buffer is
averaged and emptied: at t_high or above the edge moves outwards by a step, at t_low or below inwards. An edge never leaves the
widest range and never passes the other one. The entropy of P_phi says how far the whole of it has come.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from forerun_sim.errors import InputError
from forerun_sim.randomization import Parameters, stream
from forerun_sim.spec import Curriculum, Distribution, Randomization
from forerun_sim.spec.randomization import INITIAL

Ranges = dict[str, tuple[float, float]]
Side = Literal["low", "high"]
SIDES: tuple[Side, Side] = ("low", "high")
_NARROWEST = 1e-3
"""Share of its widest range that a range counts for at least in the entropy, which of a point would be minus infinity."""


@dataclass(frozen=True)
class Pin:
    """A quantity held at one edge of its range, at ``value``."""

    quantity: str
    side: Side
    value: float


@dataclass(frozen=True)
class Episode:
    """An episode as it was drawn: its number, the ranges of that moment, and what is pinned (None: nothing)."""

    number: int
    ranges: Ranges
    pin: Pin | None

    def randomization(self, curriculum: Curriculum, other: Randomization, nominal: Parameters) -> Randomization:
        """What the plant draws from: these ranges, the pinned quantity at its edge, and ``other`` for all that does not learn.

        Raises:
            InputError: the plant (``nominal``) has nothing of a quantity's name; the message lists what it has.
        """
        ranges = self.ranges | ({self.pin.quantity: (self.pin.value, self.pin.value)} if self.pin is not None else {})
        return merged(curriculum, ranges, other, nominal)


@dataclass(frozen=True)
class Outcome:
    """What came of an episode. Physics that ``exploded`` is no success: a range must not grow to where that happens."""

    number: int
    success: bool
    exploded: bool


class AutomaticRandomization:
    """The state of the algorithm. ``draw`` and ``learn`` in turns; (settings, seed, outcomes) alone decide what follows.

    Attributes:
        settings: what the robot's ``curriculum`` says.
        ranges: the present edges by quantity, as factors of the nominal value where the quantity is relative.
        pending: episodes drawn and not learned from, in their order.
        learned: how many episodes were learned from.
    """

    def __init__(self, settings: Curriculum, seed: int) -> None:
        self.settings = settings
        self.ranges: Ranges = {name: one.start for name, one in settings.quantities.items()}
        self.pending: deque[Episode] = deque()
        self.learned = 0
        self._seed = seed
        self._buffers: dict[tuple[str, Side], list[bool]] = {
            (name, side): []
            for name, one in settings.quantities.items()
            for place, side in enumerate(SIDES)
            if one.start[place] != one.widest[place]
        }

    def draw(self) -> Episode:
        """The next episode."""
        number = self.learned + len(self.pending)
        rng = stream(self._seed, number, "curriculum")
        pin = None
        if rng.random() < self.settings.pinned:
            quantity, side = list(self._buffers)[int(rng.integers(len(self._buffers)))]
            pin = Pin(quantity, side, self.ranges[quantity][SIDES.index(side)])
        episode = Episode(number, dict(self.ranges), pin)
        self.pending.append(episode)
        return episode

    def learn(self, outcome: Outcome) -> Episode:
        """Takes the outcome of the oldest pending episode, and moves its edge where that is due. Returns the episode.

        What was pinned to an edge that has moved since says nothing about where the edge is now, and does not count.
        """
        episode = self.pending.popleft()
        if outcome.number != episode.number:
            raise ValueError(f"outcome of episode {outcome.number} where {episode.number} is due")
        self.learned += 1
        pin = episode.pin
        if pin is not None and pin.value == self.ranges[pin.quantity][SIDES.index(pin.side)]:
            buffer = self._buffers[pin.quantity, pin.side]
            buffer.append(outcome.success)
            if len(buffer) == self.settings.buffer:
                self._move(pin.quantity, pin.side, sum(buffer) / len(buffer))
                buffer.clear()
        return episode

    def _move(self, quantity: str, side: Side, performance: float) -> None:
        fails, works = self.settings.thresholds
        if fails < performance < works:
            return
        one, (low, high) = self.settings.quantities[quantity], self.ranges[quantity]
        upwards = (performance >= works) == (side == "high")
        edge = high if side == "high" else low
        moved = (
            edge * (one.stride if upwards else 1.0 / one.stride) if one.log else edge + math.copysign(one.stride, upwards - 0.5)
        )
        least, most = one.widest
        self.ranges[quantity] = (min(max(moved, least), high), high) if side == "low" else (low, max(min(moved, most), low))

    @property
    def entropy(self) -> float:
        """Mean over quantities of the logarithm of the range's width [nats], as a share of the widest one: 0 when all are widest.
        The width of a log-uniform range is that of its logarithm."""
        total = 0.0
        for name, one in self.settings.quantities.items():
            (low, high), (least, most) = self.ranges[name], one.widest
            share = math.log(high / low) / math.log(most / least) if one.log else (high - low) / (most - least)
            total += math.log(max(share, _NARROWEST))
        return total / len(self.ranges)

    def as_json(self) -> dict[str, Any]:
        """The state as JSON: with it ``restored`` goes on exactly as this one would."""
        return {
            "learned": self.learned,
            "ranges": self.ranges,
            "buffers": {f"{side} {name}": buffer for (name, side), buffer in self._buffers.items()},
            "pending": [
                {"number": one.number, "ranges": one.ranges, "pin": None if one.pin is None else vars(one.pin)}
                for one in self.pending
            ],
        }

    @classmethod
    def restored(cls, settings: Curriculum, seed: int, state: Mapping[str, Any]) -> AutomaticRandomization:
        """What ``as_json`` gave, under the settings and the seed that it had then.

        Raises:
            KeyError, TypeError, ValueError: ``state`` is none.
        """
        made = cls(settings, seed)
        made.learned = int(state["learned"])
        made.ranges = _ranges(state["ranges"], settings)
        for name, side in made._buffers:
            made._buffers[name, side] = [bool(one) for one in state["buffers"][f"{side} {name}"]]
        for one in state["pending"]:
            pin = None if one["pin"] is None else Pin(**one["pin"])
            made.pending.append(Episode(int(one["number"]), _ranges(one["ranges"], settings), pin))
        return made


def _ranges(data: Mapping[str, Any], settings: Curriculum) -> Ranges:
    return {name: (float(data[name][0]), float(data[name][1])) for name in settings.quantities}


def merged(curriculum: Curriculum, ranges: Ranges, other: Randomization, nominal: Parameters) -> Randomization:
    """``other`` with ``ranges`` in place of what it says of these quantities. Errors as in ``Episode.randomization``."""
    joints = nominal.position_bias  # every joint has one
    known = [*nominal.flat(), *(f"{group}.{joint}" for group in INITIAL for joint in joints)]
    changed: dict[str, Any] = {}
    for quantity, (low, high) in ranges.items():
        group, dot, name = quantity.partition(".")
        names = _names(group, known)
        if (dot and name not in names) or not (group in known or names):
            has = ", ".join(f"{group}.{one}" for one in names) or "nothing of the kind"
            raise InputError(f"curriculum.quantities.{quantity}: the robot has: {has}")
        distribution = curriculum.quantities[quantity].distribution(low, high)
        if not dot:
            changed[group] = distribution
            continue
        if group not in changed:
            changed[group] = _by_name(getattr(other, group), names)
        changed[group][name] = distribution
    return other.model_copy(update=changed)


def _names(group: str, known: Iterable[str]) -> list[str]:
    """The names that a quantity may have in robot.yaml: a shift of the centre of mass is the link's, whatever its direction."""
    parts = (key.partition(".")[2] for key in known if key.startswith(f"{group}."))
    return list(dict.fromkeys(part.rpartition(".")[0] if group == "com" else part for part in parts))


def _by_name(before: Distribution | dict[str, Distribution] | None, names: list[str]) -> dict[str, Distribution]:
    """``before``, written out name by name where it is one for all, so that single names can differ."""
    if before is None:
        return {}
    return dict(before) if isinstance(before, dict) else dict.fromkeys(names, before)
