"""The report of an evaluation: one HTML page that needs no network."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from forerun.evaluation import Comparison
from forerun.report.charts import AFTER, BEFORE, GREY, STYLE, svg
from forerun.report.page import picture, write_page
from forerun_models.evaluation.judge import Window

_WIDTH = 5.2
_COLOURS = (AFTER, BEFORE, "#2e8b57", "#8e5ea2", "#b8860b", "#5c6773")


def render_evaluation(found: Comparison, about: dict[str, str], out: Path) -> Path:
    """Writes the page ``out`` and returns it.

    Args:
        found: the bundles' judgements.
        about: what to say of the data and the run, by name.
        out: the page's path.

    Raises:
        InputError, ForerunError: the file cannot be written; what was there stays.
    """
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        errors = picture(svg(_errors(found)))
        pit = picture(svg(_pit(found)))
        split = picture(svg(_split(found)))
        worst = [
            (name, window, picture(svg(_trace(window, found)))) for name, one in found.judgements.items() for window in one.worst
        ]
    return write_page(
        "evaluation.html.j2",
        out,
        found=found,
        about=about,
        errors=errors,
        pit=pit,
        split=split,
        worst=worst,
        last=found.steps[-1],
    )


def _figure(height: float) -> Figure:
    return Figure(figsize=(_WIDTH, height), layout="constrained")


def _errors(found: Comparison) -> Figure:
    """RMSE_k of all models, with intervals over trials for the bundles."""
    figure = _figure(2.9)
    axes = figure.subplots()
    for name, row in found.baselines.items():
        axes.plot(found.steps, [row[k] for k in found.steps], "o--", color=GREY, lw=1.0, ms=3, label=name)
    for (name, judged), colour in zip(found.judgements.items(), _COLOURS * 9, strict=False):
        means = [judged.errors[k].mean for k in found.steps]
        axes.plot(found.steps, [mean.value for mean in means], "o-", color=colour, lw=2, ms=4, label=name)
        axes.fill_between(
            found.steps, [mean.low for mean in means], [mean.high for mean in means], color=colour, alpha=0.18, lw=0
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(found.steps, [str(k) for k in found.steps])
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("steps ahead")
    axes.set_ylabel("RMSE / standard deviation")
    axes.legend()
    return figure


def _pit(found: Comparison) -> Figure:
    """Histograms of the probability integral transform; flat is right, a hump in the middle is too wide, horns are too narrow."""
    figure = _figure(2.0)
    panels = figure.subplots(1, len(found.steps), sharey=True, squeeze=False)[0]
    for axes, k in zip(panels, found.steps, strict=True):
        for (name, judged), colour in zip(found.judgements.items(), _COLOURS * 9, strict=False):
            shares = judged.uncertainty[k].pit
            axes.stairs(np.array(shares) * len(shares), np.linspace(0, 1, len(shares) + 1), color=colour, lw=1.5, label=name)
        axes.axhline(1.0, color=GREY, lw=1)
        axes.set_title(f"k = {k}", fontsize=9)
        axes.set_xticks([0, 1])
        axes.set_ylim(bottom=0)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _split(found: Comparison) -> Figure:
    """Predicted variance, aleatoric and epistemic, against the squared error."""
    figure = _figure(2.5)
    axes = figure.subplots()
    for (name, judged), colour in zip(found.judgements.items(), _COLOURS * 9, strict=False):
        at = [judged.uncertainty[k] for k in found.steps]
        axes.plot(found.steps, [one.squared_error**0.5 for one in at], "o-", color=colour, lw=2, ms=4, label=f"{name}: error")
        axes.plot(found.steps, [one.aleatoric**0.5 for one in at], ":", color=colour, lw=1.5, label="noise (aleatoric)")
        axes.plot(found.steps, [one.epistemic**0.5 for one in at], "--", color=colour, lw=1.5, label="ignorance (epistemic)")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(found.steps, [str(k) for k in found.steps])
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.set_xlabel("steps ahead")
    axes.set_ylabel("standard deviations")
    axes.legend(fontsize=8)
    return figure


def _trace(window: Window, found: Comparison) -> Figure:
    """Positions of a badly predicted window: truth, prediction and its interval of 1.64 deviations."""
    truth, predicted, deviation = (np.array(rows) for rows in (window.truth, window.predicted, window.deviation))
    count = len(found.joints)
    figure = _figure(0.95 * count + 0.5)
    panels = figure.subplots(count, 2, squeeze=False, sharex=True)
    times = np.arange(1, len(truth) + 1) * found.period
    for column, title in enumerate(("position", "velocity")):
        for joint, name in enumerate(found.joints):
            axes, at = panels[joint, column], column * count + joint
            low, high = predicted[:, at] - 1.645 * deviation[:, at], predicted[:, at] + 1.645 * deviation[:, at]
            axes.fill_between(times, low, high, color=AFTER, alpha=0.18, lw=0)
            axes.plot(times, truth[:, at], color=GREY, lw=2.5, label="measured")
            axes.plot(times, predicted[:, at], color=AFTER, lw=1.4, label="predicted")
            if column == 0:
                axes.set_ylabel(name)
        panels[0, column].set_title(title, loc="left", fontsize=9)
        panels[-1, column].set_xlabel("time [s]")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure
