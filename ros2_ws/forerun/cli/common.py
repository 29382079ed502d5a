"""What commands share: `--json`, messages, progress."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
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


_FILE_WIDTH = 160
"""Columns at least, where there is no terminal."""


def complain(message: str) -> None:
    """An error message, on standard error, as it is (no markup)."""
    typer.echo(f"forerun: {message}", err=True)


def console(json_file: Path | None = None) -> Console:
    """Where people read: standard output, or standard error where JSON goes to standard output."""
    found = Console(stderr=json_file == Path("-"), highlight=False, soft_wrap=True)
    if not found.is_terminal:
        # 80 columns would be assumed, and tables cut to them.
        found.width = max(found.width, _FILE_WIDTH)
    return found


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


_EVERY = 30.0
"""Seconds between two lines of progress where there is no terminal."""


class Bar(Protocol):
    """Progress under way."""

    def __call__(
        self, advance: float = 1, note: str | None = None, *, done: float | None = None, total: float | None = None
    ) -> None:
        """Move on by ``advance``, or to ``done``; ``note`` replaces the text behind the bar, ``total`` its length."""


@contextmanager
def progress(description: str, total: float | None = None) -> Iterator[Bar]:
    """A bar on standard error while the block runs; a line now and then where that is no terminal, so that a log of hours
    of work tells how far it is. ``total`` None: length unknown."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    out = Console(stderr=True)
    if not out.is_terminal:
        yield Lines(description, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=out, transient=True) as bars:
        task = bars.add_task(description, total=total, note="")

        def move(advance: float = 1, note: str | None = None, *, done: float | None = None, total: float | None = None) -> None:
            bars.update(task, total=total, advance=advance if done is None else None, completed=done)
            if note is not None:
                bars.update(task, note=note)

        yield move


class Lines:
    """Progress as lines on standard error, ``every`` seconds at most."""

    def __init__(
        self, description: str, total: float | None, every: float = _EVERY, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._description, self._total, self._every, self._clock = description, total, every, clock
        self._done, self._note = 0.0, ""
        self._began = self._said = clock()

    def __call__(
        self, advance: float = 1, note: str | None = None, *, done: float | None = None, total: float | None = None
    ) -> None:
        self._done = self._done + advance if done is None else done
        self._note, self._total = self._note if note is None else note, self._total if total is None else total
        now = self._clock()
        if now - self._said < self._every:
            return
        self._said = now
        of = "" if self._total is None else f" of {self._total:g}"
        note = f", {self._note}" if self._note else ""
        typer.echo(f"{self._description}: {self._done:g}{of} in {now - self._began:.0f} s{note}", err=True)


def track(items: Iterable[Item], description: str, total: float | None = None) -> Iterator[Item]:
    """``items``, with a progress bar."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress(description, total) as move:
        for item in items:
            yield item
            move()
