"""Names of environments: one for each task of each robot that is found, and one for a user's own."""

from __future__ import annotations

import warnings

import gymnasium

from forerun_sim import resources
from forerun_sim.errors import InputError
from forerun_sim.spec import RobotSpec, load_robot

OWN = "forerun/robot-v0"
"""Any robot: ``gymnasium.make("forerun/robot-v0", robot="path/to/robot.yaml", task=...)``."""
_SINGLE = "forerun_sim.env.environment:RobotEnv"
_VECTOR = "forerun_sim.env.vector:RobotVectorEnv"


def env_id(robot: str, task: str) -> str:
    """Name of the environment of a shipped robot's task: ``forerun/double-pendulum-swingup-v0``."""
    return f"forerun/{robot}-{task}-v0".replace("_", "-")


def register_robots() -> tuple[str, ...]:
    """Registers every task of every robot that ships or that ``$FORERUN_PATH`` leads to, if it can be simulated, and ``OWN``.

    A robot whose robot.yaml is wrong is left out with a warning.

    Returns:
        The names.
    """
    found: dict[str, dict[str, str]] = {OWN: {}}
    for name in resources.available("robots"):
        try:
            robot = load_robot(name)
        except InputError as error:
            warnings.warn(f"no environments of robot '{name}': {error}", stacklevel=2)
            continue
        if _has_body(robot):
            for task in robot.tasks:
                found.setdefault(env_id(name, task), {"robot": name, "task": task})
    for key, kwargs in found.items():
        if key not in gymnasium.registry:
            gymnasium.register(key, entry_point=_SINGLE, vector_entry_point=_VECTOR, kwargs=dict(kwargs))
    return tuple(found)


def _has_body(robot: RobotSpec) -> bool:
    """Whether there is anything to simulate: some robots are known from logs alone."""
    return robot.urdf is not None
