"""The controller's parameters."""

from __future__ import annotations

import math

from forerun.control.controller import Settings
from forerun.control.limits import SafetySettings
from forerun.nodes.parameters import Declared, Parameters

_INF = math.inf

PARAMETERS = (
    Declared("bundle", "", "Folder of the bundle that decides; may change until configure."),
    Declared("dry_run", False, "Commands go to ~/dry_commands; the history follows those of others. Changes take clean-up."),
    Declared("goal", [], "Goal numbers at the start; empty: the bundle's default. Later ones come on ~/goal."),
    Declared("lockstep", False, "Tick when a state arrives, for a simulator that waits for each command.", fixed=True),
    Declared("autostart", False, "Configure and activate without being asked; the node ends if that fails.", fixed=True),
    Declared("seed", 0, "Seed of the planner's noise.", (0, 2**31 - 1), fixed=True),
    Declared("budget", 0.7, "Share of a period that a tick waits for its plan before it uses the last one.", (0.05, 0.95)),
    Declared("phase_lock", True, "Tick shortly after the states arrive, where they come once a period.", fixed=True),
    Declared("realtime_priority", 0, "SCHED_FIFO priority of loop and planner, 0 for none.", (0, 98), fixed=True),
    Declared("stats_file", "", "JSON file with all tick times, written at deactivate; empty: none.", fixed=True),
    Declared("safety.scale", 1.0, "Share of velocity, slew, and effort or velocity command limits to use.", (0.01, 1.0)),
    Declared("safety.stale_after", 0.0, "Oldest state that is used [s]; 0: the bundle's.", (0.0, 3600.0)),
    Declared("safety.max_misses", 0, "Ticks in a row without a plan before the stop latches; 0: the bundle's.", (0, 1_000_000)),
    Declared("safety.max_disagreement", 0.0, "Plans with more disagreement are not executed; 0: all are.", (0.0, _INF)),
    Declared("safety.command_lower", [], "Lower command limit per actuated joint; empty: the bundle's."),
    Declared("safety.command_upper", [], "Upper command limit per actuated joint; empty: the bundle's."),
    Declared("safety.slew", [], "Largest change of the command per second and actuated joint; empty: the bundle's."),
    Declared("safety.position_lower", [], "Lower position limit per joint [rad or m]; empty: the bundle's."),
    Declared("safety.position_upper", [], "Upper position limit per joint [rad or m]; empty: the bundle's."),
    Declared("safety.velocity", [], "Velocity per joint that ends in the safe action [rad/s or m/s]; empty: the bundle's."),
)


def settings(parameters: Parameters) -> Settings:
    """What the core needs of them."""
    arrays = ("command_lower", "command_upper", "slew", "position_lower", "position_upper", "velocity")
    return Settings(
        safety=SafetySettings(
            scale=parameters["safety.scale"],
            stale_after=parameters["safety.stale_after"],
            max_misses=parameters["safety.max_misses"],
            max_disagreement=parameters["safety.max_disagreement"],
            **{name: tuple(parameters[f"safety.{name}"]) for name in arrays},
        ),
        seed=parameters["seed"],
        budget=parameters["budget"],
    )
