"""PyBullet alone, without any of the project's work around it: what the simulator's speed is measured against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pybullet

from forerun_sim.engines.bullet import BulletEngine

Efforts = Sequence[Sequence[float]]


def bare_loop(engine: BulletEngine) -> Callable[[Efforts], None]:
    """The loop that users of PyBullet write, over ``engine``'s own bodies as its last reset left them: at every physics step set
    the torques of the robot's joints, step, read the joints' states. It takes the efforts of each step, joints that are no
    coordinates alone."""
    client, body, joints = engine._client, engine._body, engine._indices
    command, step, states, mode = (
        pybullet.setJointMotorControlArray,
        pybullet.stepSimulation,
        pybullet.getJointStates,
        pybullet.TORQUE_CONTROL,
    )

    def run(efforts: Efforts) -> None:
        for forces in efforts:
            command(body, joints, mode, forces=forces, physicsClientId=client)
            step(client)
            states(body, joints, client)

    return run


class Copies:
    """``count`` copies of the robot in ``urdf`` (its base fixed), all in one world, or each in its own.

    They stand far apart and touch nothing. One ``step`` sets the torques of all, steps each world once, and reads all joints.
    """

    def __init__(self, urdf: Path, count: int, *, one_world: bool, step: float) -> None:
        """``step`` is the physics step [s]."""
        self._worlds = [pybullet.connect(pybullet.DIRECT) for _ in range(1 if one_world else count)]
        self._robots: list[tuple[int, int]] = []
        for number in range(count):
            client = self._worlds[0 if one_world else number]
            place = (10.0 * (number % 8), 10.0 * (number // 8), 0.0) if one_world else (0.0, 0.0, 0.0)
            body = pybullet.loadURDF(str(urdf), basePosition=place, useFixedBase=True, physicsClientId=client)
            self._robots.append((body, client))
        body, client = self._robots[0]
        kinds = [pybullet.getJointInfo(body, joint, client)[2] for joint in range(pybullet.getNumJoints(body, client))]
        self._joints = [joint for joint, kind in enumerate(kinds) if kind != pybullet.JOINT_FIXED]
        self._torques = [0.0] * len(self._joints)
        for body, client in self._robots:
            still = {"targetVelocities": self._torques, "forces": self._torques, "physicsClientId": client}
            pybullet.setJointMotorControlArray(body, self._joints, pybullet.VELOCITY_CONTROL, **still)
        for client in self._worlds:
            pybullet.setGravity(0.0, 0.0, -9.81, client)
            pybullet.setTimeStep(step, client)

    def step(self) -> None:
        """One physics step of all robots."""
        for body, client in self._robots:
            pybullet.setJointMotorControlArray(
                body, self._joints, pybullet.TORQUE_CONTROL, forces=self._torques, physicsClientId=client
            )
        for client in self._worlds:
            pybullet.stepSimulation(client)
        for body, client in self._robots:
            pybullet.getJointStates(body, self._joints, client)

    def close(self) -> None:
        """Gives the memory of all worlds back."""
        for client in self._worlds:
            pybullet.disconnect(client)
        self._worlds = []
