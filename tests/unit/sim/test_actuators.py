"""Drives do what their parts promise: delays in real time, curves of torque and speed, gears with play."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forerun_sim.actuators.delay import DelayLine
from forerun_sim.errors import InputError
from forerun_sim.plant import Plant
from forerun_sim.spec import RobotSpec

Robot = Callable[..., RobotSpec]
INERTIA, WEIGHT = 0.02 + 0.5**2, 9.81 * 0.5
SERVO = {"name": "swing", "type": "revolute", "interface": "position", "position": [-3.0, 3.0], "effort": 50.0}
GAINS = {"stiffness": 200.0, "damping": 12.0}


def speeds(plant: Plant, commands: list[float], start: float = 0.0, **parameters: float) -> np.ndarray:
    """Speed of bob after each physics step of 1 ms, without gravity."""
    plant.reset(
        0, initial=([0.0], [start]), parameters={"gravity": 0.0} | {k.replace("__", "."): v for k, v in parameters.items()}
    )
    values = []
    for command in commands:
        plant.advance([command], 1)
        values.append(plant.true_state()[1])
    return np.array(values)


def at_rest(plant: Plant, command: float, **parameters: float) -> float:
    """Where the servo of bob comes to rest."""
    plant.reset(0, initial=([0.0], [0.0]), parameters={k.replace("__", "."): v for k, v in parameters.items()})
    for _ in range(200):
        plant.step([command])
    assert abs(plant.true_state()[1]) < 1e-3
    return float(plant.true_state()[0])


@given(st.lists(st.tuples(st.integers(1, 12), st.floats(-9, 9)), min_size=1, max_size=12), st.floats(0, 30), st.integers(1, 40))
def test_a_delay_line_gives_every_command_its_time_and_no_more(given: list[tuple[int, float]], delay: float, rest: int) -> None:
    line = DelayLine()
    line.reset(delay, [0.0])
    arrived: list[float] = []
    expected, switches, step = 0.0, [], 0
    for count, value in [*given, (rest, 0.0)]:
        line.give([value], step)
        switches.append((step + delay, value))
        arrived += [command[0] for steps, command in line.during(step, count) for _ in range(steps)]
        step += count
    assert len(arrived) == step
    for (begin, value), end in zip(switches, [begin for begin, _ in switches[1:]] + [math.inf], strict=True):
        expected += value * max(0.0, min(end, step) - min(begin, step))
    assert sum(arrived) == pytest.approx(expected, abs=1e-4 * step)


def test_a_delay_between_physics_steps_is_kept(bob: Robot) -> None:
    plant = Plant(bob(), randomize=False)
    for delay in (0.0353, 0.0007, 0.02):
        reached = speeds(plant, [1.0] * 100, delay=delay)[-1]
        assert reached == pytest.approx((0.1 - delay) / INERTIA, rel=1e-4)


def test_a_motor_with_a_torque_speed_curve_runs_up_to_its_no_load_speed(bob: Robot) -> None:
    plant = Plant(bob(), randomize=False)
    run = speeds(plant, [5.0] * 1500, no_load_speed__swing=10.0)
    times = 0.001 * np.arange(1, 1501)
    assert run == pytest.approx(10.0 * (1.0 - np.exp(-times * 5.0 / (10.0 * INERTIA))), abs=0.02)


def test_a_torque_speed_curve_leaves_what_it_can_give_and_brakes_with_all(bob: Robot) -> None:
    plant = Plant(bob(), randomize=False)
    gentle = speeds(plant, [2.0] * 100, start=3.0, no_load_speed__swing=10.0)
    assert gentle[-1] - 3.0 == pytest.approx(2.0 * 0.1 / INERTIA, rel=1e-3)  # 5 * (1 - 0.3) is more than 2
    braking = speeds(plant, [-5.0] * 100, start=9.0, no_load_speed__swing=10.0)
    assert 9.0 - braking[-1] == pytest.approx(5.0 * 0.1 / INERTIA, rel=1e-3)
    beyond = speeds(plant, [5.0] * 100, start=15.0, no_load_speed__swing=10.0)
    assert beyond == pytest.approx(15.0, rel=1e-6)  # no effort in that direction, and none against it


def test_a_torque_speed_curve_needs_a_limit_of_effort(bob: Robot) -> None:
    joints = [{"name": "swing", "type": "continuous", "interface": "velocity", "velocity": 5.0}]
    with pytest.raises(InputError, match=r"joint 'swing': actuators\.no_load_speed .* state 'effort' in joints"):
        Plant(bob(joints=joints, actuators={"damping": 50.0, "no_load_speed": 8.0}))


def test_a_gear_loses_a_share_of_the_effort_whichever_way_it_turns(bob: Robot) -> None:
    plant = Plant(bob(), randomize=False)
    forth = speeds(plant, [2.0] * 50, start=1.0, gear_loss__swing=0.2)
    assert forth[-1] - 1.0 == pytest.approx(0.8 * 2.0 * 0.05 / INERTIA, rel=1e-3)
    braking = speeds(plant, [-2.0] * 50, start=3.0, gear_loss__swing=0.2)
    assert 3.0 - braking[-1] == pytest.approx(1.2 * 2.0 * 0.05 / INERTIA, rel=1e-3)


def test_stiction_holds_a_slow_joint_back_and_lets_a_fast_one_go(bob: Robot) -> None:
    plant = Plant(bob(), randomize=False)
    slow = speeds(plant, [0.0] * 50, start=0.5, stiction__swing=0.3, stiction_speed__swing=100.0)
    assert 0.5 - slow[-1] == pytest.approx(0.3 * 0.05 / INERTIA, rel=1e-3)
    fast = speeds(plant, [0.0] * 50, start=0.5, stiction__swing=0.3, stiction_speed__swing=0.1)
    assert fast[-1] == pytest.approx(0.5, abs=1e-6)


def test_an_effort_that_reverses_is_lost_while_the_rotor_crosses_the_play(bob: Robot) -> None:
    play, armature = 0.02, 0.01
    plant = Plant(bob(), randomize=False)
    run = speeds(plant, [1.0] * 100 + [-1.0] * 100, backlash__swing=play, armature__swing=armature)
    first = np.flatnonzero(run)[0]  # from the middle of the play to its end
    assert 0.001 * first == pytest.approx(math.sqrt(2 * 0.5 * play * armature / 1.0), abs=0.002)
    falling = np.flatnonzero(np.diff(run[100:]) < -1e-6)[0]
    assert 0.001 * falling == pytest.approx(math.sqrt(2 * play * armature / 1.0), abs=0.002)
    assert run[100 : 100 + falling] == pytest.approx(run[99])


def test_a_gear_without_a_rotors_inertia_crosses_its_play_at_once(bob: Robot) -> None:
    plant = Plant(bob(), randomize=False)
    commands = [1.0] * 50 + [-1.0] * 50
    assert np.array_equal(speeds(plant, commands), speeds(plant, commands, backlash__swing=0.02))


@pytest.mark.parametrize("armature", [0.0, 0.002])
def test_under_load_a_servo_with_play_is_off_by_half_of_it(bob: Robot, armature: float) -> None:
    plant = Plant(bob(type="revolute", joints=[SERVO], actuators=GAINS), randomize=False)
    tight = at_rest(plant, 1.0, armature__swing=armature)
    loose = at_rest(plant, 1.0, armature__swing=armature, backlash__swing=0.1)
    give = 200.0 / (200.0 + WEIGHT * math.cos(tight))
    assert tight - loose == pytest.approx(0.05 * give, rel=0.02)


def test_an_unloaded_joint_is_free_within_the_play_and_held_beyond(bob: Robot) -> None:
    plant = Plant(bob(type="revolute", joints=[SERVO], actuators=GAINS), randomize=False)
    plant.reset(0, initial=([0.0], [0.05]), parameters={"gravity": 0.0, "backlash.swing": 0.1, "armature.swing": 0.001})
    angles = []
    for _ in range(400):
        plant.step([0.0])
        angles.append(plant.true_state()[0])
    assert angles[20] == pytest.approx(0.05 * 0.02 * 21, rel=0.02)  # nothing holds it yet
    assert max(np.abs(angles)) < 0.06


def test_gains_strength_and_saturation_act_on_servos(bob: Robot) -> None:
    plant = Plant(bob(type="revolute", joints=[SERVO], actuators=GAINS), randomize=False)
    for parameters, stiffness in (({}, 200.0), ({"stiffness__swing": 50.0}, 50.0), ({"strength__swing": 0.5}, 100.0)):
        angle = at_rest(plant, 1.0, **parameters)
        assert stiffness * (1.0 - angle) == pytest.approx(WEIGHT * math.sin(angle), rel=0.01)
    stiff, soft = (speeds(plant, [1.0] * 40, servo_damping__swing=damping)[-1] for damping in (5.0, 40.0))
    assert soft < 0.7 * stiff


def test_torque_curve_and_play_hold_in_the_other_engine(bob: Robot) -> None:
    pytest.importorskip("mujoco")
    spec = bob()
    commands = [3.0] * 300 + [-3.0] * 300
    for parameters in ({"no_load_speed__swing": 6.0}, {"backlash__swing": 0.05, "armature__swing": 0.01}):
        one, other = (
            speeds(Plant(spec, engine=engine, randomize=False), commands, **parameters) for engine in ("bullet", "mujoco_urdf")
        )
        assert one == pytest.approx(other, abs=0.05)
