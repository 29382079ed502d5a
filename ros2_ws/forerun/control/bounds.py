"""The limits that hold for every bundle that runs: the first one's, tightened by parameters that may change meanwhile."""

from __future__ import annotations

from forerun.control.limits import Limits, SafetySettings
from forerun_models.bundle import Manifest


class Bounds:
    """``check`` and ``offer`` are for any thread, ``take`` belongs to the loop.

    Attributes:
        widest: the first bundle's limits.
        present: what holds now.
        wanted: what is to hold from the next tick on.

    Raises:
        InputError: the settings are looser than the first bundle's limits.
    """

    def __init__(self, first: Manifest, settings: SafetySettings) -> None:
        self.widest = Limits.of(first)
        self.present = self.wanted = self.widest.tightened(settings)

    def check(self, settings: SafetySettings, running: Manifest) -> Limits:
        """What ``settings`` would make of the limits.

        Raises:
            InputError: they are looser than the first bundle's, or leave the running one no room.
        """
        bounds = self.widest.tightened(settings)
        Limits.of(running).within(bounds)
        return bounds

    def offer(self, settings: SafetySettings, running: Manifest) -> None:
        """They hold from the next tick on; raises as ``check`` does, and the present ones stay."""
        self.wanted = self.check(settings, running)

    def take(self, running: Manifest) -> Limits | None:
        """The running bundle's limits within what was offered; None where nothing was.

        Raises:
            InputError: a bundle took over since the check that they leave no room. Tried again at every call.
        """
        wanted = self.wanted
        if wanted is self.present:
            return None
        limits = Limits.of(running).within(wanted)
        self.present = wanted
        return limits
