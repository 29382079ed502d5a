"""``~/markers``: the robot, what the model's members imagine, and what the controller says, for RViz and Foxglove.

Only while somebody subscribes, and from the thread that spins, never from the loop's. Messages are made once and filled anew.
"""

from __future__ import annotations

from geometry_msgs.msg import Point
from rclpy.duration import Duration
from rclpy.node import Node
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from forerun.control.ticks import Tick, Verdict
from forerun.control.view import Points, View
from forerun.nodes import qos
from forerun_models.bundle import Manifest

_Rgb = tuple[float, float, float]

# Blue, yellow, vermilion of Okabe and Ito's palette, which colour-blind people tell apart ("Color Universal Design", 2008).
_CALM, _WARY, _ALARMED = (0.0, 0.447, 0.698), (0.941, 0.894, 0.259), (0.835, 0.369, 0.0)
_SKY, _ORANGE, _GREY = (0.337, 0.706, 0.914), (0.902, 0.624, 0.0), (0.6, 0.6, 0.6)
_SHADES = 64
_VERDICTS = {Verdict.PLAN: _SKY, Verdict.BRIDGED: _ORANGE, Verdict.WAITING: _ORANGE}
_LIFETIME = 1.0
"""Markers of a controller that is gone go after this time [s]."""


class Markers:
    """Publishes ticks as markers. Ids are stable: namespace ``robot`` (0 lines, 1 joints), ``imagined`` (a member and tip),
    ``plan`` (a tip), ``text`` (0 the verdict, from 1 on labels).

    Args:
        node: owns the publisher.
        frame: frame_id of all markers; the robot's root link stands in its origin.
    """

    def __init__(self, node: Node, frame: str) -> None:
        self._node = node
        self._frame = frame
        self._drawn_by: tuple[Manifest, View] | None = None
        self._publisher = node.create_publisher(MarkerArray, "~/markers", qos.VIEWS)
        self._markers: dict[tuple[str, int], Marker] = {}
        self._points: dict[tuple[str, int], list[Point]] = {}
        self._shown: set[tuple[str, int]] = set()
        self._faint = [_colour(_shade(i / (_SHADES - 1)), 0.6) for i in range(_SHADES)]
        self._full = [_colour(_shade(i / (_SHADES - 1)), 1.0) for i in range(_SHADES)]

    def show(self, tick: Tick, manifest: Manifest) -> None:
        """Publishes ``tick`` of the bundle that ``manifest`` describes, if somebody looks."""
        if not self._publisher.get_subscription_count():
            self._shown.clear()
            return
        if self._drawn_by is None or self._drawn_by[0] is not manifest:
            self._drawn_by = manifest, View(manifest)
        view = self._drawn_by[1]
        scene, size = view.scene(tick), view.size
        shades = (scene.alarm * (_SHADES - 1)).round().astype(int).tolist()
        faint, full = [self._faint[i] for i in shades], [self._full[i] for i in shades]
        drawn: list[tuple[str, int]] = []

        def lines(name: str, index: int, kind: int, width: float, points: Points, colours: list[ColorRGBA]) -> None:
            if len(points):
                drawn.append((name, index))
                marker = self._marker(name, index, kind)
                self._fill((name, index), points)
                marker.colors = colours
                marker.scale.x = width
                marker.scale.y = marker.scale.z = width if kind == Marker.SPHERE_LIST else 0.0

        lines("robot", 0, Marker.LINE_LIST, 0.02 * size, scene.bones.reshape(-1, 3), [])
        lines("robot", 1, Marker.SPHERE_LIST, 0.06 * size, scene.pivots, [])
        for index, path in enumerate(path for tip in scene.imagined for path in tip):
            lines("imagined", index, Marker.LINE_STRIP, 0.006 * size, path, faint)
        for index, path in enumerate(scene.plan):
            lines("plan", index, Marker.LINE_STRIP, 0.018 * size, path, full)
        drawn += self._texts(view, scene.text, tick.verdict)
        self._publish(drawn)

    def clear(self) -> None:
        """Removes what is shown, as the controller does not run any more."""
        if self._shown:
            self._publish([])

    def close(self) -> None:
        """Removes what is shown and destroys the publisher."""
        self.clear()
        self._node.destroy_publisher(self._publisher)

    def _texts(self, view: View, text: str, verdict: Verdict) -> list[tuple[str, int]]:
        written = [(text, view.text_at), *view.labels]
        for index, (words, place) in enumerate(written):
            marker = self._marker("text", index, Marker.TEXT_VIEW_FACING)
            marker.text = words
            marker.scale.z = 0.08 * view.size
            marker.pose.position.x, marker.pose.position.y, marker.pose.position.z = place
        self._marker("text", 0, Marker.TEXT_VIEW_FACING).color = _colour(_VERDICTS.get(verdict, _ALARMED), 1.0)
        return [("text", index) for index in range(len(written))]

    def _marker(self, name: str, index: int, kind: int) -> Marker:
        marker = self._markers.get((name, index))
        if marker is None:
            marker = Marker(ns=name, id=index, type=kind, color=_colour(_GREY, 1.0))
            marker.header.frame_id = self._frame
            marker.pose.orientation.w = 1.0
            marker.lifetime = Duration(seconds=_LIFETIME).to_msg()
            self._markers[name, index] = marker
        return marker

    def _fill(self, key: tuple[str, int], points: Points) -> None:
        pool = self._points.setdefault(key, [])
        pool += [Point() for _ in range(len(points) - len(pool))]
        for point, (x, y, z) in zip(pool, points.tolist(), strict=False):
            point.x, point.y, point.z = x, y, z
        self._markers[key].points = pool[: len(points)]

    def _publish(self, drawn: list[tuple[str, int]]) -> None:
        stamp = self._node.get_clock().now().to_msg()
        message = MarkerArray()
        for key in drawn:
            marker = self._markers[key]
            marker.action, marker.header.stamp = Marker.ADD, stamp
            message.markers.append(marker)
        for name, index in sorted(self._shown - set(drawn)):
            gone = Marker(ns=name, id=index, action=Marker.DELETE)
            gone.header.frame_id, gone.header.stamp = self._frame, stamp
            message.markers.append(gone)
        self._shown = set(drawn)
        self._publisher.publish(message)


def _shade(alarm: float) -> _Rgb:
    """Calm to alarmed, for 0 to 1."""
    low, high, share = (_CALM, _WARY, 2 * alarm) if alarm < 0.5 else (_WARY, _ALARMED, 2 * alarm - 1)
    red, green, blue = (a + share * (b - a) for a, b in zip(low, high, strict=True))
    return (red, green, blue)


def _colour(rgb: _Rgb, opacity: float) -> ColorRGBA:
    red, green, blue = rgb
    return ColorRGBA(r=red, g=green, b=blue, a=opacity)
