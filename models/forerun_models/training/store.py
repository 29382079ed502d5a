"""Trials and model weights as bytes: plain arrays, never pickles."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import yaml
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from forerun_models.dynamics.model import WorldModel
from forerun_models.recipe import ModelSettings
from forerun_models.training.start import build
from forerun_sim.errors import InputError
from forerun_sim.spec import RobotSpec, validate
from forerun_sim.trial import Trial


def thin(trials: Sequence[Trial], rows: int) -> list[Trial]:
    """At most about ``rows`` rows of ``trials``: of more, evenly spread whole trials are taken."""
    total = sum(len(trial) for trial in trials)
    return list(trials)[:: max(1, -(-total // max(1, rows)))]


def pack_trials(trials: Sequence[Trial]) -> bytes:
    """Trials as one npz."""
    about = [
        {"length": len(t), "period": t.period, "robot": t.robot, "start": t.start, "source": t.source, "meta": dict(t.meta)}
        for t in trials
    ]
    buffer = io.BytesIO()
    empty = np.empty((0, 0), np.float32)
    np.savez_compressed(
        buffer,
        states=np.concatenate([t.states for t in trials]) if trials else empty,
        actions=np.concatenate([t.actions for t in trials]) if trials else empty,
        about=np.frombuffer(json.dumps(about).encode(), np.uint8),
    )
    return buffer.getvalue()


def unpack_trials(content: bytes, source: str) -> list[Trial]:
    """The trials that ``pack_trials`` packed.

    Raises:
        InputError: not such a file.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            about: list[dict[str, Any]] = json.loads(arrays["about"].tobytes())
            states, actions = arrays["states"], arrays["actions"]
        ends = np.cumsum([entry["length"] for entry in about])
        return [
            Trial(
                states=states[end - entry["length"] : end],
                actions=actions[end - entry["length"] : end],
                **{key: entry[key] for key in ("period", "robot", "start", "source", "meta")},
            )
            for entry, end in zip(about, ends, strict=True)
        ]
    except (ValueError, KeyError, OSError, TypeError) as error:
        raise InputError(f"{source}: holds no trials: {error}") from error


def pack_model(model: WorldModel) -> bytes:
    """Weights, statistics and elites as safetensors."""
    return bytes(save_tensors({name: tensor.contiguous() for name, tensor in model.state_dict().items()}))


def unpack_model(content: bytes, settings: str, robot: RobotSpec, source: str) -> WorldModel:
    """The ensemble with the weights in ``content`` and the shape in the YAML text ``settings``.

    Raises:
        InputError: weights and shape do not belong together.
    """
    model = build(robot, validate(ModelSettings, yaml.safe_load(settings), f"{source} (model.yaml)"))
    try:
        model.load_state_dict(load_tensors(content))
    except Exception as error:  # safetensors raises a type of its own
        raise InputError(f"{source}: the weights do not fit the model of robot '{robot.name}': {error}") from error
    return model.eval()
