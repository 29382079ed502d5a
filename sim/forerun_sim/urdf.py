"""A URDF as data: links with their inertials, joints with their axes and limits."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from forerun_sim.errors import InputError
from forerun_sim.kinematics import ORIGIN, Frame, Vector
from forerun_sim.spec.randomization import OF_LINKS
from forerun_sim.spec.robot import RobotSpec
from forerun_sim.spec.scene import SHIFTS, coordinates
from forerun_sim.urdf_checks import check_bodies, check_loadable
from forerun_sim.urdf_shapes import LONGEST, Shape, parse_shapes
from forerun_sim.urdf_xml import read_urdf

MOVABLE = ("revolute", "continuous", "prismatic")
TYPES = (*MOVABLE, "fixed")
LONGEST_NAME = 200
"""Characters; PyBullet dies of names of some thousand."""
_X, _Y, _Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
_AXES = {"x": _X, "y": _Y, "z": _Z, "roll": _X, "pitch": _Y, "yaw": _Z}


@dataclass(frozen=True)
class Link:
    """A rigid body. ``com`` [m] in the link's frame; ``inertia`` (ixx, iyy, izz, ixy, ixz, iyz) [kg m^2] about the centre of
    mass, along axes turned by ``inertia_rpy`` from the link's. Mass 0 where the URDF gives no inertial."""

    name: str
    mass: float = 0.0
    com: Vector = (0.0, 0.0, 0.0)
    inertia_rpy: Vector = (0.0, 0.0, 0.0)
    inertia: tuple[float, ...] = (0.0,) * 6
    shapes: tuple[Shape, ...] = ()


@dataclass(frozen=True)
class UrdfJoint:
    """A joint: the child's frame stands at ``xyz`` [m], ``rpy`` [rad] in the parent's; it moves along or about ``axis``.

    ``limited``: it has a <limit>. ``mimics`` is the joint that it is to follow by a gear."""

    name: str
    type: str
    parent: str
    child: str
    xyz: Vector = (0.0, 0.0, 0.0)
    rpy: Vector = (0.0, 0.0, 0.0)
    axis: Vector = (1.0, 0.0, 0.0)
    lower: float | None = None
    upper: float | None = None
    effort: float | None = None
    velocity: float | None = None
    damping: float = 0.0
    friction: float = 0.0
    limited: bool = False
    mimics: str | None = None

    @property
    def movable(self) -> bool:
        return self.type in MOVABLE


