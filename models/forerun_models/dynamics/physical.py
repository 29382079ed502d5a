"""Rigid-body physics with learned parameters, an observer for what the sensors hide, and a small network for what is left.

A member believes the robot to be at positions q and velocities v. Over a control step it integrates

    M(q) dv/dt = B u(t) - c(q, v) - g(q) - friction(v) + M(q) network(q, v, u, context)

in a few substeps; inertial parameters, friction, and the weights with which the last commands act in each substep (delay and
lag of the drives) are all learned. Logged velocities are noisy and late, so a rollout does not start from a logged state:
``begin`` follows the history with the model itself and corrects it at each row by a gain on the innovation, as a Kalman filter
in its steady state does. The innovations also feed a recurrent unit, whose context scales friction and adds torques: what
differs from one run to the next, such as friction, is inferred from the history. What is predicted is what the sensors would
log, not what is believed; a member that follows its own predictions has no innovations, so its belief stays what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from forerun_models.dynamics.drives import OtherDrives
from forerun_models.dynamics.features import Features
from forerun_models.dynamics.friction import Friction
from forerun_models.dynamics.model import Memory, WorldModel, soft_bound
from forerun_models.dynamics.networks import Network, Recurrent
from forerun_models.dynamics.rigid import RigidBody, per_joint, polynomial, solve
from forerun_models.recipe import RigidBodySettings
from forerun_sim.errors import InputError
from forerun_sim.spec import RobotSpec

_TURNING = 0.1
"""[rad/s] or [m/s] above which the recurrent unit sees a joint as moving."""
_CLEAR = 4.0
"""Standard deviations beyond which an innovation says nothing more to the recurrent unit."""
_STRENGTH = 0.3
"""Logarithm of the factor by which the context may scale the drives' efforts."""
_BEYOND = 10.0
_ROTOR = 1e-4
"""Inertia of rotors at first where robot.yaml gives none [kg m^2]."""


class Belief(NamedTuple):
    """What a member holds to be true [E, N, ...].

    Attributes:
        position: [J].
        velocity: [J].
        commands: [(D-1) A] given before, the newest first.
        context: [2 J + C] of this run: logarithm of the factor of dry friction, torques, and what only the network reads; between
            them [J] the strength of the drives, where that varies.
    """

    position: Tensor
    velocity: Tensor
    commands: Tensor
    context: Tensor


