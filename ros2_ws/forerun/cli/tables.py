"""Tables and numbers as commands print them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from forerun.bags.quality import Quality


def table(*columns: str) -> Table:
    """A plain table with these column heads."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(*columns, box=SIMPLE_HEAD, header_style="bold", pad_edge=False)


def number(value: float | None, unit: str = "") -> str:
    """Four digits; a dash where there is no finite number."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.4g}{unit}"


def span(lower: float, upper: float) -> str:
    """``lower to upper``."""
    return f"{number(lower)} to {number(upper)}"


def quality_table(trials: Sequence[tuple[str, Quality]]) -> Table:
    """How good recordings are, a row a trial; of joints and actions the worst."""
    shown = table("quality of", "states", "commands", "jitter", "gaps (longest step)", "delay", "noise of velocity", "at a limit")
    for source, quality in trials:
        delays = [delay for delay in quality.delay if delay is not None]
        shown.add_row(
            source,
            number(quality.rate, " Hz"),
            number(quality.command_rate, " Hz"),
            number(1e3 * quality.jitter, " ms"),
            f"{quality.gaps} ({number(1e3 * quality.longest_gap)} ms)",
            " ".join(number(1e3 * delay) for delay in delays) + " ms" if delays else "-",
            f"{max(quality.velocity_noise):.2g} ({max(quality.noise_share):.0%})",
            f"{max(quality.saturation, default=0.0):.0%}",
        )
    return shown
