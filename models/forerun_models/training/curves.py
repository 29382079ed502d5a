"""Learning curves for TensorBoard."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from forerun_models.training.trainer import Epoch


class Curves:
    """Writes one point per epoch into ``folder``; does nothing where that is None. Use as a context manager."""

    def __init__(self, folder: Path | None):
        self._writer: Any = None
        self._folder = folder

    def add(self, epoch: Epoch) -> None:
        """One epoch's point."""
        if self._folder is None:
            return
        if self._writer is None:
            # Made with the first epoch, so that a refused training leaves no folder behind.
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder))
        for name in ("train", "validation", "best", "horizon"):
            self._writer.add_scalar(f"model/{name}", getattr(epoch, name), epoch.number)

    def __enter__(self) -> Curves:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.close()
