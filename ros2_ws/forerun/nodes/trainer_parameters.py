"""The trainer's parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from forerun.nodes.parameters import Declared
from forerun.training.learner import Settings

_SECONDS = (1.0, 1e9)

PARAMETERS = (
    Declared("bundle", "", "First bundle: a folder, or the name of a ready one. Newer ones in 'folder' go first.", fixed=True),
    Declared("folder", "", "Where trials and bundles are kept; one a robot.", fixed=True),
    Declared(
        "command_stamped",
        "",
        "Topic of stamped commands (JointState, as the controller's ~/command_stamped) to use instead of the plain ones; "
        "in lockstep only those tell which state was answered.",
        fixed=True,
    ),
    Declared("every", 60.0, "Seconds of new data after which a training begins in any case.", _SECONDS, fixed=True),
    Declared("piece", 10.0, "Seconds of a trial that together are trained on, or judge.", (0.1, 600.0), fixed=True),
    Declared("quota", 256.0, "Megabytes (2^20) that all trials may take.", (0.1, 1e6), fixed=True),
    Declared("newest", 300.0, "Seconds of the newest data that a training takes, all of them.", _SECONDS, fixed=True),
    Declared("earlier", 300.0, "Seconds of all older data that it takes, evenly spread.", (0.0, 1e9), fixed=True),
    Declared("keep", 5, "Bundles that are kept, beside those in use.", (1, 1000), fixed=True),
    Declared("cpu_affinity", [], "Cores that trainings may run on; empty: all.", (0, 4095), fixed=True, whole=True),
    Declared(
        "step_back",
        True,
        "The trainer, and its trainings wholly, give way to whatever else this machine does; false: they share it.",
        fixed=True,
    ),
    Declared("seed", 0, "Seed of the trainings.", (0, 2**31 - 1), fixed=True),
    Declared(
        "real_fraction",
        -1.0,
        "Share of real trials in a batch, the rest is replay; below 0: the recipe's.",
        (-1.0, 1.0),
        fixed=True,
    ),
    Declared(
        "gate.promote_below",
        0.0,
        "Error on held-out real trials, times the parent's; 0: the recipe's.",
        (0.0, math.inf),
        fixed=True,
    ),
    Declared(
        "gate.forget_below", 0.0, "Error on replay kept apart, times the parent's; 0: the recipe's.", (0.0, math.inf), fixed=True
    ),
    Declared(
        "gate.coverage",
        [],
        "Least and largest share that intervals for 90 % may hold; empty: the recipe's.",
        (0.0, 1.0),
        fixed=True,
    ),
    Declared("gate.latency", 0.0, "Share of a period that plans must fit into; 0: the recipe's.", (0.0, 1.0), fixed=True),
)


def settings(values: Mapping[str, Any]) -> Settings:
    """What the core needs of them."""
    given = {name.removeprefix("gate."): value for name, value in values.items() if name.startswith("gate.") and value}
    if values["real_fraction"] >= 0:
        given["real_fraction"] = values["real_fraction"]
    return Settings(
        every=values["every"],
        piece=values["piece"],
        quota=round(values["quota"] * 2**20),
        newest=values["newest"],
        earlier=values["earlier"],
        keep=values["keep"],
        cores=tuple(values["cpu_affinity"]),
        step_back=values["step_back"],
        seed=values["seed"],
        finetuning=given,
    )
