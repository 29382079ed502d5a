"""Checkpoints on the disk: what a training or an agent needs to go on."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from forerun_sim.errors import InputError
from forerun_sim.files import write_file


def write_state(path: Path, content: Mapping[str, Any]) -> None:
    """Writes tensors and plain data, atomically.

    Raises:
        ForerunError: the disk is full or failed. What was there before stays.
    """
    # Through memory: torch's own writer turns a full disk into an error that does not say so.
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    write_file(path, buffer.getvalue())


def read_state(path: Path, remedy: str) -> dict[str, Any]:
    """What ``write_state`` wrote; nothing in the file is executed.

    Raises:
        InputError: it is damaged; ``remedy`` says what to do then.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a damaged file
        raise InputError(f"{path}: cannot be read: {error}; {remedy}") from error
    return state