class Physical(WorldModel):
    """E members, each with the physics of one robot.

    Args:
        robot: with effort-controlled joints and a fixed base; gives the bodies, and where friction and delay begin.
        features: of its states; sizes and statistics are used.
        members: E.
        hidden: units of each hidden layer: two of the network for accelerations, one of that for the noise.
        settings: of this kind of model.

    Raises:
        InputError: a robot of another kind.
    """

    shared = 3

    def __init__(self, robot: RobotSpec, features: Features, members: int, hidden: int, settings: RigidBodySettings):
        super().__init__(features, members)
        others = [joint.name for joint in robot.actuated if joint.interface != "effort"]
        terms = polynomial(robot)
        if others:
            raise InputError(
                f"robot '{robot.name}': model.kind 'rigid_body' drives joints by effort, and {', '.join(others)} takes other "
                "commands; choose 'ensemble'"
            )
        names, actuators, joints = robot.joint_names, robot.actuators, len(robot.joints)
        self.joints, self.actions, self.period = joints, robot.action_size, robot.control.period
        self.substeps, self.reach = settings.substeps, settings.commands
        self.integrator, self.added = settings.integrator, settings.added
        self.body = RigidBody(terms, members, per_joint(actuators.armature, names).clamp_min(_ROTOR).tolist())
        self.friction = Friction(robot, members, settings.friction)
        route = torch.zeros(self.actions, joints)
        route[range(self.actions), [names.index(name) for name in robot.action_names]] = 1.0
        self.route: Tensor = nn.Buffer(route, persistent=False)
        dry = per_joint(actuators.coulomb, names) @ route.T
        self.others = OtherDrives(settings.variety, dry)
        delay = actuators.delay + float(per_joint(actuators.lag, names).mean())
        self.drive = nn.Parameter(
            late(delay / self.period, self.substeps, self.reach)[..., None].repeat(members, 1, 1, self.actions)
        )
        self.lateness = nn.Parameter(torch.zeros(members, 1, joints))
        self.gain = nn.Parameter(_first_gain(joints, self.period).repeat(members, 1, 1))
        # Angles, and sums of neighbouring ones, as sine and cosine; what slides; velocities; commands.
        seen = 2 * features.angle_map.shape[1] + len(features.direct) + self.actions
        self.speeds = slice(seen - self.actions - joints, seen - self.actions)
        limits = torch.tensor([joint.effort or 1.0 for joint in robot.actuated])
        self.action_unit: Tensor = nn.Buffer(0.5 * limits, persistent=False)
        self.varies = settings.variety > 0
        told = (3 if self.varies else 2) * joints + settings.context
        inputs = seen + told
        self.network = Network([inputs, hidden, hidden, joints], members)
        self.noise = Network([inputs, hidden, 2 * joints], members)
        self.recurrent = Recurrent(seen + joints + 2 * joints, settings.recurrent, members)
        self.reading = Network([settings.recurrent, told], members)
        # Units of innovations, and of what the network adds: what one step of the physics was off at first.
        self.innovation: Tensor = nn.Buffer(torch.ones(self.state_size))
        self.memory_sizes = (joints, joints, (self.reach - 1) * self.actions, told)
        self.torque_unit = settings.offset * float(limits.max())

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draws the networks' weights anew. Physics starts from robot.yaml and the URDF, which is no matter of chance."""
        self.network.reset_parameters(generator, last=0.01)
        self.noise.reset_parameters(generator, last=0.1)
        self.recurrent.reset_parameters(generator)
        self.reading.reset_parameters(generator, last=0.1)

    @torch.no_grad()
    def fit_statistics(self, states: Tensor, actions: Tensor) -> None:
        """Takes from windows, states [N, K+1, S] and actions [N, K, A], their statistics and how far a step of the physics is
        off."""
        self.features.fit(states, actions)
        count = min(len(states), 2048)
        wide = [array[:count].expand(self.members, -1, -1, -1).unbind(2) for array in (states, actions)]
        belief = self._trusting(wide[0][-2], wide[1][:-1])
        off = wide[0][-1] - self._logged(belief, *self._integrate(belief, wide[1][-1], self._physics()))
        self.innovation.copy_(torch.sqrt((off**2).mean(dim=(0, 1))).clamp_min(1e-6))

    @torch.no_grad()
    def judge_by(self, states: Tensor) -> None:
        """See ``WorldModel``. Speeds enter the networks in units of their spread: the weights that meet them change with it."""
        before = self.features.state_std.clone()
        super().judge_by(states)
        for weight in (self.network.weights[0], self.noise.weights[0], self.recurrent.seen):
            weight[:, self.speeds] *= (self.features.state_std / before)[self.joints :, None]

    def begin(self, states: Sequence[Tensor], actions: Sequence[Tensor]) -> Memory:
        """The belief after a history, and the coefficients of the physics [E, ...]; see ``WorldModel``."""
        physics = self._physics()
        belief = self._trusting(states[0], ())
        hidden = torch.zeros_like(states[0][..., :1]).expand(*states[0].shape[:-1], self.recurrent.size)
        for number, (measured, action) in enumerate(zip(states[1:], actions, strict=True)):
            if number == 0:
                belief = belief._replace(commands=torch.cat([action] * (self.reach - 1), dim=-1))
            position, velocity = self._integrate(belief, action, physics)
            innovation = measured - self._logged(belief, position, velocity)
            corrected = torch.cat([position, velocity], dim=-1) + torch.bmm(innovation, self.gain)
            seen = torch.clamp(innovation / self.innovation, -_CLEAR, _CLEAR)
            parts = [self._seen(position, velocity, action), torch.tanh(velocity / _TURNING), seen]
            hidden = self.recurrent(torch.cat(parts, dim=-1), hidden)
            context = torch.tanh(self.reading(hidden))
            q, v = corrected.tensor_split(2, dim=-1)
            belief = Belief(q, v, self._shifted(belief.commands, action), context)
        return (*belief, *physics)

    def advance(self, memory: Memory, action: Tensor, kick: Tensor | None = None) -> tuple[Tensor, Tensor, Memory]:
        """One step on; see ``WorldModel``."""
        belief, physics = Belief(*memory[:4]), memory[4:]
        # The likelihood teaches its own network alone: it would bend belief and context to tell the noise, not the motion.
        inputs = torch.cat([self._seen(belief.position, belief.velocity, action), belief.context], dim=-1).detach()
        log_variance = soft_bound(self.noise(inputs)) + 2 * torch.log(self.features.target_std)
        position, velocity = self._integrate(belief, action, physics)
        logged = self._logged(belief, position, velocity)
        if kick is not None:
            noise = kick * torch.exp(0.5 * log_variance)
            logged = logged + noise
            turn, speed = noise.tensor_split(2, dim=-1)
            position, velocity = position + turn, velocity + speed
        commands = self._shifted(belief.commands, action)
        return logged, log_variance, (position, velocity, commands, belief.context, *physics)

    def varied(self, states: Tensor, actions: Tensor, generator: torch.Generator) -> Tensor:
        """Commands that would have moved robots with other drives just so; see ``OtherDrives``."""
        usual = self.features.state_std[self.joints :] @ self.route.T
        return self.others(states[..., self.joints :] @ self.route.T, usual, actions, generator)

    def placed(self, memory: Memory, state: Tensor, command: Tensor) -> Memory:
        """The belief that ``state`` is true and ``command`` has been given for a while; see ``WorldModel``."""
        wide = state.expand(self.members, *state.shape)
        belief = self._trusting(wide, [command.expand(self.members, *command.shape)] * (self.reach - 1))
        context = memory[3].expand(-1, len(state), -1)
        return (*belief._replace(context=context), *memory[4:])

    def believed(self, memory: Memory) -> Tensor:
        """Positions and velocities of the belief; see ``WorldModel``."""
        return torch.cat(memory[:2], dim=-1)

    def resumed(self, parts: Memory) -> Memory:
        """A belief with the coefficients of the physics."""
        return (*parts, *self._physics())

    def decaying(self) -> list[nn.Parameter]:
        """The networks' weights; a logarithm of 0 would be no smaller mass or friction."""
        return [*self.network.parameters(), *self.noise.parameters(), *self.recurrent.parameters(), *self.reading.parameters()]

    def physical(self) -> list[nn.Parameter]:
        """All others: of bodies, friction, drives, sensors and the observer."""
        decayed = {id(parameter) for parameter in self.decaying()}
        return [parameter for parameter in self.parameters() if id(parameter) not in decayed]

    @torch.no_grad()
    def scale_variance(self, log_ratio: Tensor) -> None:
        """Adds ``log_ratio`` [E, 1, S] to the last bias of the log-variances."""
        self.noise.biases[-1] += log_ratio

    def _physics(self) -> Memory:
        """What the parameters make of the equations of motion, once a rollout."""
        return (self.body.coefficients(), *self.friction.coefficients())

    def _trusting(self, state: Tensor, commands: Sequence[Tensor]) -> Belief:
        """The belief that the logged ``state`` is true, after ``commands`` (oldest first; zeros where there are none)."""
        position, velocity = state.tensor_split(2, dim=-1)
        none = torch.zeros_like(state[..., :1])
        given = [*reversed(commands)][: self.reach - 1]
        given += [none.expand(*none.shape[:-1], self.actions)] * (self.reach - 1 - len(given))
        context = none.expand(*none.shape[:-1], self.reading.biases[-1].shape[-1])
        return Belief(position, velocity, torch.cat(given, dim=-1), context)

    def _integrate(self, belief: Belief, action: Tensor, physics: Memory) -> tuple[Tensor, Tensor]:
        """Positions and velocities [E, N, J] one control step later.

        Friction is steep at rest, so it is taken at the end of each substep, linearised about its beginning; the other forces
        are those at the beginning, or in the middle: as another evaluation finds it, or as velocity and the substep before lead
        there.
        """
        position, velocity, context = belief.position, belief.velocity, belief.context
        joints, step = self.joints, self.period / self.substeps
        given = torch.cat([action, belief.commands], dim=-1).reshape(*action.shape[:-1], self.reach, self.actions)
        # [substeps, E, N, J]: in each part of a step the last commands act with other weights.
        efforts = (self.drive.transpose(0, 1)[:, :, None] * given).sum(dim=3) @ self.route
        if self.varies:
            efforts = efforts * torch.exp(_STRENGTH * context[..., 2 * joints : 3 * joints])
        scale, torque = torch.exp(context[..., :joints]), context[..., joints : 2 * joints] * self.torque_unit
        network = self.network(torch.cat([self._seen(position, velocity, action), context], dim=-1))
        added = torch.tanh(network) * (self.added * self.innovation[joints:] / self.period)

        def gained(q: Tensor, v: Tensor, force: Tensor, slope: Tensor, span: float) -> Tensor:
            """Of velocity within ``span`` [s], with the forces at q and v."""
            mass, bias = self.body(physics[0], q, v)
            for row, stiffening in zip(mass, (span * slope).unbind(-1), strict=True):
                row[-1] = row[-1] + stiffening
            return span * (solve(mass, force - bias) + added)

        change = torch.zeros_like(velocity)
        for effort in efforts.unbind(0):
            opposing, slope = self.friction(physics[1:], velocity, effort, scale)
            force = effort + torque - opposing
            q, v = position, velocity
            if self.integrator == "leapfrog":
                q, v = position + 0.5 * step * velocity, velocity + 0.5 * change
            elif self.integrator == "midpoint":
                q, v = position + 0.5 * step * velocity, velocity + gained(position, velocity, force, slope, 0.5 * step)
            change = gained(q, v, force, slope, step)
            position = position + step * (velocity + 0.5 * change)
            velocity = velocity + change
        # Physics holds beyond the speeds of the training data; the bound is for what overflows.
        fastest = _BEYOND * self.features.fastest[joints:]
        return position, torch.clamp(velocity, min=-fastest, max=fastest)

    def _logged(self, before: Belief, position: Tensor, velocity: Tensor) -> Tensor:
        """What the sensors say [E, N, S] at a position and velocity [E, N, J]: velocities as they were a part of the step ago."""
        late = velocity - self.lateness * (velocity - before.velocity)
        return torch.cat([position, late], dim=-1)

    def _seen(self, position: Tensor, velocity: Tensor, action: Tensor) -> Tensor:
        """What the networks see [E, N, .]: angles as sine and cosine, the rest in units of the training data."""
        features, joints = self.features, self.joints
        angle = position @ features.angle_map[:joints]
        sliding = position[..., features.direct[: -joints or None]]
        speed = velocity / features.state_std[joints:]
        return torch.cat([torch.sin(angle), torch.cos(angle), sliding, speed, action / self.action_unit], dim=-1)

    def _shifted(self, commands: Tensor, action: Tensor) -> Tensor:
        return torch.cat([action, commands], dim=-1)[..., : (self.reach - 1) * self.actions]


def late(delay: float, substeps: int, reach: int) -> Tensor:
    """Weights [substeps, reach] of the last ``reach`` commands, the newest first, in each substep of a control step, where a
    command begins to act ``delay`` control steps after it is given."""
    middle = (torch.arange(substeps) + 0.5) / substeps
    age = torch.ceil(delay - middle).clamp(0, reach - 1).long()
    return nn.functional.one_hot(age, reach).float()


def _first_gain(joints: int, period: float) -> Tensor:
    """[S, S]: an innovation's rows to the correction's columns. Positions are trusted, velocities hardly."""
    gain = torch.zeros(2 * joints, 2 * joints)
    index = torch.arange(joints)
    gain[index, index] = 0.8
    gain[index, joints + index] = 0.2 / period
    gain[joints + index, joints + index] = 0.3
    return gain
