"""From ReportData to a page: one HTML file that needs no network, and a JSON file beside it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from forerun.plain import plain
from forerun.report.charts import charts
from forerun.report.data import ReportData, Row, headline, median_episode, percentiles, summary
from forerun_sim.files import write_file


def render_report(data: ReportData | Mapping[str, Any], out: Path) -> Path:
    """Write ``out`` (HTML) and the summary beside it (same name, ``.json``), each atomically.

    Returns:
        The path of the page.

    Raises:
        InputError, ForerunError: the files cannot be written; what was there stays.
    """
    if not isinstance(data, ReportData):
        data = ReportData.from_mapping(data)
    page = html(data)
    write_file(out.with_suffix(".json"), json.dumps(plain(summary(data)), indent=1, allow_nan=False) + "\n")
    write_file(out, page)
    return out


def html(data: ReportData) -> str:
    """The page as text."""
    template = resources.files("forerun.report").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["figure"] = _figure
    return environment.from_string(template).render(
        data=data,
        headline=headline(data),
        charts={name: drawn and _uri("image/svg+xml", drawn.encode()) for name, drawn in charts(data).items()},
        animation=_animation(data),
        rows=[(row, _mark(row)) for row in data.rows],
        ticks=_tick_table(data),
        steps=sorted({k for errors in data.k_step.values() for k in errors}),
        sides=[(name, episodes) for name, episodes in (("before", data.before), ("after", data.after)) if episodes],
        plain=lambda value: json.dumps(plain(value)) if not isinstance(value, str) else value,
    )


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _figure(value: Any) -> str:
    """A number as a reader wants it; text as it is."""
    if value is None:
        return "–"
    return value if isinstance(value, str) else f"{value:.4g}"


def _mark(row: Row) -> str:
    """``better``, ``worse`` or nothing: how the second figure stands to the first."""
    if row.better is None or not isinstance(row.before, float | int) or not isinstance(row.after, float | int):
        return ""
    if row.after == row.before:
        return ""
    return "better" if (row.after > row.before) == (row.better == "higher") else "worse"


def _animation(data: ReportData) -> str | None:
    pairs = []
    for name, episodes in (("before", data.before), ("after", data.after)):
        index = median_episode(episodes)
        if index is not None:
            pairs.append((name, episodes[index]))
    if data.robot is None or not pairs:
        return None
    from forerun.report.animation import animate
    from forerun_sim.spec import load_robot

    drawn = animate(load_robot(data.robot), pairs)
    return None if drawn is None else _uri("image/gif", drawn)


def _tick_table(data: ReportData) -> list[tuple[str, dict[str, float]]]:
    """Percentiles in milliseconds."""
    if data.ticks is None:
        return []
    rows = (("tick period", data.ticks.periods), ("state to command", data.ticks.latency), ("computing", data.ticks.compute))
    found = [(name, percentiles(values)) for name, values in rows]
    return [(name, {key: value * 1e3 for key, value in figures.items()}) for name, figures in found if figures is not None]
