"""The one error of this package."""

from forerun_sim.errors import InputError


class BundleError(InputError):
    """A bundle is damaged, foreign or of another format; the message names the file and what is wrong with it."""
