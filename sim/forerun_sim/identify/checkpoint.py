"""What a search needs to go on after it was killed, as JSON in one small file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forerun_sim.errors import InputError
from forerun_sim.files import write_file
from forerun_sim.identify.information import Knowledge, Left
from forerun_sim.spec import RobotSpec
from forerun_sim.trial import Trial

Array = NDArray[np.float64]


def fingerprint(spec: RobotSpec, trials: Sequence[Trial], settings: Any) -> str:
    """What a search depends on, in 16 digits; not on how many processes run it."""
    sha = hashlib.sha256()
    asked = {name: value for name, value in asdict(settings).items() if name != "workers"}
    sha.update(json.dumps([spec.model_dump(mode="json"), asked], sort_keys=True).encode())
    for trial in trials:
        sha.update(trial.digest().encode())
    return sha.hexdigest()[:16]


@dataclass
class Checkpoint:
    """The state of a search: ``first`` is what the data told at the nominal values, ``left`` what they do not tell,
    ``origin`` [P] and ``basis`` [n, n] where CMA-ES begins and in which steps, ``spread`` that of the errors
    there, ``weights`` [S] theirs by state, ``losses``
    those of all its populations. What is not there yet is None; an origin without a basis is where the first linear steps
    ended."""

    path: Path | None
    fingerprint: str
    first: Knowledge | None = None
    left: list[Left] = field(default_factory=list)
    origin: Array | None = None
    basis: Array | None = None
    losses: list[list[float]] = field(default_factory=list)
    spread: float = 1.0
    weights: Array | None = None

    @classmethod
    def of(cls, path: Path | None, fingerprint: str) -> Checkpoint:
        """The checkpoint at ``path``; an empty one where there is none, or where it is of another search.

        Raises:
            InputError: the file is no checkpoint.
        """
        if path is None or not path.exists():
            return cls(path, fingerprint)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["fingerprint"] != fingerprint:
                return cls(path, fingerprint)
            told = data["first"]
            arrays = {
                name: np.array(told[name], float) for name in ("information", "effect", "singular", "directions", "scatter")
            }
            first = Knowledge(
                tuple(told["names"]), **arrays, open=_left(told["open"]), noise=float(told["noise"]), groups=int(told["groups"])
            )
            origin, basis, weights = (
                None if data[key] is None else np.array(data[key], float) for key in ("origin", "basis", "weights")
            )
            return cls(
                path, fingerprint, first, list(_left(data["left"])), origin, basis, data["losses"], data["spread"], weights
            )
        except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: is no checkpoint of an identification ({error}); delete it to begin anew") from error

    def write(self) -> None:
        """Brings all of it to the disk, whole or not at all."""
        if self.path is None or self.first is None:
            return
        first = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(self.first).items()}
        first["open"] = [asdict(left) for left in self.first.open]
        data = {
            "fingerprint": self.fingerprint,
            "first": first,
            "left": [asdict(left) for left in self.left],
            "origin": None if self.origin is None else self.origin.tolist(),
            "basis": None if self.basis is None else self.basis.tolist(),
            "losses": self.losses,
            "spread": self.spread,
            "weights": None if self.weights is None else self.weights.tolist(),
        }
        write_file(self.path, json.dumps(data))

    def remove(self) -> None:
        """The search is done."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _left(data: Sequence[dict[str, Any]]) -> tuple[Left, ...]:
    return tuple(Left(str(row["name"]), tuple(row["partners"]), float(row["deviation"])) for row in data)
