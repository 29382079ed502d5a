"""The text of a first recipe for a drafted robot: how `forerun train` learns it, in sizes whose plans come in time."""

from __future__ import annotations

from collections.abc import Collection

_TEXT = """# How `forerun train` learns {name}, and how its bundles plan, without --recipe. Drafted by `forerun new-robot`:
# minutes of training on one core, plans in about 8 ms; `forerun doctor --bundle` says whether they come in time.
robot: {name}
task: {task} # the task that is exported; `forerun export --task` makes bundles of others
model: {{ members: 5, elites: 3, hidden: 64, layers: 2 }}
training:
  batch: 256
  steps_per_epoch: 150
  phases: # one step, then more and more of them in the model's own predictions
    - {{ epochs: 6, horizon: 1 }}
    - {{ epochs: 8, horizon: 8 }}
    - {{ epochs: 6, horizon: 20 }}
  learning_rate: 2.0e-3
  patience: 8
planner: {planner} # {seconds:g} s ahead
finetuning:
  real_fraction: 0.6 # of each batch
  training:
    batch: 128
    steps_per_epoch: 60
    phases: [{{ epochs: 12, horizon: 10 }}]
    learning_rate: 5.0e-4
    patience: 6
"""
_HORIZON = 15
_FEW = "{{ horizon: {horizon}, knots: 5, samples: 64, iterations: 3, elites: 8, std: 0.2 }}"
_MANY = "{{ horizon: {horizon}, knots: 3, samples: 96, iterations: 3, elites: 10, std: {std}, ensemble: mean }}"
"""Settings for up to three drives, and for more: few knots keep a plan smooth where samples are few. A plan of a command for each
step shook a drafted arm of two joints until it fell, whatever its horizon."""
_STD, _SERVO_STD = 0.3, 0.05
"""How far samples differ at first, in halves of the range of commands. A servo gets through little of its own in a plan."""


def recipe_text(name: str, task: str, rate: float, drives: Collection[str]) -> str:
    """recipe.yaml of the robot ``name``, controlled at ``rate`` [Hz], whose ``drives`` have these interfaces."""
    served = set(drives) == {"position"}
    planner = _MANY if served or len(drives) > 3 else _FEW
    planner = planner.format(horizon=_HORIZON, std=_SERVO_STD if served else _STD)
    return _TEXT.format(name=name, task=task, seconds=_HORIZON / rate, planner=planner)
