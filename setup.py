"""The ament_python package `forerun`: three floors, one folder each, and what they need."""

import os
from pathlib import Path

from setuptools import Extension, find_packages, setup

FLOORS = {"forerun_sim": "sim", "forerun_models": "models", "forerun": "ros2_ws"}
PACKAGES = [name for top, folder in FLOORS.items() for name in find_packages(folder, include=[top, f"{top}.*"])]
SHARE = "share/forerun"
# Inner loops of the simulator, each beside its twin in Python, which is used where no C compiler is (`optional`).
COMPILED = (
    "actuators._drives",
    "engines._bullet_steps",
    "engines._rotor_efforts",
    "engines._tree_inertia",
    "sensors._encoders",
)
EXTENSIONS = [
    Extension(
        f"forerun_sim.{name}",
        [f"sim/forerun_sim/{name.replace('.', '/')}.c"],
        depends=["sim/forerun_sim/compiled.h", "sim/forerun_sim/engines/spatial.h"],
        extra_compile_args=[] if os.name == "nt" else ["-O2", "-ffp-contract=off"],  # the bits that Python gives
        optional=True,
    )
    for name in COMPILED
]

# What the command line and the files need, on every machine but the robot.
COMMON = ["pydantic>=2.5", "PyYAML>=6", "typer>=0.12", "rich>=13", "rosbags>=0.10", "mcap>=1.5"]
RUN = ["onnxruntime>=1.17"]
SIM = [*COMMON, "pybullet>=3.2.5", "gymnasium>=1.0"]
TRAIN = [
    *COMMON,
    *RUN,
    "torch>=2.11",
    "gymnasium>=1.0",
    "onnx>=1.16",
    "safetensors>=0.4",
    "tensorboard>=2.15",
    "matplotlib>=3.8",
    "jinja2>=3.1",
    "cma>=3.3",
]
MUJOCO = ["mujoco>=3.1,<4"]
# ROS 2 Jazzy for a machine that has none. The wheels exist for x86-64 Linux only; unpinned, pip takes a newer ROS.
WHEELS = {
    "rclpy[fastrtps]": "7.1.6",
    "builtin-interfaces": "2.0.3",
    "diagnostic-msgs": "5.3.6",
    "geometry-msgs": "5.3.6",
    "lifecycle-msgs": "2.0.3",
    "nav-msgs": "5.3.6",
    "rosgraph-msgs": "2.0.3",
    "sensor-msgs": "5.3.6",
    "std-msgs": "5.3.6",
    "std-srvs": "5.3.6",
    "trajectory-msgs": "5.3.6",
    "visualization-msgs": "5.3.6",
}
ROS = [f"ros-{name}=={version}; sys_platform == 'linux' and platform_machine == 'x86_64'" for name, version in WHEELS.items()]
TOOLS = ["pytest>=8", "pytest-xdist>=3.5", "hypothesis>=6.100", "ruff>=0.6", "mypy>=1.10", "types-PyYAML", "scipy>=1.11"]


def tree(source, target):
    """``data_files`` rows that install everything below ``source`` below ``target``, folder by folder."""
    rows = {}
    for path in sorted(Path(source).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            rows.setdefault(f"{target}/{path.parent.relative_to(source)}".removesuffix("/."), []).append(str(path))
    return list(rows.items())


setup(
    name="forerun",
    version="0.1.0",
    description="Lets a robot run ahead of itself: learns a world model, plans in it, keeps learning from every bag.",
    license="Apache-2.0",
    packages=PACKAGES,
    package_dir={top: f"{folder}/{top}" for top, folder in FLOORS.items()},
    ext_modules=EXTENSIONS,
    package_data={"forerun": ["report/*.j2"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/forerun"]),
        (SHARE, ["package.xml"]),
        *tree("launch", f"{SHARE}/launch"),
        *tree("ros2_ws/config", f"{SHARE}/config"),
        *tree("ros2_ws/rviz", f"{SHARE}/rviz"),
        *tree("ros2_ws/foxglove", f"{SHARE}/foxglove"),
        *tree("sim/robots", f"{SHARE}/robots"),
        *tree("models/recipes", f"{SHARE}/recipes"),
        *tree("models/agents", f"{SHARE}/agents"),
        *tree("models/zoo", f"{SHARE}/zoo"),
    ],
    python_requires=">=3.10",
    install_requires=["numpy>=1.24"],
    extras_require={
        "robot": RUN,
        "sim": SIM,
        "train": TRAIN,
        "mujoco": MUJOCO,
        "ros": ROS,
        "scale": ["ray>=2.30"],
        # A ROS 2 that is sourced here is the one to use: its wheels stay out.
        "dev": [*SIM, *TRAIN, *MUJOCO, *TOOLS, *([] if "ROS_DISTRO" in os.environ else ROS)],
    },
    entry_points={
        "console_scripts": [
            "forerun = forerun.cli.main:main",
            "simulator = forerun.nodes.simulator:main",
            "controller = forerun.nodes.controller:main",
            "recorder = forerun.nodes.recorder:main",
            "guard = forerun.nodes.guard:main",
            "player = forerun.nodes.player:main",
            "trainer = forerun.nodes.trainer:main",
        ]
    },
)
