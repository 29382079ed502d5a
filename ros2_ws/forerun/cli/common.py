"""What commands share: `--json`, messages, progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import typer
from rich.console import Console

from forerun.plain import plain
from forerun_sim.files import write_file

Item = TypeVar("Item")

JsonOption = Annotated[
    Path | None,
    typer.Option("--json", help="Write the result as JSON to this file; '-' is standard output.", show_default=False),
]


def complain(message: str) -> None:
    """An error message, on standard error, as it is (no markup)."""
    typer.echo(f"forerun: {message}", err=True)


def console(json_file: Path | None = None) -> Console:
    """Where people read: standard output, or standard error where JSON goes to standard output."""
    return Console(stderr=json_file == Path("-"), highlight=False, soft_wrap=True)


def emit(result: Mapping[str, Any], json_file: Path | None) -> None:
    """Write ``result`` as JSON where ``--json`` asks for it. Not-a-number and infinity become null.

    Raises:
        InputError, ForerunError: the file cannot be written; it is as it was before.
    """
    if json_file is None:
        return
    text = json.dumps(plain(result), indent=1, allow_nan=False) + "\n"
    if json_file == Path("-"):
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        write_file(json_file, text)


class Bar(Protocol):
    """A progress bar under way."""

    def __call__(self, advance: float = 1, note: str | None = None) -> None:
        """Move on by ``advance``; ``note`` replaces the text behind the bar."""


@contextmanager
def progress(description: str, total: float | None = None) -> Iterator[Bar]:
    """A bar on standard error while the block runs; nothing where that is no terminal. ``total`` None: length unknown."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    out = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bars:
        task = bars.add_task(description, total=total, note="")

        def move(advance: float = 1, note: str | None = None) -> None:
            bars.advance(task, advance)
            if note is not None:
                bars.update(task, note=note)

        yield move


def track(items: Iterable[Item], description: str, total: float | None = None) -> Iterator[Item]:
    """``items``, with a progress bar."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress(description, total) as move:
        for item in items:
            yield item
            move()
