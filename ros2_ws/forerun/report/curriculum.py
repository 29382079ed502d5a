"""A curriculum in pictures: ranges, successes and entropy over the episodes, as one HTML page and one PNG."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from forerun.report.charts import AFTER, BEFORE, GREY, STYLE, svg
from forerun_sim.curriculum import Row
from forerun_sim.files import write_file
from forerun_sim.spec import Curriculum

_AVERAGED = 40
"""Episodes in the running share of successes."""


def draw_curriculum(rows: Sequence[Row], settings: Curriculum, title: str, folder: Path) -> tuple[Path, Path]:
    """Writes ``curriculum.html`` and ``curriculum.png`` into ``folder``, and returns their paths. ``rows`` may not be empty."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        figure = _figure(rows, settings)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=150, metadata={"Software": None})
        drawn = svg(figure)
    page, image = folder / "curriculum.html", folder / "curriculum.png"
    write_file(image, picture.getvalue())
    drawn = drawn[drawn.index("<svg") :]
    write_file(
        page, f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><h1>{html.escape(title)}</h1>{drawn}\n"
    )
    return page, image


def _figure(rows: Sequence[Row], settings: Curriculum) -> Figure:
    names = list(settings.quantities)
    figure = Figure(figsize=(7.2, 1.6 * (len(names) + 2)), layout="constrained")
    axes = list(figure.subplots(len(names) + 2, 1, sharex=True, squeeze=False)[:, 0])
    for name, axis in zip(names, axes, strict=False):
        _range(axis, name, rows, settings)
    _successes(axes[-2], rows, settings)
    axes[-1].plot([row.episode + 1 for row in rows], [row.entropy for row in rows], color=AFTER)
    axes[-1].set_ylabel("entropy [nats]")
    axes[-1].set_xlabel("episodes")
    return figure


def _range(axis: Axes, name: str, rows: Sequence[Row], settings: Curriculum) -> None:
    one, at = settings.quantities[name], np.arange(len(rows) + 1)
    low, high = (np.array([one.start[side], *(row.ranges[name][side] for row in rows)]) for side in (0, 1))
    axis.fill_between(at, low, high, step="post", color=AFTER, alpha=0.25, linewidth=0)
    for edge in (low, high):
        axis.step(at, edge, where="post", color=AFTER, linewidth=1.2)
    for limit in one.widest:
        axis.axhline(limit, color=GREY, linewidth=0.8, linestyle=":")
    for success, colour in ((True, AFTER), (False, BEFORE)):
        here = [row for row in rows if row.quantity == name and row.success == success and row.value is not None]
        axis.plot([row.episode for row in here], [row.value or 0.0 for row in here], ".", color=colour, markersize=3)
    if one.log:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_ylabel(f"{name}\n(× nominal)" if one.relative else name)


def _successes(axis: Axes, rows: Sequence[Row], settings: Curriculum) -> None:
    won = np.array([row.success for row in rows], dtype=float)
    length = min(_AVERAGED, len(won))
    axis.plot(np.arange(length, len(won) + 1), np.convolve(won, np.ones(length) / length, "valid"), color=AFTER)
    for threshold in settings.thresholds:
        axis.axhline(threshold, color=GREY, linewidth=0.8, linestyle=":")
    axis.set_ylim(-0.05, 1.05)
    axis.set_ylabel(f"successes\n(of {length})")
