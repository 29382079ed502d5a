"""The rigid-body dynamics of a tree of joints as one trigonometric polynomial, found once from the URDF.

    M(q) ddq + c(q, dq) + g(q) = tau

Mass matrix, Christoffel symbols and weight are linear in the links' inertial parameters, and in each joint they are polynomials
of degree two of sine and cosine (of the position, where a joint slides). So a discrete Fourier transform over a small grid of
positions gives them exactly, once for all values of the parameters; afterwards a whole batch costs one cosine and one product
of matrices, in torch and in ONNX alike. A link's parameters are the factor of its pseudo-inertia in logarithms (Rucker and
Wensing 2022, "Smooth parameterization of rigid-body inertia"): whatever a gradient does to them, the body could exist.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from forerun_sim.errors import InputError
from forerun_sim.kinematics import Kinematics, rotation
from forerun_sim.spec import RobotSpec
from forerun_sim.urdf import Urdf, robot_urdf

Array = NDArray[np.float64]

GRAVITY = 9.81
_TURNING, _SLIDING = 5, 3
"""Positions per joint on the grid: as many as a polynomial of degree two has coefficients."""
_LARGEST_GRID = 20_000
_THIN = 1e-6
"""Of a body's largest second moment, what is added where a URDF has a body of no thickness."""


@dataclass(frozen=True)
class Polynomial:
    """What multiplies the 10 parameters (m, m c [3], second moments about the link's frame xx, yy, zz, xy, xz, yz) of each of L
    links.

    Attributes:
        waves: [J, F] of the angles that enter as cosine (columns with phase 0) and sine (phase -pi/2).
        phases: [F].
        powers: [J, F] of positions that enter as factors.
        mass: [F, J, J, 10 L] of M(q).
        christoffel: [F, J, J, J, 10 L]: c_i = sum over j, k of it times dq_j dq_k.
        weight: [F, J, 10 L] of g(q).
        nominal: [L, 10] the URDF's parameters.
    """

    waves: Array
    phases: Array
    powers: Array
    mass: Array
    christoffel: Array
    weight: Array
    nominal: Array


def polynomial(robot: RobotSpec) -> Polynomial:
    """The dynamics of ``robot``, from its URDF.

    Raises:
        InputError: no URDF, a base or objects that move freely, or more joints than a grid can hold.
    """
    if robot.urdf is None or robot.bodies:
        raise InputError(
            f"robot '{robot.name}': model.kind 'rigid_body' needs a URDF and a fixed base, and no free objects; choose 'ensemble'"
        )
    urdf = robot_urdf(robot)
    links = [name for name, link in urdf.links.items() if link.mass > 0 and urdf.moved(name)]
    kinds = [_SLIDING if joint.type == "prismatic" else _TURNING for joint in robot.joints]
    size = int(np.prod(kinds))
    if size > _LARGEST_GRID:
        raise InputError(
            f"robot '{robot.name}': model.kind 'rigid_body' is for up to six joints, not {len(kinds)}; choose 'ensemble'"
        )
    axes = [np.arange(5) * 2 * np.pi / 5 if kind == _TURNING else np.array([-1.0, 0.0, 1.0]) for kind in kinds]
    grid = np.stack([axis.reshape(-1) for axis in np.meshgrid(*axes, indexing="ij")], axis=-1)
    mass, potential = _on_grid(urdf, robot.joint_names, links, grid)
    values = np.concatenate([mass.reshape(size, -1), potential], axis=1).reshape(*kinds, -1)
    waves, phases, powers, coefficients = _transform(values, kinds)
    joints, parameters = len(kinds), 10 * len(links)
    split = joints * joints * parameters
    of_mass = coefficients[:, :split].reshape(-1, joints, joints, parameters)
    rates = [_derivative(waves, phases, powers, joint) for joint in range(joints)]
    slopes = np.stack([np.einsum("gf,gijp->fijp", rate, of_mass) for rate in rates], axis=3)
    weight = np.stack([np.einsum("gf,gp->fp", rate, coefficients[:, split:]) for rate in rates], axis=1)
    # c_i = sum (dM_ij/dq_k - 1/2 dM_jk/dq_i) dq_j dq_k
    christoffel = slopes - 0.5 * slopes.transpose(0, 3, 1, 2, 4)
    used = np.any([np.abs(part).reshape(len(waves.T), -1).max(axis=1) > 1e-9 for part in (of_mass, christoffel, weight)], axis=0)
    nominal = np.stack([_parameters(urdf, name) for name in links])
    return Polynomial(waves[:, used], phases[used], powers[:, used], of_mass[used], christoffel[used], weight[used], nominal)


