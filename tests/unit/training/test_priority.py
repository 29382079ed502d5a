"""Trainings give way, and go with whoever started them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path


def test_a_training_steps_back_behind_everything_else_on_its_cores() -> None:
    core = min(os.sched_getaffinity(0))
    code = (
        f"import os; from forerun.training.priority import step_back; refused = step_back([{core}]);"
        "print(os.nice(0), os.sched_getscheduler(0) == os.SCHED_IDLE, sorted(os.sched_getaffinity(0)), refused)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, start_new_session=True).stdout
    nice, idle, cores, refused = told.strip().split(" ", 3)
    assert (nice, idle, cores) == ("19", "True", f"[{core}]")
    # The kernel takes a few changes of groups a second only.
    assert refused == "[]" or refused.startswith("['/proc/self/autogroup"), refused


def test_a_training_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    started = tmp_path / "pid"
    child = (
        "import os, time; from forerun.training.priority import die_with; die_with({parent});"
        f"open({str(started)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    )
    parent = (
        f"import os, subprocess, sys; code = {child!r}.format(parent=os.getpid());"
        "subprocess.run([sys.executable, '-c', code], start_new_session=True)"
    )
    starter = subprocess.Popen([sys.executable, "-c", parent])
    deadline = time.monotonic() + 60
    while not (started.exists() and started.read_text()):
        assert time.monotonic() < deadline and starter.poll() is None
        time.sleep(0.02)
    number = int(started.read_text())
    starter.kill()
    starter.wait()
    while Path(f"/proc/{number}").exists() and "Z" not in Path(f"/proc/{number}/stat").read_text().split(") ")[1][:1]:
        assert time.monotonic() < deadline, "it lives on"
        time.sleep(0.02)
