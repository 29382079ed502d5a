"""Progress of a training in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from forerun_models.training.trainer import Epoch


@contextmanager
def epoch_bar(console: Console, title: str) -> Iterator[Callable[[Epoch, int], None]]:
    """A bar over epochs with the errors so far; hand the function it yields to the training as ``on_epoch``."""
    errors = TextColumn("{task.fields[errors]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), errors)
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=None, errors="")

        def on_epoch(epoch: Epoch, total: int) -> None:
            errors = f"held out {epoch.validation:.4f}, best {epoch.best:.4f}, {epoch.samples / epoch.seconds:,.0f} samples/s"
            bar.update(task, total=total, completed=epoch.number + 1, errors=errors)

        yield on_epoch
