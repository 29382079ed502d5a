"""Does this machine compute what the machine that exported the bundle computed? Checked at every load."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from forerun_models.bundle.errors import BundleError

Tensor = NDArray[np.float32]


class Runs(Protocol):
    """What an ONNX Runtime session does here."""

    def run(self, output_names: Sequence[str], feed: Mapping[str, Tensor]) -> list[Tensor]: ...

    def get_inputs(self) -> Sequence[Any]: ...


@dataclass(frozen=True)
class ParityCase:
    """Inputs of one graph and the outputs that they must give, by tensor name."""

    graph: str
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    tolerance: float = 1e-4


def to_npz(cases: Sequence[ParityCase]) -> bytes:
    """The content of parity.npz."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for number, case in enumerate(cases):
        prefix = f"{case.graph}|{number}"
        arrays[f"{prefix}|tolerance|"] = np.asarray(case.tolerance, np.float32)
        arrays |= {f"{prefix}|in|{name}": value for name, value in case.inputs.items()}
        arrays |= {f"{prefix}|out|{name}": value for name, value in case.outputs.items()}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def from_npz(content: bytes, source: str) -> list[ParityCase]:
    """The cases in parity.npz.

    Raises:
        BundleError: not such a file.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found: dict[str, tuple[dict[str, Tensor], dict[str, Tensor], list[float]]] = {}
            for key in arrays.files:
                graph, number, role, name = key.split("|", 3)
                inputs, outputs, tolerance = found.setdefault(f"{graph}|{number}", ({}, {}, []))
                if role == "tolerance":
                    tolerance.append(float(arrays[key]))
                else:
                    (inputs if role == "in" else outputs)[name] = arrays[key]
    except (ValueError, OSError, KeyError) as error:
        raise BundleError(f"{source}: is not a parity file: {error}") from error
    # The file may not widen its own tolerance beyond what still counts as the same decision.
    return [
        ParityCase(key.split("|")[0], inputs, outputs, min(tolerance[0] if tolerance else 1e-4, 1e-2))
        for key, (inputs, outputs, tolerance) in found.items()
    ]


def check(cases: Sequence[ParityCase], sessions: Mapping[str, Runs], source: str) -> None:
    """Runs every case.

    Raises:
        BundleError: an output differs by more than the case's tolerance, relative to the output's largest value, or a graph has
            no case.
    """
    for graph in sessions:
        if not any(case.graph == graph for case in cases):
            raise BundleError(f"{source}: has no case for {graph}.onnx")
    for case in cases:
        if case.graph not in sessions:
            raise BundleError(f"{source}: has a case for '{case.graph}', which the bundle lacks")
        names = sorted(case.outputs)
        try:
            results = sessions[case.graph].run(names, _used(sessions[case.graph], case.inputs))
        except Exception as error:  # ONNX Runtime raises types of its own that share no base but Exception
            raise BundleError(f"{source}: {case.graph}.onnx does not run: {error}") from error
        for name, result in zip(names, results, strict=True):
            expected = case.outputs[name]
            if expected.shape != result.shape:
                raise BundleError(f"{source}: {case.graph}.onnx gives {name} {result.shape}, expected {expected.shape}")
            scale = max(float(np.max(np.abs(expected[np.isfinite(expected)]), initial=0.0)), 1e-3)
            same = np.isclose(result, expected, rtol=0.0, atol=case.tolerance * scale, equal_nan=True)
            if not same.all():
                worst = float(np.nanmax(np.abs(result - expected))) / scale
                raise BundleError(
                    f"{source}: {case.graph}.onnx computes another '{name}' here than where it was exported "
                    f"(relative difference {worst:.2g}, allowed {case.tolerance:.2g}); export the bundle on a similar machine"
                )


def _used(session: Runs, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inputs that the graph looks at: a task without goals leaves the goal out, a first tick the elapsed time."""
    names = {entry.name for entry in session.get_inputs()}
    return {name: value for name, value in inputs.items() if name in names}
