"""Delay compensation: a plan starts from the state in which the robot will be when the plan's first command acts.

A command that is sent at ``t`` acts at ``t + command_delay``. The plan that a tick asks for at ``now`` is sent when it has been
computed, so its first command acts at ``now + computing time + command_delay``. From the newest measured state until then the
commands under way act, and those are known. So the model predicts the history forward over the whole periods of that time
(``predict_forward``), and ``act.onnx`` takes what is left of a period as ``delay``.

- **Acting times.** The live grid is given each command with the time at which it acts, so the history holds what really acted.
- **What counts as delay.** ``command_delay`` is only what the model does not know. The delay of the plant that the logs come
  from (drives, bus, actuators) is in the logs, so the model has learned it, and it must not be stated again. The age of the
  newest state and the computing time are measured and must not be stated either.
- **Computing time.** ``SendDelay``: the median of what the last plans took from their tick until their first command was sent.
  In lockstep and in simulated time that is 0, for no time passes there.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forerun.grid import LiveGrid
from forerun_models.bundle import Bundle

Rows = NDArray[np.float32]

_REMEMBERED = 49


class SendDelay:
    """How long it takes from the tick that asks for a plan until that plan's first command is sent.

    The median, not a high quantile: a command is sent as soon as it is there, so an estimate that is mostly too long makes most
    plans start too late, while one slow plan in ten must not move the estimate of the other nine.

    Args:
        longest: no plan is expected later than this [s]; one that is has missed its tick.

    Attributes:
        expected: for the next plan [s], 0 before the first one.
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._taken: deque[float] = deque(maxlen=_REMEMBERED)
        self.expected = 0.0

    def add(self, seconds: float) -> None:
        """A plan took ``seconds``. A clock that jumped in between does no harm."""
        self._taken.append(min(max(seconds, 0.0), self._longest))
        self.expected = statistics.median(self._taken)

    def renew(self) -> None:
        """Another bundle plans from now on; until its first plan is there it is expected to be as quick as the last one."""
        self._taken.clear()


@dataclass(frozen=True)
class Start:
    """Where a plan starts.

    Attributes:
        acts: when its first command acts [s, controller time].
        history: [K, S+A] that ends with the newest measured state.
        commands: [n, A] what acts in the whole periods from then on, each the mean of its period.
        under_way: [A] the mean of what acts from there until ``acts``.
        delay: the length of that rest, below a period [s].
    """

    acts: float
    history: Rows
    commands: Rows
    under_way: Rows
    delay: float

    @property
    def begins(self) -> float:
        """When the state holds from which the plan's steps count [s]: step h is over ``h + 1`` periods later."""
        return self.acts - self.delay


class Compensation:
    """Says when commands act and where plans start.

    Args:
        enabled: without it a plan starts from the newest state as if it held now, and commands act when they are sent.
        command_delay: from sending a command until it acts, beyond what the model has learned [s].
        longest: bound of the computing time [s].
    """

    def __init__(self, enabled: bool, command_delay: float, longest: float) -> None:
        self.enabled = enabled
        self.command_delay = command_delay if enabled else 0.0
        self.send_delay = SendDelay(longest)

    def renew(self, command_delay: float) -> None:
        """Another bundle plans from now on."""
        self.command_delay = command_delay if self.enabled else 0.0
        self.send_delay.renew()

    @property
    def expected(self) -> float:
        """Computing time of the next plan [s]."""
        return self.send_delay.expected if self.enabled else 0.0

    def acting(self, sent: float) -> float:
        """When a command that is sent at ``sent`` acts [s]."""
        return sent + self.command_delay

    def start(self, grid: LiveGrid, now: float, bundle: Bundle) -> Start:
        """Where the plan that is asked for at ``now`` [s] starts.

        A bundle without a model cannot be predicted forward: its plan starts from the newest state, and of the delay only what
        its graph makes of a period at most is compensated.
        """
        manifest = bundle.manifest
        acts = self.acting(now + self.expected)
        if not self.enabled:
            history = grid.history(now)[-manifest.history :]
            return Start(acts, history, history[:0, manifest.state_size :], history[-1, manifest.state_size :], 0.0)
        history, commands, delay = grid.outlook(acts)
        if not bundle.has_model and len(commands) > 1:
            commands, delay = commands[-1:], manifest.period
        return Start(acts, history[-manifest.history :], commands[:-1], commands[-1], delay)


def predict_forward(bundle: Bundle, history: Rows, commands: Iterable[Rows], under_way: Rows) -> Rows:
    """The history [K, S+A] after the ``commands`` [n, A] acted for a period each; ``under_way`` [A] acts from its end on.

    Raises:
        ValueError: the model predicts no finite state; a plan from the state before would be for another moment.
    """
    size = bundle.manifest.state_size
    for command in commands if bundle.has_model else ():
        _, _, following = bundle.predict(history[None], command[None])
        history = following[0]
    if not np.isfinite(history[:, :size]).all():
        raise ValueError("the state predicted for the moment at which the plan's command acts is not finite")
    history = history.copy()
    history[-1, size:] = under_way
    return history
