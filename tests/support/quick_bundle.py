"""The ready bundle of the cartpole, but it takes seconds to fine-tune, any candidate passes, and no busy machine stops it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from forerun_sim.resources import bundle_folder

TUNING = {"batch": 32, "steps_per_epoch": 10, "phases": [{"epochs": 3, "horizon": 5}], "validation_horizon": 10, "holdout": 0.2}
LENIENT = {"promote_below": 1000.0, "forget_below": 1000.0, "coverage": [0.0, 1.0], "latency": 1000.0, "control": {"episodes": 0}}

PATIENT = {"stale_after": 10.0, "max_misses": 500, "disagreement_factor": 0.0}


def quick_bundle(path: Path, **finetuning: Any) -> Path:
    """Writes the bundle folder ``path`` and returns it; ``finetuning`` are keys of that section of its recipe."""
    shutil.copytree(bundle_folder("cartpole"), path)
    recipe = path / "train" / "recipe.yaml"
    content = yaml.safe_load(recipe.read_text())
    content["finetuning"] = {"training": TUNING, **LENIENT, **finetuning}
    content["planner"] |= {"samples": 16, "iterations": 1, "elites": 4, "horizon": 12}
    recipe.write_text(yaml.safe_dump(content))
    manifest = json.loads((path / "bundle.json").read_text())
    joints = [{**joint, "position": None} for joint in manifest["joints"]]
    return other_bundle(path, path, joints=joints, safety=manifest["safety"] | PATIENT)


def other_bundle(source: Path, path: Path, **changes: Any) -> Path:
    """A bundle like ``source`` at ``path``, with ``changes`` to its manifest and digests that are right again."""
    if path != source:
        shutil.copytree(source, path)
    manifest = json.loads((path / "bundle.json").read_text()) | changes
    manifest["files"] = {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in manifest["files"]}
    (path / "bundle.json").write_text(json.dumps(manifest))
    return path