def _parameters(urdf: Urdf, name: str) -> Array:
    """(m, m c, second moments about the link's frame): the entries of the pseudo-inertia [[E, m c], [m c, m]]."""
    link = urdf.links[name]
    xx, yy, zz, xy, xz, yz = link.inertia
    turn = rotation(link.inertia_rpy)
    inertia = turn @ np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) @ turn.T
    centre = np.array(link.com)
    second = 0.5 * np.trace(inertia) * np.eye(3) - inertia
    # A body of no extent, or one that violates the triangle inequality, gets the least that a real one would have.
    values, vectors = np.linalg.eigh(second)
    least = max(_THIN * float(np.abs(values).max(initial=0.0)), 1e-9)
    second = vectors @ np.diag(np.maximum(values, least)) @ vectors.T + link.mass * np.outer(centre, centre)
    entries = [second[0, 0], second[1, 1], second[2, 2], second[0, 1], second[0, 2], second[1, 2]]
    return np.array([link.mass, *(link.mass * centre), *entries])


def _on_grid(urdf: Urdf, joints: Sequence[str], links: Sequence[str], grid: Array) -> tuple[Array, Array]:
    """Mass matrices [G, J, J, 10 L] and potential energies [G, 10 L] at the positions ``grid`` [G, J], per unit parameter."""
    kinematics = Kinematics(urdf.frames(joints))
    unit = np.eye(3)

    def pose(link: str) -> tuple[Array, Array]:
        origin = kinematics.point(np, grid, link)
        columns = [kinematics.point(np, grid, link, tuple(axis)) - origin for axis in unit]
        return np.asarray(origin), np.stack(columns, axis=-1)

    poses = {name: pose(name) for name in {*links, *(urdf.joints[joint].child for joint in joints)}}
    count, size = len(joints), len(grid)
    mass, potential = np.zeros((size, count, count, len(links), 10)), np.zeros((size, len(links), 10))
    pairs = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
    for number, name in enumerate(links):
        origin, turn = poses[name]
        moved_by = {joint.name for joint in urdf.branch(name)}
        # How the link's frame and its three axes move with each joint: a point at x moves by shift + turned x.
        shift, turned = np.zeros((size, count, 3)), np.zeros((size, count, 3, 3))
        for index, joint in enumerate(joints):
            if joint not in moved_by:
                continue
            place, orientation = poses[urdf.joints[joint].child]
            axis = orientation @ np.array(urdf.joints[joint].axis)
            if urdf.joints[joint].type == "prismatic":
                shift[:, index] = axis
            else:
                shift[:, index] = np.cross(axis, origin - place)
                turned[:, index] = np.cross(axis[:, None, :], turn.transpose(0, 2, 1)).transpose(0, 2, 1)
        # Kinetic energy is the integral of |shift + turned x|^2 over the body.
        mass[:, :, :, number, 0] = np.einsum("gia,gja->gij", shift, shift)
        cross = np.einsum("gia,gjax->gijx", shift, turned)
        mass[:, :, :, number, 1:4] = cross + cross.transpose(0, 2, 1, 3)
        second = np.einsum("giax,gjay->gijxy", turned, turned)
        for entry, (x, y) in enumerate(pairs):
            mass[:, :, :, number, 4 + entry] = second[..., x, y] if x == y else second[..., x, y] + second[..., y, x]
        potential[:, number, 0] = GRAVITY * origin[:, 2]
        potential[:, number, 1:4] = GRAVITY * turn[:, 2, :]
    return mass.reshape(size, count, count, -1), potential.reshape(size, -1)


