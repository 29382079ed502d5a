"""Gymnasium environments of simulated robots: importing this registers them.

    import gymnasium
    import forerun_sim.env

    env = gymnasium.make("forerun/cartpole-swingup-v0")
    env = gymnasium.make("forerun/robot-v0", robot="my_robot/robot.yaml", task="reach", history=4)
    envs = gymnasium.make_vec("forerun/cartpole-swingup-v0", num_envs=32, workers=2)

Without the import: ``gymnasium.make("forerun_sim.env:forerun/cartpole-swingup-v0")``.
"""

from forerun_sim.env.environment import RobotEnv
from forerun_sim.env.registration import env_id, register_robots
from forerun_sim.env.settings import EnvSettings, env_settings
from forerun_sim.env.vector import RobotVectorEnv

__all__ = ["ENVIRONMENTS", "EnvSettings", "RobotEnv", "RobotVectorEnv", "env_id", "env_settings", "register_robots"]

ENVIRONMENTS = register_robots()
"""Names that ``gymnasium.make`` knows."""
