"""The report of an identification: one HTML page that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from forerun.report.charts import AFTER, BEFORE, GREY, STYLE, svg
from forerun.report.page import picture, write_page
from forerun_sim.identify import Fit
from forerun_sim.spec import RobotSpec

_WIDTH = 5.2


@dataclass(frozen=True)
class Row:
    """A parameter as the page shows it, SI."""

    name: str
    nominal: float
    value: float
    low: float
    high: float
    range: tuple[float, float]


def render_identification(fit: Fit, spec: RobotSpec, about: dict[str, str], out: Path) -> Path:
    """Writes the page ``out``, whole or not at all.

    Args:
        fit: what was found.
        spec: the robot.
        about: what to say of the data and the run, by name.
        out: the page's path, which is returned.

    Raises:
        InputError, ForerunError: the file cannot be written; what was there stays.
    """
    return write_page(
        "identification.html.j2",
        out,
        robot=spec.name,
        fit=fit,
        rows=rows_of(fit),
        charts={name: picture(drawn) for name, drawn in charts(fit, spec).items()},
        steps=sorted({k for errors in fit.errors.values() for k in errors}),
        about=about,
    )


def rows_of(fit: Fit) -> list[Row]:
    """The parameters that the data tell."""
    by_name = {unknown.name: unknown for unknown in fit.sought}
    return [
        Row(name, by_name[name].nominal, value, *fit.interval(name), (by_name[name].low, by_name[name].high))
        for name, value in fit.values.items()
    ]


def charts(fit: Fit, spec: RobotSpec) -> dict[str, str]:
    """Name -> SVG of each chart."""
    drawn: dict[str, str] = {}
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        drawn["errors"] = svg(_errors(fit))
        if fit.values:
            drawn["intervals"] = svg(_intervals(fit))
        if fit.curve:
            drawn["search"] = svg(_search(fit.curve))
        drawn["sensitivity"] = svg(_sensitivity(fit))
        drawn["correlation"] = svg(_correlation(fit))
        drawn["traces"] = svg(_traces(fit, spec))
    return drawn


def _figure(height: float) -> Figure:
    return Figure(figsize=(_WIDTH, height), layout="constrained")


def _errors(fit: Fit) -> Figure:
    """Prediction error on held-out trials against the number of steps ahead."""
    figure = _figure(2.7)
    axes = figure.subplots()
    for side, colour in (("before", BEFORE), ("after", AFTER)):
        steps = sorted(fit.errors[side])
        axes.plot(steps, [fit.errors[side][k] for k in steps], "o-", color=colour, lw=2, ms=4, label=f"{side}, held-out trials")
        axes.plot(steps, [fit.training[side][k] for k in steps], "--", color=colour, lw=1, label=f"{side}, training trials")
    axes.set_xscale("log")
    axes.set_xticks(steps, [str(k) for k in steps])
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.set_xlabel("steps ahead")
    axes.set_ylabel("RMSE / standard deviation")
    axes.set_ylim(bottom=0.0)
    axes.legend()
    return figure


def _intervals(fit: Fit) -> Figure:
    """Where in its range each parameter was found, beside its nominal value."""
    names = list(fit.values)
    figure = _figure(0.7 + 0.27 * len(names))
    axes = figure.subplots()
    places = [[unknown.name for unknown in fit.sought].index(name) for name in names]
    at = fit.coordinates[places]
    nominal = [fit.sought[place].coordinate(fit.sought[place].nominal) for place in places]
    spread = fit.knowledge.quantile * np.array([fit.deviations[name] for name in names])
    lines = np.arange(len(names))
    axes.errorbar(at, lines, xerr=spread, fmt="o", color=AFTER, ms=4, lw=1.6, capsize=3, label="estimate, 95 %")
    axes.plot(nominal, lines, "|", color=BEFORE, ms=12, mew=2, label="nominal")
    axes.set_yticks(lines, names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(-1.05, 1.05)
    axes.set_xticks([-1, 0, 1], ["lowest", "middle of the range", "highest"])
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def _search(curve: Sequence[float]) -> Figure:
    figure = _figure(2.1)
    axes = figure.subplots()
    axes.plot(np.arange(1, len(curve) + 1), np.sqrt(curve), color=AFTER, lw=1.8)
    axes.set_xlabel("generation of CMA-ES")
    axes.set_ylabel("error of the best")
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    return figure


def _sensitivity(fit: Fit) -> Figure:
    """How much each parameter acts; those that the data do not tell in grey."""
    names = fit.before.names
    figure = _figure(0.7 + 0.25 * len(names))
    axes = figure.subplots()
    left = {item.name for item in fit.knowledge.open}
    axes.barh(range(len(names)), fit.before.effect, color=[GREY if name in left else AFTER for name in names])
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xscale("log")
    axes.set_xlim(left=max(1e-5, 0.5 * float(fit.before.effect[fit.before.effect > 0].min(initial=1.0))))
    axes.set_xlabel("change of the prediction over half the range (grey: not told)")
    return figure


def _correlation(fit: Fit) -> Figure:
    names = fit.before.names
    figure = _figure(1.0 + 0.3 * len(names))
    axes = figure.subplots()
    image = axes.imshow(fit.before.correlation, vmin=-1, vmax=1, cmap="RdBu_r")
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.grid(visible=False)
    figure.colorbar(image, ax=axes, shrink=0.7)
    return figure


def _traces(fit: Fit, spec: RobotSpec) -> Figure:
    """Held-out pieces: positions as measured and as predicted before and after."""
    measured = fit.examples["measured"]
    joints, pieces = len(spec.joints), len(measured)
    figure = _figure(1.2 * joints + 0.5)
    panels = figure.subplots(joints, pieces, squeeze=False, sharex=True)
    times = np.arange(1, measured.shape[1] + 1) * spec.control.period
    for index, joint in enumerate(spec.joints):
        for piece in range(pieces):
            axes = panels[index, piece]
            for side, colour, width in (("measured", GREY, 3.0), ("before", BEFORE, 1.2), ("after", AFTER, 1.4)):
                axes.plot(times, fit.examples[side][piece, :, index], color=colour, lw=width, label=side)
            if piece == 0:
                axes.set_ylabel(joint.name)
            if index == joints - 1:
                axes.set_xlabel("time [s]")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return figure