def _transform(values: Array, kinds: Sequence[int]) -> tuple[Array, Array, Array, Array]:
    """Waves, phases, powers and coefficients [F, ...] of the ``values`` [grid..., ...] of a polynomial."""
    joints = len(kinds)
    turning = [axis for axis, kind in enumerate(kinds) if kind == _TURNING]
    spectrum = values.astype(complex)
    for axis in range(joints):
        if axis in turning:
            spectrum = np.fft.fft(spectrum, axis=axis) / _TURNING
        else:
            inverse = np.linalg.inv(np.vander([-1.0, 0.0, 1.0], 3, increasing=True))
            spectrum = np.moveaxis(np.tensordot(inverse, spectrum, axes=(1, axis)), 0, axis)
    found: list[tuple[Array, float, Array, Array]] = []
    tolerance = 1e-9 * max(1.0, float(np.abs(values).max()))
    for index in np.ndindex(*kinds):
        wave, power = np.zeros(joints), np.zeros(joints)
        for axis, place in enumerate(index):
            if axis in turning:
                wave[axis] = place if place <= 2 else place - _TURNING
            else:
                power[axis] = place
        leading = next((value for value in wave if value), 0.0)
        if leading < 0:
            continue  # the conjugate of one that is taken
        double = 2.0 if leading else 1.0
        for phase, part in ((0.0, double * spectrum[index].real), (-np.pi / 2, -double * spectrum[index].imag)):
            if phase and not leading:
                continue
            found.append((wave, phase, power, part))
    # Derivatives turn cosines into sines and lower powers: a wave of which one is needed keeps all.
    needed = {tuple(wave) for wave, _, _, part in found if np.abs(part).max() > tolerance}
    kept = [entry for entry in found if tuple(entry[0]) in needed]
    return (
        np.stack([wave for wave, _, _, _ in kept], axis=1),
        np.array([phase for _, phase, _, _ in kept]),
        np.stack([power for _, _, power, _ in kept], axis=1),
        np.stack([part for _, _, _, part in kept]),
    )


def _derivative(waves: Array, phases: Array, powers: Array, joint: int) -> Array:
    """[F, F]: row f holds the derivative of term f by that joint's position, in terms of the same terms."""
    names = {(tuple(waves[:, f]), phases[f], tuple(powers[:, f])): f for f in range(len(phases))}
    matrix = np.zeros((len(phases), len(phases)))
    for (wave, phase, power), row in names.items():
        if wave[joint]:
            other = -np.pi / 2 if phase == 0.0 else 0.0
            matrix[row, names[wave, other, power]] = -wave[joint] if phase == 0.0 else wave[joint]
        if power[joint]:
            lower = tuple(value - (axis == joint) for axis, value in enumerate(power))
            matrix[row, names[wave, phase, lower]] = power[joint]
    return matrix


