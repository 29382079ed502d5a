"""Grey patterns with which surfaces are drawn: noise of several grain sizes, checks and stripes, the same ones everywhere."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pybullet
from numpy.typing import NDArray

from forerun_sim.png import png

PATTERNS = 16
"""How many there are; number 0 is plain."""
_SIZE = 64
_DARKEST = 0.3


def pattern(number: int) -> NDArray[np.uint8]:
    """Pattern ``number`` (1 to ``PATTERNS`` - 1), grey, to be multiplied with a surface's colour: [H, W, 3]."""
    # PyBullet spreads a texture over more than a face of a box, so that fewer cells would be no pattern there.
    kind, cells = number % 4, 8 * 2 ** ((number - 1) // 4)
    if kind == 0:
        grain = np.random.default_rng(number).uniform(size=(cells, cells))
    else:
        rows, columns = np.indices((cells, cells))
        grain = ((rows + columns, rows, columns)[kind - 1] % 2).astype(float)
    level = np.kron(_DARKEST + (1 - _DARKEST) * grain, np.ones((_SIZE // cells, _SIZE // cells)))
    return np.repeat((255 * level).astype(np.uint8)[..., None], 3, axis=2)


class BulletPatterns:
    """The patterns in the physics client ``client``; each is loaded when it is first used, as PyBullet never lets go of one."""

    def __init__(self, client: int) -> None:
        self._client = client
        self._loaded: dict[int, int] = {}

    def texture(self, number: float) -> int:
        """PyBullet's number of the pattern that a parameter asks for: its whole part, held within what there is; -1 is plain."""
        wanted = min(max(int(number), 0), PATTERNS - 1)
        if wanted and wanted not in self._loaded:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "pattern.png"
                file.write_bytes(png(pattern(wanted)))
                self._loaded[wanted] = pybullet.loadTexture(str(file), physicsClientId=self._client)
        return self._loaded.get(wanted, -1)
