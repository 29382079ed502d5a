"""How long a bundle's decisions take on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from forerun_models.bundle.bundle import Bundle


def plan_seconds(bundle: Bundle, plans: int, clock: Callable[[], float] = time.perf_counter) -> NDArray[np.float64]:
    """Seconds [plans] of successive decisions, as ``in_turns`` takes them."""
    return in_turns([bundle], plans, clock).reshape(plans)


def in_turns(bundles: Sequence[Bundle], plans: int, clock: Callable[[], float] = time.perf_counter) -> NDArray[np.float64]:
    """Seconds [B, plans] of successive decisions of each bundle, as ticks make them, after one that does not count.

    The bundles take turns, each beginning as often as the others, so that whatever else the machine does slows all of them alike.

    Args:
        bundles: with an agent each.
        plans: how many of each.
        clock: in seconds; ``time.thread_time`` counts only what this thread computes, whatever else the machine does.

    Raises:
        BundleError: a bundle has no agent.
    """
    decisions = [_decisions(bundle, clock) for bundle in bundles]
    taken = np.empty((len(bundles), plans + 1))
    for number in range(plans + 1):
        for place in np.roll(np.arange(len(bundles)), number):
            taken[place, number] = next(decisions[place])
    return taken[:, 1:]


def _decisions(bundle: Bundle, clock: Callable[[], float]) -> Iterator[float]:
    """Seconds of one decision after the other, from the same state."""
    manifest, rng, carry = bundle.manifest, np.random.default_rng(0), bundle.start()
    history = np.zeros((manifest.history, manifest.state_size + manifest.action_size), np.float32)
    while True:
        noise = rng.standard_normal(manifest.noise_size).astype(np.float32)
        begin = clock()
        carry = bundle.act(history, manifest.goal_default, noise, manifest.period, 0.0, carry, bundle.blank).carry
        yield clock() - begin
