"""Tables and numbers as commands print them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


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
