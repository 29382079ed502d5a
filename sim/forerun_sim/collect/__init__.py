"""Randomized episodes of a simulated robot, as a log would hold them. (seed, episode) alone decides each of them."""

from forerun_sim.collect.collection import Collection, collect
from forerun_sim.collect.recording import Exploded, Initial, Recording
from forerun_sim.collect.sampled import Sampled, Span, Suspect

__all__ = ["Collection", "Exploded", "Initial", "Recording", "Sampled", "Span", "Suspect", "collect"]
