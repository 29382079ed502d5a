"""What a robot is built of beside its bodies: sensors, actuators, and what disturbs it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from forerun_sim.spec.base import NonNegative, NumberPerName, Positive, SignedPerName, Strict


class ImuSensor(Strict):
    """An inertial measurement unit at the origin of the base: standard deviation of the white noise of each reading, and bias
    along x, y, z of the base; angular velocity (gyro) in rad/s, specific force (accelerometer) in m/s^2."""

    gyro_noise: NonNegative = 0.0
    gyro_bias: SignedPerName = 0.0
    accelerometer_noise: NonNegative = 0.0
    accelerometer_bias: SignedPerName = 0.0

    @field_validator("gyro_bias", "accelerometer_bias")
    @classmethod
    def _of_axes(cls, value: float | dict[str, float]) -> float | dict[str, float]:
        if isinstance(value, dict) and not set(value) <= set("xyz"):
            raise ValueError(f"a bias has the axes x, y and z, not {sorted(set(value) - set('xyz'))}")
        return value


class Sensors(Strict):
    """How positions and velocities are measured. Noise is the standard deviation of white noise.

    ``velocity_source``: ``measured`` (noise is added to the true velocity) or ``difference`` (backward difference of measured
    positions over one reading, as most encoders do). ``rate`` [Hz] of readings, the control rate if absent. ``position_bias`` is
    what an encoder reads too much, ``position_drift`` how far that wanders [rad or m per square root of a second]. ``delay`` is
    the age of what a reading shows [s], ``dropout`` the share of readings that are lost. ``imu``: the base has such a unit.
    """

    rate: Positive | None = None
    position_noise: NonNegative = 0.0
    position_quantum: NonNegative = 0.0
    velocity_source: Literal["measured", "difference"] = "measured"
    velocity_noise: NonNegative = 0.0
    velocity_quantum: NonNegative = 0.0
    position_bias: SignedPerName = 0.0
    position_drift: NonNegative = 0.0
    delay: NonNegative = 0.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    imu: ImuSensor | None = None


class Actuators(Strict):
    """From command to joint torque. Times in s; friction opposes motion: ``viscous * dq``, and up to ``coulomb``, which
    holds a joint at rest; both add to what the robot's model file has.

    ``strength`` is a factor on the produced effort, ``lag`` the time constant of a first-order lag, ``delay`` a pure delay.
    ``stiffness`` and ``damping`` are the servo's gains (position interface: effort = stiffness * error - damping * dq; velocity
    interface: effort = damping * velocity error). ``armature`` is the inertia of the rotor as the joint feels it [kg m^2 or kg],
    ``backlash`` the play of the gear [rad or m], ``no_load_speed`` the speed at which the motor's effort is 0 (its limit falls
    linearly to it; 0: none). ``stiction`` is friction that a slow drive has on top [N m or N]; it is gone a few times above
    ``stiction_speed`` (Stribeck). ``gear_loss`` is the share of the motor's effort that its gear loses to friction. A number
    holds for all joints; a mapping gives one per joint name.

    ``gravity_compensation``: the robot itself balances its weight, by the masses of its URDF, whatever is commanded: an effort
    command is what comes on top, as on arms with a torque interface.
    """

    strength: NumberPerName = 1.0
    lag: NumberPerName = 0.0
    delay: NonNegative = 0.0
    viscous: NumberPerName = 0.0
    coulomb: NumberPerName = 0.0
    stiffness: NumberPerName = 0.0
    damping: NumberPerName = 0.0
    armature: NumberPerName = 0.0
    backlash: NumberPerName = 0.0
    no_load_speed: NumberPerName = 0.0
    stiction: NumberPerName = 0.0
    stiction_speed: NumberPerName = 0.1
    gear_loss: NumberPerName = 0.0
    gravity_compensation: bool = False


class Disturbances(Strict):
    """What happens to the robot from outside, and to the clock of its control loop.

    ``push_force`` [N] and ``push_torque`` [N m] are the sizes of pushes in random directions at the centre of mass of one of
    ``push_links`` (any moved link if absent), each lasting ``push_duration`` [s], on average every ``push_interval`` [s] (0:
    never). ``period_jitter`` is the standard deviation of the control period [s], by which a plant steps longer or shorter.
    """

    push_force: NonNegative = 0.0
    push_torque: NonNegative = 0.0
    push_interval: NonNegative = 0.0
    push_duration: NonNegative = 0.1
    push_links: tuple[str, ...] | None = None
    period_jitter: NonNegative = 0.0
