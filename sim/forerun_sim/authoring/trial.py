"""A robot tried out in a process of its own: what kills PyBullet there is a message here. ``python -m ... FOLDER``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from forerun_sim.errors import ForerunError, InputError

_OUTCOME = "outcome of the trial: "
_SECONDS = 1.0
_EPISODES = 3
_PATIENCE = 300.0


def try_out(folder: Path) -> bool:
    """Simulates the robot in ``folder`` for some randomized episodes. Returns whether its physics stayed stable.

    Raises:
        InputError: PyBullet refuses the robot, or dies of it.
    """
    command = [sys.executable, "-m", "forerun_sim.authoring.trial", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{folder}: PyBullet does not come to an end with this robot: simplify its meshes") from error
    # PyBullet prints there too, whenever it likes.
    found = [line.partition(_OUTCOME)[2] for line in done.stdout.splitlines() if _OUTCOME in line]
    if done.returncode != 0 or not found:
        said = done.stderr.strip().splitlines()[-1:] or [f"signal {-done.returncode}"]
        raise InputError(f"{folder}: PyBullet dies of this robot ({said[0]}): check its meshes, or save them as OBJ")
    result = json.loads(found[0])
    if result["error"]:
        raise InputError(result["error"])
    return not result["discarded"]


def main() -> None:
    """Prints the outcome as one line of JSON, among whatever PyBullet prints."""
    from forerun_sim.collect import collect
    from forerun_sim.spec import load_robot

    result: dict[str, object] = {"error": "", "discarded": 0}
    try:
        spec = load_robot(sys.argv[1])
        runs = collect(spec, episodes=_EPISODES, steps=max(2, round(_SECONDS * spec.control.rate)), initial="task")
        for _ in runs:
            pass
        result["discarded"] = len(runs.discarded)
        runs.close()
    except ForerunError as error:
        result["error"] = str(error)
    print(f"\n{_OUTCOME}{json.dumps(result)}", flush=True)


if __name__ == "__main__":
    main()
