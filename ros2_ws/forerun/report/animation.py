"""The robot in motion: before and after in one animated GIF, in real time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from forerun.report.charts import AFTER, BEFORE
from forerun.report.data import Episode
from forerun.report.drawing import Drawing, Points
from forerun_sim.spec import RobotSpec

_WIDTH, _TALLEST, _HEADER = 660, 340, 28
_OVERSAMPLING = 2
_FRAME = 0.06
_PAUSE = 1500
_LONGEST = 12.0
_INK, _PAPER, _STILL, _MUTED, _LINE = "#24303a", "#ffffff", "#c9d1d9", "#6b7680", "#e1e6eb"
_COLOURS = (BEFORE, AFTER, _INK, _STILL, _MUTED, _LINE)


@dataclass(frozen=True)
class Scene:
    """One panel: a name, a colour, polygons and pivots per frame in metres."""

    name: str
    colour: str
    polygons: list[Points]
    pivots: list[Points]
    moving: list[bool]


def animate(spec: RobotSpec, episodes: Sequence[tuple[str, Episode]]) -> bytes | None:
    """An animated GIF of ``episodes`` (name, episode) beside each other; None where the robot cannot be drawn.

    Episodes are shown at their own speed, at most 12 s of them.
    """
    if spec.urdf is None or not episodes:
        return None
    drawing = Drawing(spec)
    if not drawing.outlines:
        return None
    joints = len(spec.joints)
    times = np.arange(0.0, min(_LONGEST, max(episode.duration for _, episode in episodes)), _FRAME)
    scenes = []
    for (name, episode), colour in zip(episodes, (BEFORE, AFTER), strict=False):
        rows = np.minimum(np.round(times / episode.period).astype(int), len(episode.states) - 1)
        positions = np.asarray(episode.states, dtype=np.float64)[rows, :joints]
        moving = [outline.moving for outline in drawing.outlines]
        scenes.append(Scene(name, colour, drawing.polygons(positions), drawing.pivots(positions), moving))
    view = _View(scenes)
    frames = [_frame(scenes, view, index, time) for index, time in enumerate(times)]
    return _gif(frames)


class _View:
    """From metres to pixels. All that moves fits, at one scale in every panel; wide robots stand one above the other."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        shown = [points for scene in scenes for points in scene.pivots]
        for scene in scenes:
            shown += [polygon.reshape(-1, 2) for polygon, moves in zip(scene.polygons, scene.moving, strict=True) if moves]
        everything = np.concatenate(shown)
        low, high = everything.min(axis=0), everything.max(axis=0)
        size = np.maximum(high - low, 0.2) * 1.12
        self.stacked = bool(size[0] > 1.6 * size[1])
        width = _WIDTH if self.stacked else _WIDTH // len(scenes)
        scale = min(width / float(size[0]), (_TALLEST - _HEADER) / float(size[1]))
        self.panel = (width, _HEADER + round(float(size[1]) * scale))
        self.image = (_WIDTH, self.panel[1] * len(scenes)) if self.stacked else (width * len(scenes), self.panel[1])
        self._scale = scale * _OVERSAMPLING
        self._centre = (low + high) / 2
        self._middle = np.array([width, self.panel[1] + _HEADER]) * _OVERSAMPLING / 2

    def corner(self, panel: int) -> tuple[int, int]:
        """Upper left corner of a panel in the image."""
        return (0, panel * self.panel[1]) if self.stacked else (panel * self.panel[0], 0)

    def pixels(self, points: Points) -> list[tuple[float, float]]:
        """[n, 2] in metres as pixels of an oversampled panel."""
        flipped = (points - self._centre) * self._scale * np.array([1.0, -1.0]) + self._middle
        return [(float(x), float(y)) for x, y in flipped]


def _frame(scenes: Sequence[Scene], view: _View, index: int, time: float) -> Image.Image:
    image = Image.new("RGB", view.image, _PAPER)
    draw = ImageDraw.Draw(image)
    bold, small = ImageFont.load_default(17), ImageFont.load_default(13)
    for panel, scene in enumerate(scenes):
        left, top = view.corner(panel)
        image.paste(_robot(scene, view, index), (left, top))
        draw.text((left + 10, top + 4), scene.name, fill=scene.colour, font=bold)
        if panel:
            draw.line((left, top, left + view.panel[0] * view.stacked, top + view.panel[1] * (not view.stacked)), fill=_LINE)
    draw.text((view.image[0] - 50, 7), f"{time:4.1f} s", fill=_MUTED, font=small)
    return image


def _robot(scene: Scene, view: _View, index: int) -> Image.Image:
    """One robot at one moment, without a name."""
    tile = Image.new("RGB", (view.panel[0] * _OVERSAMPLING, view.panel[1] * _OVERSAMPLING), _PAPER)
    pen = ImageDraw.Draw(tile)
    for polygon, moves in zip(scene.polygons, scene.moving, strict=True):
        corners = view.pixels(polygon[index])
        colour = scene.colour if moves else _STILL
        pen.polygon(corners, fill=colour)
        # Thin rods would vanish: an outline gives each shape some pixels.
        pen.line([*corners, corners[0]], fill=colour, width=2 * _OVERSAMPLING, joint="curve")
    for pivot in scene.pivots:
        ((x, y),) = view.pixels(pivot[index : index + 1])
        radius = 4 * _OVERSAMPLING
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_INK)
    return tile.resize(view.panel, Image.Resampling.BOX)


def _palette() -> Image.Image:
    """The few colours and their blends with paper and ink: one palette for all frames keeps the file small and white white."""
    paper, ink = np.array(ImageColor.getrgb(_PAPER)), np.array(ImageColor.getrgb(_INK))
    colours = [paper]
    for name in _COLOURS:
        colour = np.array(ImageColor.getrgb(name))
        colours += [np.round(colour * share + paper * (1 - share)) for share in (1.0, 0.75, 0.5, 0.25)]
    for name in (BEFORE, AFTER):
        colours.append(np.round((np.array(ImageColor.getrgb(name)) + ink) / 2))
    values = np.concatenate(colours).astype(int).tolist()
    image = Image.new("P", (1, 1))
    image.putpalette(values + list(map(int, paper)) * (256 - len(colours)))
    return image


def _gif(frames: Sequence[Image.Image]) -> bytes:
    palette = _palette()
    indexed = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    buffer = io.BytesIO()
    durations = [round(_FRAME * 1000)] * (len(indexed) - 1) + [_PAUSE]
    indexed[0].save(buffer, format="GIF", save_all=True, append_images=indexed[1:], duration=durations, loop=0, optimize=True)
    return buffer.getvalue()
