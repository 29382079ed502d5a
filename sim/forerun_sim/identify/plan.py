"""How many segments an identification has still to simulate, at most: what tells how long it will take."""

from __future__ import annotations

from dataclasses import dataclass

STARTS = 3
"""How often starts are looked at around one set of parameters, each time all of them and one along each state."""
TRIED = 13
"""Sets of parameters that a linear step compares."""
STEPS = 6
"""Linear steps from the nominal values on, at most, and again with the parameters that the data tell."""
FINAL = 2
"""Linear steps after the search, at most."""
STAGES = ("sensitivities", "linear steps", "told", "linear steps again", "told again", "search", "final steps", "intervals")


@dataclass(frozen=True)
class Plan:
    """The stages of a fit of ``unknowns`` parameters to ``segments`` training segments of ``states`` states, with ``generations``
    of ``population`` candidates."""

    segments: int
    states: int
    unknowns: int
    generations: int
    population: int

    def _around(self, each: int) -> int:
        return self.segments * (STARTS * (self.states + 1) + each * self.unknowns)

    @property
    def costs(self) -> dict[str, int]:
        """Segments of each of ``STAGES``, at most."""
        exact, step = self._around(2), self._around(1) + TRIED * self.segments
        searched = round(self.generations * self.population * (0.25 + 0.5 + 1.0) / 3 + 2) * self.segments
        costs = (exact, STEPS * step, exact, STEPS * step, exact, self._around(1) + searched, FINAL * step, exact)
        return dict(zip(STAGES, costs, strict=True))

    def left(self, stage: str, done: int) -> int:
        """What is left from ``stage`` on, of which ``done`` segments are through."""
        place = STAGES.index(stage)
        costs = list(self.costs.values())
        return max(costs[place] - done, 0) + sum(costs[place + 1 :])
