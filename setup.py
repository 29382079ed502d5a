from setuptools import find_packages, setup

FLOORS = {"forerun_sim": "sim", "forerun_models": "models", "forerun": "ros2_ws"}
PACKAGES = [name for top, folder in FLOORS.items() for name in find_packages(folder, include=[top, f"{top}.*"])]

setup(
    name="forerun",
    version="0.1.0",
    packages=PACKAGES,
    package_dir={top: f"{folder}/{top}" for top, folder in FLOORS.items()},
    python_requires=">=3.10",
    entry_points={"console_scripts": ["forerun = forerun.cli.main:main"]},
)
