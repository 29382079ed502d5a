"""Progress of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from forerun.cli.common import progress

if TYPE_CHECKING:
    from forerun_models.training.trainer import Epoch


@contextmanager
def epoch_bar(title: str) -> Iterator[Callable[[Epoch, int], None]]:
    """Progress over epochs with the errors so far; hand the function it yields to the training as ``on_epoch``."""
    with progress(title) as move:

        def on_epoch(epoch: Epoch, total: int) -> None:
            errors = f"held out {epoch.validation:.4f}, best {epoch.best:.4f}, {epoch.samples / epoch.seconds:,.0f} samples/s"
            move(done=epoch.number + 1, total=total, note=errors)

        yield on_epoch
