"""What a fit says, as keys of robot.yaml: new nominal values, and ranges to randomize over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import yaml

from forerun_sim.identify.result import Fit
from forerun_sim.randomization import Parameters, distribution_of
from forerun_sim.spec import Distribution, RobotSpec

_LEAST = 0.02
"""Half of a range, as a share of the estimate, below which it is not randomized more narrowly: no fit is that good for long."""


def fragment(spec: RobotSpec, fit: Fit, nominal: Mapping[str, float]) -> dict[str, Any]:
    """``nominal`` and ``randomization`` of robot.yaml, both whole: what the robot says already stays where nothing was found.

    Args:
        spec: the robot.
        fit: what was found.
        nominal: all of the plant's parameters by name, before the fit.
    """
    ranges = {name: _range(fit, name, value) for name, value in fit.values.items()}
    stated = {**spec.nominal, **{name: _rounded(value) for name, value in fit.values.items()}}
    return {"nominal": stated, "randomization": _merged(spec, ranges, nominal)}


def _range(fit: Fit, name: str, value: float) -> dict[str, Any]:
    low, high = fit.interval(name)
    if name.startswith("inertia."):
        # A factor by nature, and so of what is nominal then.
        return {
            "log_uniform": [_rounded(min(low / value, 1 - _LEAST)), _rounded(max(high / value, 1 + _LEAST))],
            "relative": True,
        }
    low, high = min(low, value - _LEAST * abs(value)), max(high, value + _LEAST * abs(value))
    unknown = next(unknown for unknown in fit.sought if unknown.name == name)
    return {"log_uniform" if unknown.log else "uniform": [_rounded(low), _rounded(high)]}


def _merged(spec: RobotSpec, ranges: Mapping[str, dict[str, Any]], nominal: Mapping[str, float]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for quantity in (item.name for item in fields(Parameters)):
        was = getattr(spec.randomization, quantity)
        found = {name.partition(".")[2]: span for name, span in ranges.items() if name.partition(".")[0] == quantity}
        if "" in found:
            merged[quantity] = found[""]
        elif found:
            names = [name.partition(".")[2] for name in nominal if name.startswith(f"{quantity}.")]
            kept = {name: distribution_of(was, name) for name in names if name not in found}
            merged[quantity] = found | {name: _data(old) for name, old in kept.items() if old is not None}
        elif was is not None:
            merged[quantity] = {name: _data(old) for name, old in was.items()} if isinstance(was, dict) else _data(was)
    return merged


def _data(distribution: Distribution) -> dict[str, Any]:
    return distribution.model_dump(mode="json", exclude_defaults=True)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def as_yaml(data: Mapping[str, Any], heading: str) -> str:
    """``data`` as YAML, ``heading`` as comments above it."""
    comments = "".join(f"# {line}\n" for line in heading.splitlines())
    text: str = yaml.safe_dump(dict(data), sort_keys=False, default_flow_style=None, width=120)
    return comments + text
