"""The report's charts, as SVG. Before is orange, after is blue, everywhere."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from forerun.report.data import Curve, Episode, ReportData, Ticks, median_episode

BEFORE, AFTER, GREY = "#d4721c", "#1769aa", "#8a949e"
_OTHERS = ("#5c6773", "#9aa5b1", "#2e8b57", "#8e5ea2", "#b8860b")
# Inches at 72 to the inch: a chart fills a phone's width at the size at which its letters were set.
_WIDTH = 5.2
STYLE = {
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#b8c1cb",
    "axes.labelcolor": "#3b4650",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6eaee",
    "grid.linewidth": 0.8,
    "xtick.color": "#55606b",
    "ytick.color": "#55606b",
    "legend.frameon": False,
    "legend.fontsize": 9,
    # The same report is the same file.
    "svg.hashsalt": "forerun",
}


def svg(figure: Figure) -> str:
    """The figure as an SVG document."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight", pad_inches=0.04)
    return buffer.getvalue()


def charts(data: ReportData) -> dict[str, str | None]:
    """Name -> SVG of each chart; None where there is nothing to show."""
    drawn: dict[str, str | None] = dict.fromkeys(("learning", "k_step", "returns", "traces", "ticks"))
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        if data.curves:
            drawn["learning"] = svg(learning(data.curves))
        if data.k_step:
            drawn["k_step"] = svg(k_step(data))
        if data.before or data.after:
            drawn["returns"] = svg(returns(data))
            drawn["traces"] = svg(traces(data))
        if data.ticks is not None and len(data.ticks.periods):
            drawn["ticks"] = svg(tick_times(data.ticks))
    return drawn


def _figure(height: float, rows: int = 1, **settings: Any) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, 1, squeeze=False, **settings)
    return figure, list(axes[:, 0])


