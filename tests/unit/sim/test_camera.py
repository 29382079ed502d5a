"""Pictures show what is there: sizes and distances by geometry, and what varies changes the picture and nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forerun_sim.engines.base import Image
from forerun_sim.engines.bullet_patterns import PATTERNS, pattern
from forerun_sim.errors import InputError
from forerun_sim.plant import Plant
from forerun_sim.spec import RobotSpec, load_robot

SLED = """<robot name="sled">
  <link name="rail"><inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1"/></inertial></link>
  <link name="box">
    <inertial><mass value="1"/><inertia ixx="0.01" iyy="0.01" izz="0.01"/></inertial>
    <visual><geometry><box size="0.2 0.2 0.2"/></geometry><material name="red"><color rgba="0.8 0.1 0.1 1"/></material></visual>
    <collision><geometry><box size="0.2 0.2 0.2"/></geometry></collision>
  </link>
  <joint name="along" type="prismatic"><parent link="rail"/><child link="box"/><axis xyz="1 0 0"/>
    <limit lower="-5" upper="5" effort="10" velocity="5"/></joint>
</robot>"""
FRONT = {"position": [0.0, 0.0, 0.0], "fov": 1.0, "width": 96, "height": 64, "near": 0.05, "far": 8.0, "rate": 25.0}
Sled = Callable[..., RobotSpec]


@pytest.fixture
def sled(tmp_path: Path) -> Sled:
    """A box of 0.2 m that slides along x, and a camera at the origin that looks along x."""

    def build(camera: dict[str, Any] | None = None, **changes: Any) -> RobotSpec:
        (tmp_path / "sled.urdf").write_text(SLED)
        robot = {
            "format": 1,
            "name": "sled",
            "urdf": "sled.urdf",
            "joints": [{"name": "along", "type": "prismatic", "interface": "effort", "effort": 10.0}],
            "control": {"rate": 50, "physics_rate": 500},
            "cameras": {"front": FRONT | (camera or {})},
        }
        (tmp_path / "robot.yaml").write_text(json.dumps(robot | changes))
        return load_robot(tmp_path)

    return build


def at(plant: Plant, place: float, episode: int = 0, parameters: dict[str, float] | None = None) -> Image:
    """The picture with the box at ``place`` [m]."""
    plant.reset(episode, initial=([place], [0.0]), parameters=parameters)
    return plant.camera("front")


def pixels(image: Image) -> tuple[int, int]:
    """Width and height of what is nearer than the background."""
    rows, columns = np.nonzero(image.depth < 7.9)
    return columns.max() - columns.min() + 1, rows.max() - rows.min() + 1


@pytest.mark.parametrize("place", [0.6, 1.0, 2.5])
def test_a_box_has_its_distance_and_its_size_in_pixels(sled: Sled, place: float) -> None:
    image = at(Plant(sled()), place)
    assert image.rgb.shape == (64, 96, 3) and image.rgb.dtype == np.uint8
    assert image.depth.shape == (64, 96) and image.depth.dtype == np.float32
    assert image.depth[32, 48] == pytest.approx(place - 0.1, abs=0.002)
    assert image.depth[0, 0] == pytest.approx(8.0, rel=1e-3)
    expected = 0.2 / (place - 0.1) * 64 / (2 * math.tan(0.5))
    assert np.abs(np.array(pixels(image)) - expected).max() <= 1.5
    red, green, blue = image.rgb[32, 48].astype(int)
    assert red > 2 * green and red > 2 * blue


def test_a_camera_rides_on_its_link(sled: Sled) -> None:
    spec = sled(camera={"link": "box", "position": [-1.1, 0.0, 0.0]})
    plant = Plant(spec)
    for place in (0.0, 2.0):
        assert at(plant, place).depth[32, 48] == pytest.approx(1.0, abs=0.002)


def test_look_at_turns_the_camera_to_a_point_and_z_stays_up(sled: Sled) -> None:
    image = at(Plant(sled(camera={"position": [1.0, -1.0, 1.0], "look_at": [1.0, 0.0, 0.0]})), 1.0)
    rows, columns = np.nonzero(image.depth < 3.0)
    assert 0.5 * (rows.min() + rows.max()) == pytest.approx(31.5, abs=2)
    assert 0.5 * (columns.min() + columns.max()) == pytest.approx(47.5, abs=2)
    above = at(Plant(sled(camera={"position": [0.0, 0.0, 0.3]})), 1.5)
    assert np.nonzero(above.depth < 7.9)[0].mean() > 32  # the box is below the camera's axis


def test_shift_and_turn_move_the_picture(sled: Sled) -> None:
    plant = Plant(sled())
    nearer = at(plant, 1.0, parameters={"camera_shift.front.x": 0.3})
    assert nearer.depth[32, 48] == pytest.approx(0.6, abs=0.002)
    left = at(plant, 1.0, parameters={"camera_turn.front.z": 0.1})  # to the left: what is ahead moves to the right
    assert np.nonzero(left.depth < 7.9)[1].mean() - 47.5 == pytest.approx(32 / math.tan(0.5) * math.tan(0.1), abs=1.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("light_strength", 0.3),
        ("light_colour.r", 0.2),
        ("light_direction.x", -3.0),
        ("texture.box.g", 0.7),
        ("texture.ground.b", -0.5),
        ("pattern.box", 4.0),
        ("pattern.ground", 6.5),
    ],
)
def test_light_and_colours_change_the_colours_and_no_distance(sled: Sled, name: str, value: float) -> None:
    plant = Plant(sled(ground={"height": -0.3}))
    plain, other, again = at(plant, 1.0), at(plant, 1.0, parameters={name: value}), at(plant, 1.0)
    assert np.abs(other.rgb.astype(int) - plain.rgb.astype(int)).max() > 20
    assert np.array_equal(other.depth, plain.depth)
    assert np.array_equal(again.rgb, plain.rgb)


VARIED = {
    "camera_shift": {"uniform": [-0.1, 0.1]},
    "camera_turn": {"front": {"normal": [0.0, 0.05]}},
    "light_direction": {"uniform": [-1.0, 1.0]},
    "light_colour": {"uniform": [0.6, 1.0]},
    "light_strength": {"uniform": [0.5, 1.2]},
    "texture": {"box": {"uniform": [-0.3, 0.3]}},
    "pattern": {"ground": {"uniform": [0.0, 16.0]}},
}


def test_every_pattern_is_another_one() -> None:
    drawn = [pattern(number) for number in range(1, PATTERNS)]
    assert len({picture.tobytes() for picture in drawn}) == PATTERNS - 1
    assert all(picture.std() > 20 and picture.shape == (64, 64, 3) for picture in drawn)


def test_what_varies_changes_the_picture_and_only_the_picture(sled: Sled) -> None:
    plant, still = Plant(sled(randomization=VARIED), seed=4), Plant(sled(), seed=4)
    pictures = []
    for episode in (0, 1):
        for each in (plant, still):
            each.reset(episode, initial=([1.0], [0.0]))
            for _ in range(20):
                each.step([2.0])
        assert np.array_equal(plant.true_state(), still.true_state())
        pictures.append(plant.camera("front").rgb)
        assert not np.array_equal(pictures[-1], still.camera("front").rgb)
    assert not np.array_equal(*pictures)


def test_the_same_seed_and_episode_give_the_same_picture(sled: Sled) -> None:
    one, other = (Plant(sled(randomization=VARIED), seed=4) for _ in range(2))
    at(other, 1.0, episode=7)
    first, second = at(one, 1.0, episode=3), at(other, 1.0, episode=3)
    assert np.array_equal(first.rgb, second.rgb) and np.array_equal(first.depth, second.depth)
    assert one.parameters == other.parameters
    assert {"camera_shift.front.x", "light_strength", "texture.box.r"} <= set(one.parameters)


def test_a_camera_takes_pictures_at_its_own_rate(sled: Sled) -> None:
    plant = Plant(sled())
    plant.reset(0, initial=([1.0], [1.0]))
    times = []
    for _ in range(8):
        times.append(plant.camera("front").time)
        plant.step([0.0])
    assert times == pytest.approx([0.0, 0.0, 0.04, 0.04, 0.08, 0.08, 0.12, 0.12])


def test_objects_are_seen_where_they_are(sled: Sled) -> None:
    crate = {"shape": "box", "size": [0.2, 0.2, 0.2], "mass": 1.0}
    joints = [{"name": "along", "type": "prismatic"}] + [
        {"name": f"crate_{part}", "type": "continuous" if part == "yaw" else "prismatic"} for part in ("x", "y", "yaw")
    ]
    spec = sled(joints=joints, objects={"crate": crate}, ground={"height": -0.1})
    plant = Plant(spec)
    plant.reset(0, initial=([4.0, 1.0, 0.0, 0.0], [0.0] * 4))
    assert plant.camera("front").depth[32, 48] == pytest.approx(0.9, abs=0.003)


@pytest.mark.parametrize(
    ("camera", "expected"),
    [
        ({"near": 9.0}, r"cameras\.front: near 9 m must be below far 8 m"),
        ({"look_at": [0.0, 0.0, 0.0]}, "look_at is where the camera stands"),
        ({"look_at": [1.0, 0.0, 0.0], "rpy": [0.0, 0.1, 0.0]}, "rpy or look_at, not both"),
        ({"width": 0}, r"cameras\.front\.width"),
        ({"link": "arm"}, r"cameras\.front\.link: no link named 'arm'"),
        ({"fow": 1.0}, "unknown key 'cameras.front.fow'.*fov"),
    ],
)
def test_a_camera_that_cannot_be_is_refused(sled: Sled, camera: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        sled(camera=camera)


def test_unknown_cameras_are_refused_with_those_that_there_are(sled: Sled) -> None:
    with pytest.raises(InputError, match=r"no camera 'rear'; it has: front"):
        Plant(sled()).camera("rear")
    with pytest.raises(InputError, match=r"camera_shift: no camera named \['rear'\]; cameras: \['front'\]"):
        sled(randomization={"camera_shift": {"rear": {"uniform": [0, 1]}}})
    with pytest.raises(InputError, match=r"randomization\.texture: no link named 'lid'"):
        sled(randomization={"texture": {"lid": {"uniform": [0, 1]}}})
    with pytest.raises(InputError, match="the axes r, g, b, not"):
        sled(randomization={"light_colour": {"x": {"uniform": [0, 1]}}})
    with pytest.raises(InputError, match=r"has no camera 'front'.*add 'cameras:'"):
        Plant(sled(cameras={})).camera("front")
