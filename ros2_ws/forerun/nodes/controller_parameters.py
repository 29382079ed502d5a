"""The controller's parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from forerun.control.limits import SafetySettings
from forerun.control.rights import Rights
from forerun.control.settings import Settings
from forerun.control.shadow import SwapSettings
from forerun.nodes.parameters import Declared, Parameters

_INF = math.inf
_ANY, _POSITIVE = (-_INF, _INF), (0.0, _INF)
"""No NaN in either."""
TRIGGERS = ("timer", "state")
RECOVERY = ("", "resume", "latch")

PARAMETERS = (
    Declared("bundle", "", "Folder of the bundle that decides, or name of a ready one; may change until configure."),
    Declared("dry_run", False, "Commands go to ~/dry_commands; the history follows those of others. Changes take clean-up."),
    Declared("goal", [], "Goal numbers at the start; empty: the bundle's default. Later ones come on ~/goal.", _ANY),
    Declared("lockstep", False, "Tick when a state arrives, for a simulator that waits for each command.", fixed=True),
    Declared("autostart", False, "Configure and activate without being asked; the node ends if that fails.", fixed=True),
    Declared("seed", 0, "Seed of the planner's noise.", (0, 2**31 - 1), fixed=True),
    Declared("budget", 0.7, "Share of a period that a tick waits for its plan before it uses the last one.", (0.05, 0.95)),
    Declared("compensate_delay", True, "Plan from the state predicted for when the command acts.", fixed=True),
    Declared(
        "command_delay",
        -1.0,
        "Sending to acting, beyond what the model learned [s]; negative: the bundle's.",
        (-1.0, 1.0),
        fixed=True,
    ),
    Declared(
        "trigger", "timer", "Tick by the clock, or when a state arrives (and when none does).", choices=TRIGGERS, fixed=True
    ),
    Declared("phase_lock", True, "Tick shortly after the states arrive, where they come once a period.", fixed=True),
    Declared(
        "realtime_priority", 0, "SCHED_FIFO priority of the loop (the planner's is one lower), 0 for none.", (0, 98), fixed=True
    ),
    Declared("cpu_affinity", [], "Cores that loop and planner may run on; empty: all.", (0, 4095), fixed=True, whole=True),
    Declared("lock_memory", False, "Keep the process' memory in RAM, so that no tick waits for a page.", fixed=True),
    Declared(
        "spin", 0.0, "Last seconds before a deadline that are spent awake; costs that much of a core.", (0.0, 0.001), fixed=True
    ),
    Declared("frame", "world", "Frame of ~/markers: the robot's root link stands in its origin.", fixed=True),
    Declared("stats_file", "", "JSON file with all tick times, written at deactivate; empty: none.", fixed=True),
    Declared("swap.shadow_ticks", 100, "Ticks that a new bundle plans as a shadow before it takes over; 0: none.", (0, 100_000)),
    Declared("swap.watch_ticks", 500, "Ticks that its predictions are compared with the old one's afterwards.", (0, 100_000)),
    Declared("swap.tolerance", 1.1, "Prediction error that a new bundle may have, times the running one's.", (1.0, 1000.0)),
    Declared("swap.patience", 30.0, "Seconds in which the shadow's ticks must come together.", (0.1, 3600.0)),
    Declared("safety.scale", 1.0, "Share of velocity, slew, and effort or velocity command limits to use.", (0.01, 1.0)),
    Declared("safety.stale_after", 0.0, "Oldest state that is used [s]; 0: the bundle's.", (0.0, 3600.0)),
    Declared("safety.max_misses", 0, "Ticks in a row without a plan before the stop latches; 0: the bundle's.", (0, 1_000_000)),
    Declared(
        "safety.max_disagreement", 0.0, "Plans with more disagreement are not executed; 0: the bundle's threshold.", (0.0, _INF)
    ),
    Declared("safety.max_disagreeing", 0, "Such plans in a row before the robot stops; 0: the bundle's.", (0, 1_000_000)),
    Declared("safety.recover_after", 0, "Good ticks in a row that end a stop by themselves; 0: the bundle's.", (0, 1_000_000)),
    Declared("safety.on_stale", "", "A stop for lack of states: latch it, or as the bundle says.", choices=RECOVERY),
    Declared("safety.on_misses", "", "A stop for lack of plans: latch it, or as the bundle says.", choices=RECOVERY),
    Declared("safety.on_disagreement", "", "A stop for disagreement: latch it, or as the bundle says.", choices=RECOVERY),
    Declared("safety.command_lower", [], "Lower command limit per actuated joint; empty: the bundle's.", _ANY),
    Declared("safety.command_upper", [], "Upper command limit per actuated joint; empty: the bundle's.", _ANY),
    Declared("safety.slew", [], "Largest change of the command per second and actuated joint; empty: the bundle's.", _POSITIVE),
    Declared("safety.position_lower", [], "Lower position limit per joint [rad or m]; empty: the bundle's.", _ANY),
    Declared("safety.position_upper", [], "Upper position limit per joint [rad or m]; empty: the bundle's.", _ANY),
    Declared(
        "safety.velocity", [], "Velocity per joint that ends in the safe action [rad/s or m/s]; empty: the bundle's.", _POSITIVE
    ),
)


def settings(parameters: Parameters) -> Settings:
    """What the core needs of them."""
    return Settings(
        safety=safety_settings(parameters.values()),
        seed=parameters["seed"],
        budget=parameters["budget"],
        compensate_delay=parameters["compensate_delay"],
        command_delay=parameters["command_delay"],
        swap=SwapSettings(
            shadow_ticks=parameters["swap.shadow_ticks"],
            watch_ticks=parameters["swap.watch_ticks"],
            tolerance=parameters["swap.tolerance"],
            patience=parameters["swap.patience"],
        ),
    )


def safety_settings(values: Mapping[str, Any]) -> SafetySettings:
    """The parameters ``safety.*`` among ``values``."""
    given: dict[str, Any] = {name.removeprefix("safety."): value for name, value in values.items() if name.startswith("safety.")}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return SafetySettings(**given)


def rights(parameters: Parameters) -> Rights:
    """What loop and planner ask the operating system for."""
    return Rights(parameters["realtime_priority"], tuple(parameters["cpu_affinity"]), parameters["lock_memory"])
