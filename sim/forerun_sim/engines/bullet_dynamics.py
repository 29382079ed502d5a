"""What PyBullet is told of a robot's links and joints: mass, inertia, friction, restitution, damping. It hears changes alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pybullet

from forerun_sim.kinematics import ORIGIN, Vector
from forerun_sim.randomization import Parameters
from forerun_sim.urdf import Urdf

_FAST = 1e6
"""Joint velocity [rad/s] at which PyBullet would clip: out of reach, so that exploding physics is seen and not hidden."""
_GRAIN = 1e-4
"""Mass [kg] of a root link that the URDF gives none: PyBullet holds a body still whose base has none."""


class Dynamics:
    """The links of one robot, and the ``joints`` above them that damp. In PyBullet a joint has the number of its child.

    Args:
        client: PyBullet's world.
        urdf: the robot.
        links, joints: their numbers in PyBullet.
        last: the link that carries the payload.
    """

    def __init__(self, client: int, urdf: Urdf, links: Mapping[str, int], joints: Mapping[str, int], last: str) -> None:
        self._client, self._urdf, self._links, self._last = client, urdf, links, last
        self._mass = {link: urdf.links[link].mass for link in links if urdf.links[link].mass > 0 and urdf.moved(link)}
        self._massless = [(link, number) for link, number in links.items() if urdf.links[link].mass <= 0]
        named = {number: name for name, number in joints.items()}
        moved = {links[link]: link for link in self._mass}
        self._places = [(number, moved.get(number), named.get(number)) for number in sorted({*moved, *named})]
        self._body = -1
        self._inertia: dict[str, tuple[float, ...]] = {}
        self._told: dict[int, dict[str, Any]] = {}

    def load(self, body: int) -> None:
        """``body`` is the robot from now on: no hidden damping, no mass where the URDF gives none."""
        self._body = body
        self._told.clear()
        self._change(-1, linearDamping=0.0, angularDamping=0.0, maxJointVelocity=_FAST)  # of all links
        for link, number in self._massless:
            mass = _GRAIN if number < 0 and self._urdf.moved(link) else 0.0
            self._change(number, mass=mass, localInertiaDiagonal=(mass, mass, mass))
        if not self._inertia:  # a shift of the centre of mass leaves it as it is
            inertia = {link: pybullet.getDynamicsInfo(body, self._links[link], self._client)[2] for link in self._mass}
            self._inertia.update(inertia)

    def reset(self, parameters: Parameters, carried: Mapping[str, tuple[float, Vector]], damped: bool) -> None:
        """Takes over what ``parameters`` say, and the mass and moments of the rotors that links have ``carried``. Joints are
        ``damped`` here, or by what acts on them."""
        for number, link, joint in self._places:
            values: dict[str, Any] = {}
            if link is not None:
                mass = parameters.mass[link]
                factor = mass / self._mass[link] * parameters.inertia[link]
                payload = parameters.payload if link == self._last else 0.0
                rotor, (x, y, z) = carried.get(link, (0.0, ORIGIN))
                own = self._inertia[link]
                values["mass"] = mass + payload + rotor
                values["localInertiaDiagonal"] = own[0] * factor + x, own[1] * factor + y, own[2] * factor + z
                values["lateralFriction"] = parameters.link_friction[link]
                values["restitution"] = parameters.restitution[link]
            if joint is not None:
                values["jointDamping"] = parameters.damping[joint] + parameters.viscous[joint] if damped else 0.0
            if self._told.get(number) != values:
                self._told[number] = values
                self._change(number, **values)

    def _change(self, number: int, **values: Any) -> None:
        pybullet.changeDynamics(self._body, number, physicsClientId=self._client, **values)
