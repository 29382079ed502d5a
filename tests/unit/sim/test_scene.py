"""Ground and objects: what lies about behaves as bodies do, and its coordinates are joints of the robot."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from forerun_sim.collect import collect
from forerun_sim.errors import InputError
from forerun_sim.kinematics import Kinematics
from forerun_sim.plant import Plant
from forerun_sim.spec import RobotSpec, load_robot
from forerun_sim.spec.scene import coordinates
from forerun_sim.tasks import TaskFunction
from forerun_sim.urdf import robot_urdf

GRAVITY = 9.81
PUSHER_URDF = """<robot name="pusher">
  <link name="rail"/>
  <link name="hand">
    <inertial><mass value="1"/><inertia ixx="0.01" iyy="0.01" izz="0.01"/></inertial>
    <collision><geometry><box size="0.1 0.3 0.1"/></geometry></collision>
  </link>
  <joint name="slide" type="prismatic">
    <parent link="rail"/><child link="hand"/><origin xyz="0 0 0.06"/><axis xyz="1 0 0"/>
    <limit lower="-1" upper="1" effort="50" velocity="2"/>
  </joint>
</robot>
"""
BOX = {"shape": "box", "size": [0.1, 0.1, 0.1], "mass": 0.5, "friction": 0.4}
Pusher = Callable[..., RobotSpec]


def joint(name: str) -> dict[str, object]:
    return {"name": name, "type": "prismatic" if name[-2:] in ("_x", "_y", "_z") else "continuous"}


@pytest.fixture
def pusher(tmp_path: Path) -> Pusher:
    """A hand on a rail along x above the ground, with an object named box: ``pusher(box, **changes)``."""

    def build(box: dict[str, object] = BOX, **changes: object) -> RobotSpec:
        (tmp_path / "pusher.urdf").write_text(PUSHER_URDF)
        slide = {"name": "slide", "type": "prismatic", "interface": "velocity", "velocity": 1.0, "effort": 50.0}
        names = coordinates("box", str(box.get("motion", "planar")))
        robot: dict[str, object] = {
            "format": 1,
            "name": "pusher",
            "urdf": "pusher.urdf",
            "ground": True,
            "objects": {"box": box},
            "joints": [slide, *map(joint, names)],
            "control": {"rate": 50, "physics_rate": 1000},
            "actuators": {"damping": 200.0},
        }
        (tmp_path / "robot.yaml").write_text(yaml.safe_dump(robot | changes))
        return load_robot(tmp_path)

    return build


def start(spec: RobotSpec, **values: float) -> tuple[list[float], list[float]]:
    """Positions and velocities [J] with those named (``d_`` for a velocity) set and the rest 0."""
    names = spec.joint_names
    return [values.get(name, 0.0) for name in names], [values.get(f"d_{name}", 0.0) for name in names]


def run(plant: Plant, steps: int, command: float = 0.0) -> np.ndarray:
    rows = []
    for _ in range(steps):
        plant.step([command])
        rows.append(plant.true_state())
    return np.array(rows)


def test_a_sliding_box_brakes_by_its_friction(pusher: Pusher) -> None:
    plant = Plant(pusher(), randomize=False)
    for friction in (0.2, 0.4):
        initial = start(plant.spec, box_x=0.3, box_y=0.3, d_box_y=1.0, slide=-0.9)
        plant.reset(0, initial=initial, parameters={"link_friction.box": friction})
        rows = run(plant, 40)
        way = rows[-1][2] - 0.3
        assert way == pytest.approx(1.0 / (2 * friction * GRAVITY), rel=0.05)
        assert np.abs(rows[-1][4 + 1 :]).max() < 1e-3, "and then it rests"


def test_the_mass_of_an_object_counts_when_it_is_pushed(pusher: Pusher) -> None:
    plant = Plant(pusher(), randomize=False)
    efforts = []
    for mass in (0.5, 2.0):
        plant.reset(0, initial=start(plant.spec, box_x=0.15), parameters={"mass.box": mass})
        readings = [plant.step([0.2]) for _ in range(60)]
        efforts.append(np.mean([reading.effort[0] for reading in readings[30:] if reading is not None]))
    for mass, effort in zip((0.5, 2.0), efforts, strict=True):
        assert effort == pytest.approx(0.4 * mass * GRAVITY, rel=0.15), "the hand feels the box's friction"


def test_a_lopsided_box_spins_about_its_centre_of_mass(pusher: Pusher) -> None:
    plant = Plant(pusher(), randomize=False)
    slippery = {"com.box.y": 0.03, "link_friction.box": 0.0}
    initial = start(plant.spec, box_x=0.5, d_box_yaw=10.0)
    plant.reset(0, initial=initial, parameters=slippery)
    assert plant.true_state() == pytest.approx([*initial[0], *initial[1]], abs=1e-6), "its frame stays in its middle"
    rows = run(plant, 20)
    yaw, times = rows[:, 3], 0.02 * np.arange(1, 21)
    centre = rows[:, 1:3] + 0.03 * np.stack([-np.sin(yaw), np.cos(yaw)], axis=1)
    assert np.allclose(centre, np.stack([0.5 - 0.3 * times, 0.03 + 0.0 * times], axis=1), atol=2e-3), "which flies straight on"
    plant.reset(0, initial=initial, parameters=slippery | {"com.box.y": 0.0})
    assert np.allclose(run(plant, 20)[:, 1:3], [0.5, 0.0], atol=2e-3)


def test_a_hand_pushes_a_box_along_and_not_through(pusher: Pusher) -> None:
    plant = Plant(pusher(), randomize=False)
    plant.reset(0, initial=start(plant.spec, box_x=0.3, slide=0.0))
    rows = run(plant, 100, 0.3)
    hand, box = rows[:, 0], rows[:, 1]
    assert hand[-1] == pytest.approx(0.6, abs=0.05)
    assert box[-1] - hand[-1] == pytest.approx(0.1, abs=0.01), "face to face"
    assert np.all(box - hand > 0.09)


def test_a_thrown_ball_flies_and_bounces_as_its_restitution_says(pusher: Pusher) -> None:
    ball = {"shape": "sphere", "size": [0.05], "mass": 0.2, "restitution": 0.8, "motion": "floating"}
    plant = Plant(pusher(ball), randomize=False)
    plant.reset(0, initial=start(plant.spec, box_x=3.0, box_z=1.05, d_box_x=0.5))
    rows = run(plant, 45)
    names = plant.spec.joint_names
    z = rows[:, names.index("box_z")]
    landed = int(np.argmin(z[:30]))
    assert rows[landed - 2, 1] - 3.0 == pytest.approx(0.5 * 0.02 * (landed - 1), abs=0.01)
    falling = math.sqrt(2 * GRAVITY * 1.0)
    assert np.max(rows[:, len(names) + names.index("box_z")]) == pytest.approx(0.8 * falling, rel=0.08)


def test_objects_stand_on_the_ground_wherever_that_is(pusher: Pusher) -> None:
    can = {"shape": "cylinder", "size": [0.04, 0.2], "mass": 0.3, "motion": "floating"}
    plant = Plant(pusher(can, ground={"height": -0.5}), randomize=False)
    plant.reset(0, initial=start(plant.spec, box_x=0.5, box_z=-2.0))
    rows = run(plant, 50)
    assert rows[-1][3] == pytest.approx(-0.5 + 0.1, abs=0.005)
    assert np.abs(rows[:, len(plant.spec.joints) :]).max() < 0.5, "it was lifted out of the ground, not thrown"


def test_the_place_of_an_object_is_a_feature_for_rewards(pusher: Pusher) -> None:
    task = {
        "goal": {"names": ["x", "y", "z"], "default": [0.5, 0.1, 0.05]},
        "terms": [{"kind": "distance", "link": "box", "goal": 0}],
        "success": [{"feature": "link:box.x", "goal": 0, "bounds": [-0.02, 0.02]}],
        "initial_position": {"box_x": {"value": 0.2}},
    }
    spec = pusher(tasks={"push": task})
    reward = TaskFunction(spec, "push")
    state = np.array([*start(spec, box_x=0.2, box_y=0.1, box_yaw=2.0)[0], *[0.0] * 4])
    action = np.zeros(1)
    assert reward.reward(np, state, action, action, reward.default_goal) == pytest.approx(-0.3, abs=1e-6)
    there = Kinematics(robot_urdf(spec).frames(spec.joint_names)).point(np, state[:4], "box", (0.05, 0.0, 0.0))
    assert np.allclose(there, [0.2 + 0.05 * math.cos(2.0), 0.1 + 0.05 * math.sin(2.0), 0.05])


def test_the_way_from_the_hand_to_the_object_is_a_term_in_numpy_and_torch(pusher: Pusher) -> None:
    spec = pusher(tasks={"push": {"terms": [{"kind": "distance", "link": "hand", "to": "box", "weight": 2.0}]}})
    reward = TaskFunction(spec, "push").reward
    state = np.array([*start(spec, slide=0.1, box_x=0.5, box_y=0.3)[0], *[0.0] * 4])
    expected = -2.0 * math.sqrt(0.4**2 + 0.3**2 + 0.01**2)
    action, goal = np.zeros(1), np.zeros(0)
    assert reward(np, state, action, action, goal) == pytest.approx(expected, abs=1e-6)
    tensors = [torch.tensor(values) for values in (state, action, action, goal)]
    assert float(reward(torch, *tensors)) == pytest.approx(expected, abs=1e-6)
    both = {"kind": "distance", "link": "hand", "to": "box", "goal": 0}
    with pytest.raises(InputError, match="either the 'goal' index of its x or another link 'to'"):
        pusher(tasks={"push": {"terms": [both]}})
    with pytest.raises(InputError, match="no link named 'bax' in the URDF"):
        pusher(tasks={"push": {"terms": [{"kind": "distance", "link": "hand", "to": "bax"}]}})


def test_episodes_begin_with_the_object_where_the_task_puts_it(pusher: Pusher) -> None:
    task = {"initial_position": {"box_x": {"uniform": [0.2, 0.4]}, "box_yaw": {"uniform": [-0.5, 0.5]}}}
    spec = pusher(tasks={"push": task}, randomization={"mass": {"box": {"uniform": [0.5, 2.0], "relative": True}}})
    recordings = list(collect(spec, episodes=4, seed=2, steps=20))
    places = [recording.position[0, 1] for recording in recordings]
    assert all(0.2 <= place <= 0.4 for place in places)
    assert len(set(places)) == 4
    assert len({recording.meta["parameters"]["mass.box"] for recording in recordings}) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objects": {"hand": BOX}}, "needs its coordinate 'hand_x'"),
        ({"objects": {"box": BOX | {"size": [0.1]}}}, "a box has 3 sizes, not 1"),
        ({"objects": {"box": BOX | {"mass": 0}}}, "objects.box.mass"),
        ({"objects": {"Box": BOX}}, "objects"),
        ({"ground": False}, "a planar 'box' needs something to stand on"),
    ],
)
def test_what_is_wrong_with_a_scene_is_explained(pusher: Pusher, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        pusher(**changes)
    assert message in str(caught.value)


def test_an_object_cannot_be_called_as_a_link_is(pusher: Pusher) -> None:
    names = [joint(name) for name in coordinates("hand", "planar")]
    slide = {"name": "slide", "type": "prismatic", "interface": "velocity", "velocity": 1.0, "effort": 50.0}
    with pytest.raises(InputError, match=r"has \['hand'\] already"):
        pusher(objects={"hand": BOX}, joints=[slide, *names])