class RigidBody(nn.Module):
    """Forces of E bodies of one shape, each with inertial parameters of its own.

    Args:
        terms: of the robot.
        members: E.
        armature: [J] inertia of the rotors, as the joints feel it [kg m^2 or kg].
    """

    def __init__(self, terms: Polynomial, members: int, armature: Sequence[float]):
        super().__init__()
        joints = terms.mass.shape[1]
        self.joints = joints
        self.waves: Tensor = nn.Buffer(torch.tensor(terms.waves, dtype=torch.float32), persistent=False)
        self.phases: Tensor = nn.Buffer(torch.tensor(terms.phases, dtype=torch.float32), persistent=False)
        self.powers = terms.powers if terms.powers.any() else None
        count = len(terms.phases)
        still = ~(terms.waves.any(axis=0) | terms.powers.any(axis=0))
        # Where the term is that does not depend on the positions: rotors add to it.
        self.still: Tensor = nn.Buffer(torch.tensor(still, dtype=torch.float32)[:, None], persistent=False)
        self.lower = [(row, column) for row in range(joints) for column in range(row + 1)]
        entries = np.stack([terms.mass[:, row, column] for row, column in self.lower], axis=1)
        linear = np.concatenate([entries, terms.christoffel.reshape(count, -1, entries.shape[-1]), terms.weight], axis=1)
        self.linear: Tensor = nn.Buffer(torch.tensor(linear, dtype=torch.float32), persistent=False)
        factors = torch.tensor(np.stack([_factor(row) for row in terms.nominal]), dtype=torch.float32)
        self.bodies = nn.Parameter(factors.repeat(members, 1, 1))
        # Rotors may couple joints (a belt drive's motor sits on another link): a factor of their inertia.
        rotors = torch.diag(torch.sqrt(torch.tensor(armature, dtype=torch.float32)))
        self.rotors = nn.Parameter(rotors.repeat(members, 1, 1))

    def coefficients(self) -> Tensor:
        """[E, F, .] of the polynomials, from the parameters: needed once a rollout, not once a step."""
        terms = torch.einsum("fop,ep->efo", self.linear, _inertial(self.bodies).flatten(1))
        rotors = self.rotors @ self.rotors.transpose(1, 2)
        added = torch.stack([rotors[:, row, column] for row, column in self.lower], dim=-1)
        added = nn.functional.pad(added, (0, terms.shape[2] - added.shape[1]))
        return terms + self.still * added[:, None]

    def forward(self, coefficients: Tensor, q: Tensor, dq: Tensor) -> tuple[list[list[Tensor]], Tensor]:
        """The lower triangle of the mass matrix, row by row [E, N], and c(q, dq) + g(q) [E, N, J], at positions and velocities
        [E, N, J]."""
        joints = self.joints
        terms = torch.cos(q @ self.waves + self.phases)
        if self.powers is not None:
            terms = terms * self._monomials(q)
        mass, symbols, weight = torch.split(terms @ coefficients, [len(self.lower), joints**3, joints], dim=-1)
        entries, rows = mass.unbind(-1), []
        for row in range(joints):
            rows.append([entries[row * (row + 1) // 2 + column] for column in range(row + 1)])
        squares = (dq[..., :, None] * dq[..., None, :]).flatten(-2)
        return rows, (symbols.reshape(*symbols.shape[:-1], joints, joints**2) @ squares[..., None])[..., 0] + weight

    def _monomials(self, q: Tensor) -> Tensor:
        columns = []
        assert self.powers is not None
        for powers in self.powers.T:
            column = torch.ones_like(q[..., 0])
            for joint, power in enumerate(powers):
                for _ in range(int(power)):
                    column = column * q[..., joint]
            columns.append(column)
        return torch.stack(columns, dim=-1)


def _factor(parameters: Array) -> Array:
    """(alpha, d1, d2, d3, s12, s13, s23, t1, t2, t3) of the factor U of a pseudo-inertia U U^T, exp(alpha) taken out."""
    mass, first = parameters[0], parameters[1:4]
    xx, yy, zz, xy, xz, yz = parameters[4:]
    pseudo = np.block([[np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]), first[:, None]], [first[None], np.array([[mass]])]])
    # An upper triangular factor is the lower one of the reversed matrix, reversed.
    upper = np.linalg.cholesky(pseudo[::-1, ::-1])[::-1, ::-1]
    scale = upper[3, 3]
    upper = upper / scale
    diagonal = np.log(np.diag(upper)[:3])
    return np.array([np.log(scale), *diagonal, upper[0, 1], upper[0, 2], upper[1, 2], *upper[:3, 3]])


def _inertial(factors: Tensor) -> Tensor:
    """The 10 parameters [..., 10] that ``_factor`` factorised [..., 10]."""
    alpha, d1, d2, d3, s12, s13, s23, t1, t2, t3 = factors.unbind(-1)
    e1, e2, e3, mass = torch.exp(d1), torch.exp(d2), torch.exp(d3), torch.exp(2 * alpha)
    xx, yy, zz = e1**2 + s12**2 + s13**2 + t1**2, e2**2 + s23**2 + t2**2, e3**2 + t3**2
    xy, xz, yz = s12 * e2 + s13 * s23 + t1 * t2, s13 * e3 + t1 * t3, s23 * e3 + t2 * t3
    rows = [torch.ones_like(xx), t1, t2, t3, xx, yy, zz, xy, xz, yz]
    return torch.stack(rows, dim=-1) * mass[..., None]


def per_joint(value: float | Mapping[str, float], names: Sequence[str], default: float = 0.0) -> Tensor:
    """[J] of a number for all joints, or of one per name."""
    return torch.tensor(
        [value.get(name, default) if isinstance(value, Mapping) else value for name in names], dtype=torch.float32
    )


def solve(rows: Sequence[Sequence[Tensor]], right: Tensor) -> Tensor:
    """x [..., J] of M x = ``right`` [..., J], for the lower triangle ``rows`` of symmetric positive definite matrices: written
    out (L D L^T), so that it is traced to ONNX, which knows no solver."""
    size = len(rows)
    lower: list[list[Tensor]] = []
    pivots: list[Tensor] = []
    for i in range(size):
        scaled: list[Tensor] = []
        pivot = rows[i][i]
        for j in range(i):
            value = rows[i][j]
            for k in range(j):
                value = value - scaled[k] * lower[j][k]
            scaled.append(value)
        row = [value / pivots[j] for j, value in enumerate(scaled)]
        for value, ratio in zip(scaled, row, strict=True):
            pivot = pivot - value * ratio
        lower.append(row)
        pivots.append(pivot)
    found = list(right.unbind(-1))
    for i in range(size):
        for k in range(i):
            found[i] = found[i] - lower[i][k] * found[k]
    found = [value / pivot for value, pivot in zip(found, pivots, strict=True)]
    for i in reversed(range(size)):
        for k in range(i + 1, size):
            found[i] = found[i] - lower[k][i] * found[k]
    return torch.stack(found, dim=-1)
