"""Whether a robot and a bundle load here, and whether this machine plans in time."""

from __future__ import annotations

import numpy as np

from forerun.doctor.checks import Check, Family
from forerun_sim.errors import ForerunError

_PLANS = 300
_SHARE = 0.7
"""Share of a period that a tick waits for its plan by default (the controller's parameter ``budget``)."""


def check_robot(name: str) -> tuple[str | None, list[Check]]:
    """Whether robot.yaml and what it names can be read; the robot's name first, None where it cannot."""
    from forerun_sim.spec import load_robot

    family = Family("robot")
    try:
        robot = load_robot(name)
    except ForerunError as error:
        return None, [family.fail("robot.yaml", str(error), "nothing can be done with this robot", f"forerun inspect {name}")]
    timeout = robot.safety.command_timeout
    checks = [family.ok("robot.yaml", f"{robot.name}, {len(robot.actuated)} actuated of {len(robot.joints)} joints")]
    checks.append(family.ok("command timeout", f"{timeout:g} s, {timeout * robot.control.rate:.0f} control periods"))
    unbraked = [j.name for j in robot.actuated if j.interface == "effort" and j.position and not j.deceleration]
    if unbraked:
        checks.append(
            family.warn(
                "braking",
                f"no deceleration for: {', '.join(unbraked)}",
                "the controller cannot reckon with the braking distance and stops at the limit only",
                "give joints a 'deceleration' in robot.yaml",
            )
        )
    return robot.name, checks


def check_bundle(path: str, robot: str | None) -> list[Check]:
    """Whether the bundle loads as the controller loads it (digests, parity) and its plans come in time.

    Args:
        path: the bundle's folder or the name of a ready one.
        robot: name that it must be for, or None.
    """
    from forerun.control.loading import warm_up
    from forerun_models.bundle import load
    from forerun_models.bundle.timing import plan_seconds
    from forerun_sim.resources import bundle_folder

    family = Family("bundle")
    try:
        bundle = load(bundle_folder(path), robot=robot)
        warm_up(bundle)
    except ForerunError as error:
        return [family.fail("bundle", str(error), "the controller refuses it, too", f"forerun inspect {path}")]
    manifest = bundle.manifest
    times = plan_seconds(bundle, _PLANS)
    p50, p999 = (float(value) for value in np.quantile(times, (0.5, 0.999)))
    period, budget = manifest.period, _SHARE * manifest.period
    found = f"p50 {1000 * p50:.2f} ms, p99.9 {1000 * p999:.2f} ms of {_PLANS}; a period is {1000 * period:g} ms"
    loaded = family.ok(
        "bundle", f"{bundle.digest[:12]} for {manifest.robot}, task {manifest.task}: digests and outputs are right"
    )
    todo = "export with a smaller planner, or use a faster computer; forerun bench planner measures sizes"
    if p50 > budget:
        return [loaded, family.fail("plan", found, "no plan comes in time", todo)]
    if p999 > budget:
        return [loaded, family.warn("plan", found, "now and then the last plan must bridge a tick", todo)]
    return [loaded, family.ok("plan", found)]
