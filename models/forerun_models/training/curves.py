"""Learning curves for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from forerun_sim.files import write_error


class Curves:
    """Writes points into ``folder``; does nothing where that is None. Use as a context manager.

    Raises:
        ForerunError: at a later point or at the end, where the disk is full or the folder cannot be written.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._purge: int | None = None
        self._writer: Any = None

    def resume(self, step: int) -> None:
        """What was written of later steps no longer counts."""
        self._purge = step + 1

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """A point of each curve in ``values``."""
        if self._folder is None:
            return
        try:
            if self._writer is None:
                # Made with the first point, so that what is refused before leaves no folder behind.
                from torch.utils.tensorboard import SummaryWriter

                self._writer = SummaryWriter(str(self._folder), purge_step=self._purge)
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
            self._writer.flush()
        except OSError as error:
            raise write_error(self._folder, error) from error

    def __enter__(self) -> Curves:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._writer is None:
            return
        try:
            self._writer.close()
        except OSError as failed:
            if error is None:
                assert self._folder is not None
                raise write_error(self._folder, failed) from failed
