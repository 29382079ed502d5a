"""Quality of service of every topic, in one place."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def _profile(depth: int, *, reliable: bool = True, latched: bool = False) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


STATES_OUT = _profile(100)
"""joint_states as ros2_control publishes it: reliable, so that both kinds of subscription match. Deep, so that a recorder on a
busy machine still gets what was sent two seconds ago."""

STATES_IN = _profile(10, reliable=False)
"""joint_states as the controller reads it: a lost state is replaced by the next, waiting for it again would be worse."""

PICTURES_IN = _profile(1, reliable=False)
"""A camera's image as the controller reads it: the newest one counts."""

STATES_LOCKSTEP = _profile(1000)
"""In lockstep no state may be lost, and hundreds a second may come."""

LOCKSTEP_OUT = _profile(1000, latched=True)
"""States and answers in lockstep: a recorder on a busy machine is seconds behind, and discovered after the first of them."""

PICTURES_OUT = _profile(5)
"""Images of the simulator: both kinds of subscription match; few are kept, as they are large."""

COMMANDS_OUT = _profile(100)
"""commands: reliable, as ros2_control's forward controllers subscribe; deep, for recorders."""

COMMANDS_IN = _profile(10)
"""commands as the simulator and a dry run read them."""

COMMANDS_GUARDED = _profile(1)
"""commands as the guard reads them: none waits in a queue and acts later than it should."""

STAMPED = _profile(1000)
"""~/command_stamped, as deep as the states that it answers in lockstep, and ~/goal."""

LATCHED = _profile(1, latched=True)
"""trial and bundle: whoever comes late gets the last message."""

ANNOUNCEMENTS = _profile(1)
"""bundle from a publisher that latches nothing, as ``ros2 topic pub`` is without options."""

COLLECTED = _profile(1000, reliable=False)
"""joint_states and commands as the trainer reads them: whatever their publishers offer, and deep, as it steps back."""

VIEWS = _profile(1, reliable=True)
"""~/predicted: for people who look."""

DIAGNOSTICS = _profile(10)

CLOCK = _profile(1, reliable=False)
"""/clock as rclpy subscribes to it."""

CLOCK_OUT = _profile(10)
"""/clock as the simulator publishes it: both kinds of subscription match."""