@dataclass(frozen=True)
class Urdf:
    """Links and joints by name, in the order of the file. The links form one tree.

    ``bodies`` are the bodies of the scene that no joint holds, with their motion, planar or floating (``spec.scene``); ``base``
    is the root link. ``heights`` [m] is where a planar one's frame stands."""

    path: Path
    links: dict[str, Link]
    joints: dict[str, UrdfJoint]
    parents: dict[str, UrdfJoint] = field(repr=False)
    """The joint above each link but the root."""
    bodies: Mapping[str, str] = field(default_factory=dict)
    heights: Mapping[str, float] = field(default_factory=dict)
    name: str = ""

    @property
    def movable(self) -> tuple[str, ...]:
        """Names of the joints that move."""
        return tuple(joint.name for joint in self.joints.values() if joint.movable)

    @cached_property
    def root(self) -> str:
        """The link that no joint carries: the base frame."""
        return next(name for name in self.links if name not in self.parents)

    def moved(self, link: str) -> bool:
        """Whether ``link`` can move in the world: its base does, or a joint between the two."""
        return "base" in self.bodies or any(joint.movable for joint in self.branch(link))

    @property
    def rigid(self) -> tuple[str, ...]:
        """The links that no joint moves against the root, the root among them."""
        return tuple(link for link in self.links if not any(joint.movable for joint in self.branch(link)))

    @property
    def carrier(self) -> str:
        """The heaviest of the links that are rigid with the root: what carries the load of a robot that moves about."""
        return max(self.rigid, key=lambda link: self.links[link].mass)

    def branch(self, link: str) -> tuple[UrdfJoint, ...]:
        """The joints from ``link`` up to the base, nearest first."""
        found: list[UrdfJoint] = []
        while link in self.parents:
            found.append(self.parents[link])
            link = found[-1].parent
        return tuple(found)

    def renamed(self, names: Mapping[str, str]) -> Urdf:
        """The same with joints called by other names, old -> new. Names that it does not have are left alone."""
        joints = {old: replace(joint, name=names.get(old, old)) for old, joint in self.joints.items()}
        parents = {link: joints[joint.name] for link, joint in self.parents.items()}
        return replace(self, joints={joint.name: joint for joint in joints.values()}, parents=parents)

    def frames(self, joints: Sequence[str]) -> tuple[Frame, ...]:
        """The tree as data, every link after its parent. The first is the world, which is the root link where the base is fixed;
        a body that moves freely hangs on it by its coordinates, as on joints.

        Joints of the URDF that are not in ``joints`` (the order of the positions) stand at 0.
        """
        order = sorted(self.links, key=lambda link: len(self.branch(link)))
        com = self.links[self.root].com
        found = [Frame(self.root, com=com)]
        if "base" in self.bodies:
            found = [Frame("world"), *self._free("base", self.root, joints, com)]
        above = len(found) - 1
        for name in order[1:]:
            joint = self.parents[name]
            moves = joint.movable and joint.name in joints
            index = list(joints).index(joint.name) if moves else -1
            parent, com = above + order.index(joint.parent), self.links[name].com
            found.append(Frame(name, parent, index, joint.type, joint.axis, joint.xyz, joint.rpy, com))
        for body in self.bodies:
            if body != "base":
                found += self._free(body, body, joints, ORIGIN, first=len(found))
        return tuple(found)

    def _free(self, body: str, link: str, joints: Sequence[str], com: Vector, first: int = 1) -> list[Frame]:
        """The frames from the world to ``link`` of a free ``body``, the first at index ``first``: its shifts, then its angles."""
        names = coordinates(body, self.bodies[body])
        shifts = [name for name in names if name.rpartition("_")[2] in SHIFTS]
        chain = shifts + [name for name in reversed(names) if name not in shifts]
        found: list[Frame] = []
        for depth, name in enumerate(chain):
            kind = "prismatic" if name in shifts else "continuous"
            start = (0.0, 0.0, self.heights.get(body, 0.0)) if depth == 0 else ORIGIN
            parent = first + depth - 1 if depth else 0
            last = depth == len(chain) - 1
            axis, inside = _AXES[name.rpartition("_")[2]], com if last else ORIGIN
            found.append(Frame(link if last else name, parent, joints.index(name), kind, axis, start, com=inside))
        return found


def load_urdf(path: Path) -> Urdf:
    """The robot that the URDF at ``path`` describes.

    Raises:
        InputError: the file is missing, no XML, or no tree of links; the message names it and what is wrong.
    """
    tree = read_urdf(path)
    try:
        links = [_link(element) for element in tree.findall("link")]
        joints = [_joint(element) for element in tree.findall("joint")]
        return replace(_assemble(path, links, joints), name=tree.get("name", ""))
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def _assemble(path: Path, links: list[Link], joints: list[UrdfJoint]) -> Urdf:
    for kind, names in (("link", [link.name for link in links]), ("joint", [joint.name for joint in joints])):
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"the URDF has more than one {kind} named {doubled}: give each its own name")
    by_name = {link.name: link for link in links}
    parents: dict[str, UrdfJoint] = {}
    for joint in joints:
        for end in (joint.parent, joint.child):
            if end not in by_name:
                raise ValueError(f"joint '{joint.name}' names link '{end}', which does not exist; links: {', '.join(by_name)}")
        if joint.child in parents:
            raise ValueError(
                f"link '{joint.child}' hangs on two joints: '{parents[joint.child].name}' and '{joint.name}': take one out"
            )
        parents[joint.child] = joint
    roots = [name for name in by_name if name not in parents]
    if len(roots) != 1:
        raise ValueError(
            f"the links must form one tree with one root; roots found: {roots or 'none'}; join the others, or take them out"
        )
    urdf = Urdf(path, by_name, {joint.name: joint for joint in joints}, parents)
    reached = {roots[0]}
    while grown := {joint.child for joint in joints if joint.parent in reached} - reached:
        reached |= grown
    if len(reached) != len(links):
        raise ValueError(
            f"the links {sorted(set(by_name) - reached)} hang on each other in a circle: take out the joint that closes it"
        )
    return urdf


