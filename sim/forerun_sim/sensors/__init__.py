"""From the true state to what the robot reports: encoders (``model``), an inertial measurement unit on the base (``imu``), all of
them late by the sensors' delay (``history``), whatever the engine."""

from forerun_sim.sensors.imu import Imu
from forerun_sim.sensors.model import Reading, SensorModel

__all__ = ["Imu", "Reading", "SensorModel"]
