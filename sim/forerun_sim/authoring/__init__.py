"""A robot.yaml for a user's own robot, drafted from its URDF; what the URDF does not say is guessed, and said to be a guess."""

from forerun_sim.authoring.write import Drafted, new_robot

__all__ = ["Drafted", "new_robot"]