def _name(element: ElementTree.Element) -> str:
    name = element.get("name")
    if not name:
        raise ValueError(f"a <{element.tag}> has no name: write <{element.tag} name=...>")
    if len(name) > LONGEST_NAME:
        raise ValueError(
            f"the <{element.tag}> '{name[:40]}...' has a name of {len(name)} characters, at most {LONGEST_NAME} are read"
        )
    return name


def _number(element: ElementTree.Element | None, key: str, where: str, default: float | None = None) -> float:
    text = None if element is None else element.get(key)
    if text is None:
        if default is None:
            raise ValueError(f"{where} has no '{key}'")
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}: {key}='{text}' is no number")
    return value


def _vector(element: ElementTree.Element | None, key: str, where: str, default: Vector) -> Vector:
    text = None if element is None else element.get(key)
    if text is None:
        return default
    try:
        x, y, z = (float(part) for part in text.split())
    except ValueError as error:
        made = "; the file is a half-expanded xacro: expand it with all of its arguments" if "$" in text else ""
        raise ValueError(f"{where}: {key}='{text}' is not three numbers separated by spaces{made}") from error
    if not all(abs(value) <= LONGEST for value in (x, y, z)):
        raise ValueError(f"{where}: {key}='{text}' is not finite, or beyond {LONGEST:g}: lengths are in m, angles in rad")
    return (x, y, z)


def _link(element: ElementTree.Element) -> Link:
    name = _name(element)
    shapes = parse_shapes(element, f"link '{name}'")
    inertial = element.find("inertial")
    if inertial is None:
        return Link(name, shapes=shapes)
    where = f"the inertial of link '{name}'"
    mass = _number(inertial.find("mass"), "value", f"{where}: its <mass>")
    body = inertial.find("inertia")
    moments = tuple(_number(body, key, f"{where}: its <inertia>") for key in ("ixx", "iyy", "izz"))
    inertia = moments + tuple(_number(body, key, f"{where}: its <inertia>", 0.0) for key in ("ixy", "ixz", "iyz"))
    if mass < 0 or min(inertia[:3]) < 0:
        raise ValueError(f"{where} has a negative mass or moment of inertia: measure again; none can be below 0")
    origin = inertial.find("origin")
    zero = (0.0, 0.0, 0.0)
    return Link(name, mass, _vector(origin, "xyz", where, zero), _vector(origin, "rpy", where, zero), inertia, shapes)


def _joint(element: ElementTree.Element) -> UrdfJoint:
    name = _name(element)
    where = f"joint '{name}'"
    kind = element.get("type", "")
    if kind not in TYPES:
        raise ValueError(f"{where} is of type '{kind}'; Forerun knows {', '.join(TYPES)}")
    ends = {tag: element.find(tag) for tag in ("parent", "child")}
    parent, child = (end.get("link", "") if end is not None else "" for end in ends.values())
    if not parent or not child:
        raise ValueError(f"{where} needs a <parent link=...> and a <child link=...>")
    stated = element.find("axis") if kind in MOVABLE else None  # files give fixed joints any axis, even 0 0 0
    axis = np.array(_vector(stated, "xyz", where, (1.0, 0.0, 0.0)))
    length = float(np.linalg.norm(axis))
    if length == 0:
        raise ValueError(f"{where} has the axis 0 0 0")
    if kind == "prismatic" and abs(length - 1.0) > 1e-3:
        # Readers disagree on whether such a joint moves by its position or by its position times the length.
        raise ValueError(f"{where} moves along an axis of length {length:.4g}: give it the length 1")
    x, y, z = (float(value) for value in axis / length)
    limit = element.find("limit")
    bounds = {}
    if limit is not None:
        bounds = {
            key: _number(limit, key, where) for key in ("lower", "upper", "effort", "velocity") if limit.get(key) is not None
        }
    origin, mimic = element.find("origin"), element.find("mimic")
    zero = (0.0, 0.0, 0.0)
    return UrdfJoint(
        name=name,
        type=kind,
        parent=parent,
        child=child,
        xyz=_vector(origin, "xyz", where, zero),
        rpy=_vector(origin, "rpy", where, zero),
        axis=(x, y, z),
        damping=_number(element.find("dynamics"), "damping", where, 0.0),
        friction=_number(element.find("dynamics"), "friction", where, 0.0),
        limited=limit is not None,
        mimics=None if mimic is None else mimic.get("joint", ""),
        **bounds,
    )


