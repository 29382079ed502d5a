"""Identification shown four ways: known parameters found again, also after the experiment that it asks for, the real double
pendulum, the servos of the SO-ARM101."""

from __future__ import annotations

from collections.abc import Callable

from forerun.bench import identify_known, identify_logs
from forerun.bench.records import Measurement, Options, Row, Unavailable

SEEDS = 3
PARTS: dict[str, Callable[[int, Options], list[Row]]] = {
    "known": identify_known.known_truth,
    "design": identify_known.designed,
    "double_pendulum": identify_logs.double_pendulum,
    "so101": identify_logs.so101,
}


def measure(options: Options) -> Measurement:
    """The parts that ``options`` ask for; real logs are left out where they are not on this machine."""
    rows: list[Row] = []
    for name in options.chosen(list(PARTS)):
        for seed in options.seeds:
            try:
                rows += PARTS[name](seed, options)
            except Unavailable as reason:
                options.note(f"left out: {reason}")
                break
    settings = {"known": vars(identify_known.SIZE), "logs": vars(identify_logs.SIZE), "workers": 1}
    return Measurement("identify", rows, settings)
