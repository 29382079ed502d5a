"""Errors that are meant for the person at the robot."""


class ForerunError(Exception):
    """Something failed. The message says what, where, and what to do. Ends a command with exit code 1."""

    exit_code = 1


class InputError(ForerunError):
    """The user's input is wrong; the message names the file, key, topic or joint. Ends a command with exit code 2."""

    exit_code = 2


class UnstablePhysics(ForerunError):
    """A simulated plant left the range of what a robot can do: its state is not finite or absurdly fast."""