def robot_urdf(spec: RobotSpec) -> Urdf:
    """The URDF of ``spec``, its joints called as in robot.yaml, with the bodies of its scene.

    Raises:
        InputError: the robot has none, or it is wrong.
    """
    if spec.urdf is None:
        raise InputError(f"robot '{spec.name}' has no urdf: it exists as logs alone and can be neither simulated nor drawn")
    names = {joint.in_urdf: joint.name for joint in spec.joints if joint.in_urdf is not None}
    urdf = load_urdf(spec.file(spec.urdf))
    doubled = sorted((set(urdf.joints) - set(names)) & set(names.values()))
    if doubled:
        raise InputError(f"robot '{spec.name}': {urdf.path} has joints {doubled} already; in_urdf cannot give others that name")
    taken = sorted(set(spec.objects) & set(urdf.links)) + sorted(set(spec.coordinates) & set(urdf.joints))
    if taken:
        raise InputError(f"robot '{spec.name}': {urdf.path} has {taken} already; call the objects otherwise, or the base fixed")
    height = 0.0 if spec.ground is None else spec.ground.height
    heights = {name: height + item.half_height for name, item in spec.objects.items() if item.motion == "planar"}
    return replace(urdf.renamed(names), bodies=spec.bodies, heights=heights)


def check_joints(spec: RobotSpec, path: Path) -> None:
    """Checks the joint and link names of ``spec``, read from ``path``, against its URDF.

    Raises:
        InputError: the URDF is broken, lacks a joint or link that robot.yaml names, or has it as another type, or has bodies that
            cannot exist, or meshes that are not there. The message names the file, the key or the link, and what to do.
    """
    urdf = robot_urdf(spec)
    called = {joint.name: joint.in_urdf for joint in spec.joints if joint.in_urdf is not None}
    for index, joint in enumerate(spec.joints):
        key = f"{path}: joints.{index}"
        if joint.name in spec.coordinates:
            continue
        if joint.name not in urdf.joints:
            wanted, which = joint.in_urdf or joint.name, "in_urdf" if joint.in_urdf else "name"
            has = f"{urdf.path} has: {', '.join(called.get(name, name) for name in urdf.movable) or 'none'}"
            raise InputError(f"{key}.{which}: no joint named '{wanted}' in the URDF; {has}")
        kind = urdf.joints[joint.name].type
        if kind != joint.type:
            raise InputError(f"{key}.type: joint '{joint.name}' is {joint.type} here, but {kind} in {urdf.path}")
    check_bodies(urdf)
    check_loadable(urdf)
    if "base" in spec.bodies and not any(urdf.links[link].mass > 0 for link in urdf.rigid):
        raise InputError(f"{urdf.path}: link '{urdf.root}', which is to move as the base, has no mass: give it an <inertial>")
    _check_links(spec, urdf, path)


def _check_links(spec: RobotSpec, urdf: Urdf, path: Path) -> None:
    named: list[tuple[str, str]] = []
    for key in OF_LINKS:
        drawn = getattr(spec.randomization, key)
        named += [(f"randomization.{key}", link) for link in drawn] if isinstance(drawn, dict) else []
    for key in ("texture", "pattern"):
        drawn = getattr(spec.randomization, key)
        named += [(f"randomization.{key}", re.sub(r"\.[rgb]$", "", name)) for name in drawn] if isinstance(drawn, dict) else []
    named += [(f"cameras.{name}.link", camera.link) for name, camera in spec.cameras.items() if camera.link is not None]
    for task_name, task in spec.tasks.items():
        where = f"tasks.{task_name}"
        terms = [term for outer in task.terms for term in outer.flat()]
        named += [(where, link) for term in terms for link in (term.link, term.to) if link is not None]
        named += [(where, feature[5:].rpartition(".")[0]) for feature in task.features() if feature.startswith("link:")]
    for key, link in named:
        of_pictures = key in ("randomization.texture", "randomization.pattern")
        if link not in urdf.links and link not in spec.objects and not (of_pictures and link == "ground"):
            raise InputError(f"{path}: {key}: no link named '{link}' in the URDF; {urdf.path} has: {', '.join(urdf.links)}")
