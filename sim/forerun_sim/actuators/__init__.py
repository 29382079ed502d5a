"""From command to joint torque, at the physics rate, in this order and whatever the engine:

1. the command is cut to its limits and counts ``delay`` later (``delay.DelayLine``);
2. the interface, a linear law of command, position and speed, turns it into an effort (``parts.Law``);
3. the effort saturates at the joint's limit, which falls with speed where the motor has a torque-speed curve (``parts.Motor``);
4. it follows with a first-order lag, times the motor's strength (``parts.Motor``);
5. the gear passes it on, once the rotor has crossed the play (``parts.Gear``), less what it loses (``parts.Losses``);
6. robots that balance their own weight add the effort that does so (``model.ActuatorModel``).

Friction, damping and the rotor's inertia are in the engine's solver.
"""

from forerun_sim.actuators.drives import JointRow
from forerun_sim.actuators.model import COMPENSATION, ActuatorModel, per_joint

__all__ = ["COMPENSATION", "ActuatorModel", "JointRow", "per_joint"]
