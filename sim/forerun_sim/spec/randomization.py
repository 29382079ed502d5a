"""What varies between episodes, as data."""

from __future__ import annotations

from pydantic import ValidationInfo, field_validator

from forerun_sim.spec.base import Distribution, PerName, Strict

OF_LINKS = ("mass", "inertia", "com", "link_friction", "restitution")
"""Quantities with a value for each link."""
OF_AXES = {
    "gravity_tilt": "xy",
    "gyro_bias": "xyz",
    "accelerometer_bias": "xyz",
    "light_direction": "xyz",
    "light_colour": "rgb",
}
"""Quantities with a value for each of these axes, or channels of colour."""
OF_CAMERAS = ("camera_shift", "camera_turn")
"""Quantities with a value for each axis of each camera."""
NOT_OF_JOINTS = (*OF_LINKS, *OF_AXES, *OF_CAMERAS, "texture", "pattern")
"""Quantities whose names are not joints'."""
INITIAL = ("initial_position", "initial_velocity")
"""What an episode begins with, in place of what its task says of the joint."""


class Randomization(Strict):
    """What varies between episodes, each as a distribution. Absent means nominal. SI; named as in ``Parameters``.

    Names are links for mass, inertia, com, link_friction and restitution, axes for gravity_tilt (x and y), gyro_bias and
    accelerometer_bias (x, y and z), joints for the rest.
    ``damping`` is the URDF's joint damping, ``viscous`` and ``coulomb`` are the joint's friction, ``stiffness`` and
    ``servo_damping`` the servo's gains.

    A changed ``mass`` scales the link's inertia with it (the same shape of another material); ``inertia``, always relative,
    scales it further. ``com`` shifts the link's centre of mass [m], in each direction of the link's frame. ``payload`` adds mass
    [kg] at the last link's centre of mass; ``gravity`` is its size [m/s^2], ``gravity_tilt`` turns it about x and y [rad].

    Of pictures: ``camera_shift`` [m] and ``camera_turn`` [rad] along and about the axes of a camera's frame, by camera;
    ``light_direction`` (x, y, z towards the light), ``light_colour`` (r, g, b), ``light_strength`` (a factor); ``texture``, which
    is added to the red, green and blue of a link, an object or ``ground`` (from 0 to 1), by their names; ``pattern``, by the same
    names, whose whole part chooses one of 16 grey patterns of noise, checks and stripes (0: plain), as in {uniform: [0, 16]}.

    ``initial_position`` and ``initial_velocity`` (never relative) are where a joint's episodes begin, in place of what the task
    says of that joint."""

    mass: PerName | None = None
    inertia: PerName | None = None
    com: PerName | None = None
    link_friction: PerName | None = None
    restitution: PerName | None = None
    damping: PerName | None = None
    viscous: PerName | None = None
    coulomb: PerName | None = None
    armature: PerName | None = None
    strength: PerName | None = None
    stiffness: PerName | None = None
    servo_damping: PerName | None = None
    lag: PerName | None = None
    backlash: PerName | None = None
    no_load_speed: PerName | None = None
    stiction: PerName | None = None
    stiction_speed: PerName | None = None
    gear_loss: PerName | None = None
    delay: Distribution | None = None
    observation_delay: Distribution | None = None
    position_noise: Distribution | None = None
    velocity_noise: Distribution | None = None
    position_quantum: Distribution | None = None
    velocity_quantum: Distribution | None = None
    position_bias: PerName | None = None
    position_drift: Distribution | None = None
    dropout: Distribution | None = None
    gyro_noise: Distribution | None = None
    gyro_bias: PerName | None = None
    accelerometer_noise: Distribution | None = None
    accelerometer_bias: PerName | None = None
    period_jitter: Distribution | None = None
    gravity: Distribution | None = None
    gravity_tilt: PerName | None = None
    payload: Distribution | None = None
    push_force: Distribution | None = None
    push_torque: Distribution | None = None
    push_interval: Distribution | None = None
    push_duration: Distribution | None = None
    camera_shift: PerName | None = None
    camera_turn: PerName | None = None
    light_direction: PerName | None = None
    light_colour: PerName | None = None
    light_strength: Distribution | None = None
    texture: PerName | None = None
    pattern: PerName | None = None
    initial_position: PerName | None = None
    initial_velocity: PerName | None = None

    @field_validator(*OF_AXES)
    @classmethod
    def _of_axes(cls, value: PerName | None, info: ValidationInfo) -> PerName | None:
        axes = OF_AXES[str(info.field_name)]
        if isinstance(value, dict) and not set(value) <= set(axes):
            raise ValueError(f"it has the axes {', '.join(axes)}, not {sorted(set(value) - set(axes))}")
        return value

    @field_validator(*INITIAL)
    @classmethod
    def _absolute(cls, value: PerName | None) -> PerName | None:
        drawn = value.values() if isinstance(value, dict) else (value,) if value is not None else ()
        if any(distribution.relative for distribution in drawn):
            raise ValueError("an initial state has no nominal value that it could be a factor of: leave out 'relative'")
        return value

    @field_validator("inertia")
    @classmethod
    def _relative(cls, value: PerName | None) -> PerName | None:
        drawn = value.values() if isinstance(value, dict) else (value,) if value is not None else ()
        if not all(distribution.relative for distribution in drawn):
            raise ValueError("an inertia is a factor on all three principal moments: add 'relative: true'")
        return value
