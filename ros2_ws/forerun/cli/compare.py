"""``forerun compare``: learning curves of several runs beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forerun.cli.common import JsonOption, console, emit
from forerun.cli.tables import number, span, table

EXAMPLE = """
forerun compare runs/sac-0 runs/sac-1 runs/sac-2 runs/mbpo-0 runs/mbpo-1 runs/mbpo-2
forerun compare runs/* --threshold -200 --out comparison
"""


def command(
    runs: Annotated[list[Path], typer.Argument(help="Folders of 'forerun learn', finished or not.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of comparison.html, .png and the CSV files.")] = Path("comparison"),
    threshold: Annotated[
        float | None,
        typer.Option(help="Return to look for; 0.9 of the way from an environment's lowest to its highest if absent."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    json: JsonOption = None,
) -> None:
    """Compare learning curves: interquartile means with intervals, steps and time to a threshold, as table, page and CSV.

    Runs of one agent with equal settings in one environment are one curve; give each another seed.
    """
    from forerun.report.learning import write_comparison
    from forerun_models.agents.compare import compare, load_runs, over_environments

    groups = compare(load_runs(runs), threshold, seed)
    overall = over_environments(groups, seed)
    page = write_comparison(groups, overall, out)
    rows = [group.row() for group in groups]
    shown = table("environment", "agent", "runs", "last return", "95 %", "threshold", "after steps", "after s", "ms a step")
    for row in rows:
        shown.add_row(
            row["env"],
            row["agent"],
            str(row["runs"]),
            number(row["return_iqm"]),
            span(row["return_low"], row["return_high"]),
            f"{number(row['threshold'])} ({row['reached']} of {row['runs']})",
            "-" if row["steps_to_threshold"] is None else f"{row['steps_to_threshold']:.0f}",
            number(row["wall_s_to_threshold"]),
            number(row["wall_ms_per_step"]),
        )
    where = console(json)
    if not where.is_terminal:  # 80 columns are assumed there, and figures are not to be cut
        where.width = max(where.width, 160)
    where.print(shown)
    for row in overall:
        interval = span(row["score_low"], row["score_high"])
        where.print(f"{row['agent']} over {row['environments']} environments, scaled: {number(row['score_iqm'])} ({interval})")
    where.print(f"{page}: curves; {out / 'table.csv'}, {out / 'curves.csv'}: their numbers")
    emit({"rows": rows, "overall": overall, "page": str(page)}, json)
