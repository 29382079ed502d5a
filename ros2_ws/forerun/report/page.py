"""Pages that need no network: a template of this package, filled, with its pictures inside."""

from __future__ import annotations

import base64
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from forerun_sim.files import write_file


def write_page(template: str, out: Path, **values: Any) -> Path:
    """Fills ``template`` (a file of ``forerun.report``) and writes the page ``out``, whole or not at all.

    Raises:
        InputError, ForerunError: the file cannot be written; what was there stays.
    """
    text = resources.files("forerun.report").joinpath(template).read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["figure"] = lambda value: f"{value:.4g}"
    environment.filters["share"] = lambda value: f"{100 * value:.0f} %"
    write_file(out, environment.from_string(text).render(**values))
    return out


def picture(drawn: str) -> str:
    """An SVG document as the source of an image."""
    return f"data:image/svg+xml;base64,{base64.b64encode(drawn.encode()).decode()}"
