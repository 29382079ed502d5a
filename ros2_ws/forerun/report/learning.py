"""Learning curves of agents beside each other: a page, a picture and tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from forerun.report.charts import AFTER, BEFORE, GREY, STYLE, svg
from forerun.report.page import picture, write_page
from forerun_models.agents.compare import Group
from forerun_sim.files import write_file

_COLOURS = (AFTER, BEFORE, "#2e8b57", "#8e5ea2", "#b8860b", "#c03a4b", "#4a6572", "#00838f")


def write_comparison(groups: Sequence[Group], overall: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """Writes ``comparison.html``, ``comparison.png``, ``curves.csv`` and ``table.csv`` into ``folder``; the page's path.

    Raises:
        InputError, ForerunError: a file cannot be written.
    """
    rows = [group.row() for group in groups]
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        figure = _figure(groups)
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=150, metadata={"Software": None})
        drawn = svg(figure)
    write_file(folder / "comparison.png", image.getvalue())
    write_file(folder / "curves.csv", _csv([row for group in groups for row in _points(group)]))
    write_file(folder / "table.csv", _csv(rows))
    return write_page("learning.html.j2", folder / "comparison.html", rows=rows, overall=overall, chart=picture(drawn))


def _figure(groups: Sequence[Group]) -> Figure:
    """A panel for each environment."""
    envs = list(dict.fromkeys(group.env for group in groups))
    labels = list(dict.fromkeys(group.label for group in groups))
    figure = Figure(figsize=(7.2, 3.0 * len(envs) + 0.6), layout="constrained")
    for env, axes in zip(envs, figure.subplots(len(envs), 1, squeeze=False)[:, 0], strict=True):
        for group in (group for group in groups if group.env == env):
            colour = _COLOURS[labels.index(group.label) % len(_COLOURS)]
            axes.fill_between(group.steps, group.low, group.high, color=colour, alpha=0.2, linewidth=0)
            axes.plot(group.steps, group.middle, color=colour, lw=1.8, label=f"{group.label} ({len(group.runs)})")
            axes.axhline(group.threshold, color=GREY, lw=0.8, ls=":")
        axes.set_title(env, fontsize=10)
        axes.set_xlabel("environment steps")
        axes.set_ylabel("return (IQM, 95 %)")
        axes.legend(loc="best")
    return figure


def _points(group: Group) -> list[dict[str, Any]]:
    columns = zip(group.steps, group.middle, group.low, group.high, strict=True)
    head = {"env": group.env, "agent": group.label, "runs": len(group.runs)}
    return [{**head, "env_steps": int(step), "iqm": m, "low": low, "high": high} for step, m, low, high in columns]


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
