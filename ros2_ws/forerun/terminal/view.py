"""What was heard, as one picture of the robot's state: the controller, its streams, other nodes, and who is missing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from forerun.terminal.foresight import Error, prediction_error
from forerun.terminal.heard import Heard, Measured, Status

_SILENT = 3.0
"""Diagnostics come once a second; after so long [s] a node is silent."""
_PARTS = {"control", "timing"}
"""A node that reports one of these is a controller."""

Value = float | bool | str


@dataclass(frozen=True)
class Topic:
    """A topic's resolved name, and the nodes that publish it."""

    name: str
    publishers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Surroundings:
    """What is known beside the messages.

    Attributes:
        domain, discovery: ROS_DOMAIN_ID and ROS_AUTOMATIC_DISCOVERY_RANGE in force.
        namespace: in which is listened; empty: the root.
        nodes: fully qualified names of all nodes in the graph but the listener.
        states, commands: the topics of the robot's states and commands.
        elsewhere: namespaces in which somebody publishes joint_states or a controller reports, other than this one.
    """

    domain: str
    discovery: str
    states: Topic
    commands: Topic
    namespace: str = ""
    nodes: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """A status as it is shown; ``values`` are numbers and truth values where they can be read as such."""

    level: str
    message: str
    values: dict[str, Value]


@dataclass(frozen=True)
class NodeView:
    """A node's statuses by part; ``age`` [s] of the newest, ``silent`` where that is too old."""

    name: str
    parts: dict[str, Part]
    age: float
    silent: bool

    def value(self, part: str, key: str) -> Value | None:
        """A value of one part; None where it was not said."""
        return self.parts[part].values.get(key) if part in self.parts else None


@dataclass(frozen=True)
class View:
    """All that is shown.

    Attributes:
        controller: None where none reports.
        others: further nodes that report, such as a trainer or the guard.
        states, commands: figures of the streams as they arrived here.
        prediction: error of the controller's plans; None where it is not known.
        announced: newest text on ``bundle``.
        missing: who is not heard, and what to do, a sentence each.
    """

    surroundings: Surroundings
    controller: NodeView | None
    others: tuple[NodeView, ...]
    states: Measured
    commands: Measured
    prediction: Error | None
    announced: str
    missing: tuple[str, ...]


def view(heard: Heard, surroundings: Surroundings, now: float) -> View:
    """The picture at ``now`` [s]."""
    inside = f"{surroundings.namespace.strip('/')}/" if surroundings.namespace.strip("/") else ""
    here = (name for name in sorted(heard.statuses) if name.startswith(inside) and "/" not in name[len(inside) :])
    nodes = [_node(name, heard.statuses[name], now) for name in here]
    controllers = [node for node in nodes if _PARTS & set(node.parts)]
    # Where there are several, the one that still speaks.
    controller = min(controllers, key=lambda node: node.silent, default=None)
    states, commands = heard.states.measured(now), heard.commands.measured(now)
    return View(
        surroundings,
        controller,
        tuple(node for node in nodes if node is not controller),
        states,
        commands,
        prediction_error(heard),
        heard.announced,
        tuple(_missing(controller, states, commands, surroundings)),
    )


def _node(name: str, parts: dict[str, Status], now: float) -> NodeView:
    age = now - max(part.at for part in parts.values())
    # A part that is no longer said, as after a clean-up, is over.
    newest = {key: part for key, part in parts.items() if now - part.at < age + _SILENT}
    shown = {
        key: Part(part.level, part.message, {name: _read(text) for name, text in part.values.items()})
        for key, part in newest.items()
    }
    return NodeView(name, shown, age, age > _SILENT)


def _read(text: str) -> Value:
    if text in ("True", "False"):
        return text == "True"
    try:
        return float(text)
    except ValueError:
        return text


def _missing(controller: NodeView | None, states: Measured, commands: Measured, around: Surroundings) -> list[str]:
    where = f"ROS_DOMAIN_ID {around.domain}, discovery {around.discovery}"
    if controller is None and math.isnan(states.age) and math.isnan(commands.age) and not around.nodes:
        return [
            f"nothing is heard, and no other node is seen ({where}): are the nodes started with the same ROS_DOMAIN_ID and "
            "ROS_AUTOMATIC_DISCOVERY_RANGE? `forerun doctor` tries whether DDS works here"
        ]
    found = []
    if controller is None:
        found.append(f"no controller reports on /diagnostics ({where}); seen: {', '.join(around.nodes) or 'no node'}")
    elif controller.silent:
        found.append(f"{controller.name} has been silent for {controller.age:.0f} s: its process has ended or hangs")
    found += _silence(around.states, states)
    # A controller that stands says so itself.
    if controller is not None and "control" in controller.parts and controller.parts["control"].message.startswith("running"):
        found += _silence(around.commands, commands)
    if around.elsewhere:
        places = ", ".join(f"--namespace {name}" for name in around.elsewhere)
        found.append(f"something is heard in another namespace: {places}")
    return found


def _silence(topic: Topic, stream: Measured) -> list[str]:
    if math.isnan(stream.age):
        return [f"nothing comes on {topic.name}: {', '.join(topic.publishers) or 'nobody'} publishes it"]
    return [f"{topic.name} has been silent for {stream.age:.0f} s"] if stream.age > _SILENT else []
