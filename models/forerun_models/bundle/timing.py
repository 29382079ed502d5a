"""How long a bundle's decisions take on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from forerun_models.bundle.bundle import Bundle


def plan_seconds(bundle: Bundle, plans: int, clock: Callable[[], float] = time.perf_counter) -> NDArray[np.float64]:
    """Seconds [plans] of successive decisions, as a tick makes them, after one that does not count.

    Args:
        bundle: one with an agent.
        plans: how many.
        clock: in seconds; ``time.thread_time`` counts only what this thread computes, whatever else the machine does.

    Raises:
        BundleError: the bundle has no agent.
    """
    manifest, rng, carry = bundle.manifest, np.random.default_rng(0), bundle.start()
    history = np.zeros((manifest.history, manifest.state_size + manifest.action_size), np.float32)
    taken = np.empty(plans + 1)
    for number in range(plans + 1):
        noise = rng.standard_normal(manifest.noise_size).astype(np.float32)
        begin = clock()
        carry = bundle.act(history, manifest.goal_default, noise, manifest.period, 0.0, carry, bundle.blank).carry
        taken[number] = clock() - begin
    return taken[1:]
