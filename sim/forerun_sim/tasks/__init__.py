"""Tasks: reward, termination, goal and success on named features."""

from forerun_sim.tasks.function import TaskFunction

__all__ = ["TaskFunction"]
