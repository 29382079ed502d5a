"""Who else publishes what only one node should: the robot's states, and its commands.

The graph knows it, though not at once: a node that was killed stays in it for some seconds (20 with Fast DDS' defaults). So what
is found here is said and stops nothing; states that contradict each other do (forerun.control.watch).
"""

from __future__ import annotations

from rclpy.node import Node

_PERIOD = 1.0
"""Seconds from one look at the graph to the next."""


class Peers:
    """Looks at the graph about once a second.

    Args:
        node: the controller.
        states, commands: topics.
        dry_run: somebody else commands the robot, as it should be.

    Attributes:
        states: names of the nodes that publish the robot's states, one entry a publisher.
        commanders: names of the other nodes that publish commands.
    """

    def __init__(self, node: Node, states: str, commands: str, dry_run: bool) -> None:
        self._node, self._dry_run = node, dry_run
        self._states_topic, self._commands_topic = states, commands
        self._own = node.get_fully_qualified_name()
        self._due = 0.0
        self.states: list[str] = []
        self.commanders: list[str] = []

    def look(self, now: float) -> None:
        """To be called often; ``now`` [s, monotonic]."""
        if now < self._due:
            return
        self._due = now + _PERIOD
        self.states = self._publishers(self._states_topic)
        self.commanders = self._publishers(self._commands_topic)
        if self._own in self.commanders and not self._dry_run:
            # Once: a second controller may have the same name.
            self.commanders.remove(self._own)

    @property
    def problem(self) -> str:
        """What is wrong; empty where nothing is."""
        if self.commanders and not self._dry_run:
            return f"somebody else may command the robot: {', '.join(self.commanders)} on {self._commands_topic}"
        return self.doubled_states

    @property
    def doubled_states(self) -> str:
        """Who contradicts whom, perhaps; empty where the robot alone speaks."""
        if len(self.states) < 2:
            return ""
        return f"{len(self.states)} publishers on {self._states_topic}: {', '.join(self.states)}"

    def _publishers(self, topic: str) -> list[str]:
        found = self._node.get_publishers_info_by_topic(topic)
        return sorted(f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in found)