def _log_scale(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis where values span more than a factor of ten, plain numbers on it."""
    kept = [value for value in values if np.isfinite(value) and value > 0]
    if kept and max(kept) > 10 * min(kept):
        axes.set_yscale("log")
    axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))


def learning(curves: Sequence[Curve]) -> Figure:
    """Errors per epoch, a panel per training; the dot marks the epoch that was kept."""
    figure, panels = _figure(2.1 * len(curves) + 0.3, len(curves))
    for axes, curve, colour in zip(panels, curves, (BEFORE, AFTER, *_OTHERS), strict=False):
        validation = np.asarray(curve.validation, dtype=float)
        axes.plot(np.arange(1, len(curve.train) + 1), np.asarray(curve.train, dtype=float), color=GREY, lw=1.2, label="training")
        axes.plot(np.arange(1, len(validation) + 1), validation, color=colour, lw=1.8, label="held-out trials")
        if np.isfinite(validation).any():
            best = int(np.nanargmin(validation))
            axes.plot(
                best + 1, validation[best], "o", color=colour, ms=5, label=f"best: epoch {best + 1}, {validation[best]:.3g}"
            )
        if all(value > 0 for value in curve.train):
            _log_scale(axes, [*map(float, curve.train), *map(float, validation)])
        axes.set_title(curve.name, loc="left", fontsize=10)
        axes.set_ylabel("error")
        axes.legend(loc="upper right")
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    panels[-1].set_xlabel("epoch")
    return figure


def k_step(data: ReportData) -> Figure:
    """Prediction error against the number of steps ahead."""
    figure, (axes,) = _figure(2.9)
    others = iter(_OTHERS * 4)
    for label, errors in data.k_step.items():
        ours = label in ("before", "after")
        colour = {"before": BEFORE, "after": AFTER}.get(label) or next(others)
        steps = sorted(errors)
        axes.plot(
            steps, [errors[k] for k in steps], "o-", color=colour, lw=2 if ours else 1.2, ms=4, label=label, zorder=2 + ours
        )
    steps = sorted({k for errors in data.k_step.values() for k in errors})
    axes.set_xscale("log")
    axes.set_xticks(steps, [str(k) for k in steps])
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    _log_scale(axes, [error for errors in data.k_step.values() for error in errors.values()])
    axes.set_xlabel("steps ahead")
    axes.set_ylabel("RMSE / standard deviation")
    axes.legend()
    return figure


def returns(data: ReportData) -> Figure:
    """The return of every episode; full dots met the task's criterion, the bar is the median."""
    sides = [
        (name, episodes, colour)
        for name, episodes, colour in (("before", data.before, BEFORE), ("after", data.after, AFTER))
        if episodes
    ]
    figure, (axes,) = _figure(0.75 + 0.55 * len(sides))
    for row, (_, episodes, colour) in enumerate(sides):
        totals = [episode.total for episode in episodes]
        shift = np.linspace(-0.16, 0.16, len(totals)) if len(totals) > 1 else np.zeros(1)
        faces = [colour if episode.success else "white" for episode in episodes]
        axes.scatter(totals, row + shift, s=46, c=faces, edgecolors=colour, linewidths=1.6, zorder=3)
        axes.plot([np.median(totals)] * 2, [row - 0.3, row + 0.3], color=colour, lw=2.5)
    axes.set_yticks(range(len(sides)), [name for name, _, _ in sides])
    axes.set_ylim(len(sides) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("return (full dot: task done; bar: median)")
    return figure


def traces(data: ReportData) -> Figure:
    """States and commands over time; the episode with the median return is drawn strongly, the others faintly."""
    sides = [(data.before, BEFORE, "before"), (data.after, AFTER, "after")]
    some = next(episodes[0] for episodes, _, _ in sides if episodes)
    rows = _trace_rows(data, some)
    figure, panels = _figure(1.15 * len(rows) + 0.45, len(rows), sharex=True)
    for axes, (label, kind, column) in zip(panels, rows, strict=True):
        for episodes, colour, name in sides:
            strong = median_episode(episodes)
            for index, episode in enumerate(episodes):
                values = getattr(episode, kind)[:, column]
                time = np.arange(len(values)) * episode.period
                style: dict[str, Any] = {"lw": 1.7, "label": name} if index == strong else {"lw": 0.7, "alpha": 0.3}
                if kind == "actions":
                    style["drawstyle"] = "steps-post"
                axes.plot(time, values, color=colour, **style)
        axes.set_title(label, loc="left", fontsize=9, pad=2)
        axes.margins(x=0.01)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    panels[-1].set_xlabel("time [s]")
    return figure


def _trace_rows(data: ReportData, some: Episode) -> list[tuple[str, str, int]]:
    """Title, array and column of each panel."""
    joints = some.states.shape[1] // 2
    names = list(data.joints) or [f"joint {i + 1}" for i in range(joints)]
    units = list(data.joint_units) or [""] * joints
    actions = list(data.actions) or [f"action {i + 1}" for i in range(some.actions.shape[1])]
    action_units = list(data.action_units) or [""] * len(actions)
    rows = [(f"{name} position{_unit(unit)}", "states", i) for i, (name, unit) in enumerate(zip(names, units, strict=True))]
    rows += [
        (f"{name} velocity{_unit(unit and unit + '/s')}", "states", joints + i)
        for i, (name, unit) in enumerate(zip(names, units, strict=True))
    ]
    rows += [
        (f"{name} command{_unit(unit)}", "actions", i) for i, (name, unit) in enumerate(zip(actions, action_units, strict=True))
    ]
    return rows


def _unit(unit: str) -> str:
    return f" [{unit}]" if unit else ""


def tick_times(ticks: Ticks) -> Figure:
    """How often each tick period occurred, on a logarithmic axis so that a single late tick is seen."""
    figure, (axes,) = _figure(2.3)
    periods = np.asarray(ticks.periods, dtype=float) * 1e3
    nominal = ticks.period * 1e3
    reach = max(float(np.abs(periods - nominal).max()), 0.02 * nominal) * 1.05
    axes.hist(periods, bins=np.linspace(nominal - reach, nominal + reach, 61).tolist(), color=AFTER)
    axes.axvline(nominal, color="#3b4650", lw=1, ls="--", label=f"nominal {nominal:.4g} ms")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.5)
    axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("tick period [ms]")
    axes.set_ylabel("ticks")
    axes.legend()
    return figure
