"""Which ROS 2 this is, and what its environment variables ask for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from forerun.doctor.checks import Check, Family

FAMILY = Family("ROS")
_RANGES = ("SUBNET", "LOCALHOST", "OFF", "SYSTEM_DEFAULT")


def check(environment: Mapping[str, str] = os.environ) -> list[Check]:
    """Distribution, middleware, domain, discovery."""
    return [_ros(environment), _middleware(environment), _domain(environment), _range(environment), *_legacy(environment)]


def _ros(environment: Mapping[str, str]) -> Check:
    spec = find_spec("rclpy")
    if spec is None or spec.origin is None:
        return FAMILY.fail(
            "ROS 2", "no rclpy", "no node runs", "source /opt/ros/jazzy/setup.bash, or: pip install 'forerun[ros]' (x86-64 Linux)"
        )
    distro = environment.get("ROS_DISTRO", "")
    try:
        wheels = version("ros-rclpy")
    except PackageNotFoundError:
        wheels = ""
    if distro and wheels:
        return FAMILY.warn(
            "ROS 2",
            f"'{distro}' is sourced, and rclpy {wheels} is installed as a wheel ({spec.origin})",
            "two builds of the same libraries are mixed: crashes, or messages that nobody understands",
            "use an environment without the ros-* wheels where a ROS 2 is sourced",
        )
    if distro and distro != "jazzy":
        return FAMILY.warn(
            "ROS 2", f"'{distro}' is sourced", "Forerun is made and tested with Jazzy", "source /opt/ros/jazzy/setup.bash"
        )
    return FAMILY.ok("ROS 2", f"{distro} is sourced" if distro else f"wheels, rclpy {wheels or 'unknown'} (7.1 is Jazzy)")


def _middleware(environment: Mapping[str, str]) -> Check:
    chosen = environment.get("RMW_IMPLEMENTATION", "")
    if not chosen or "fastrtps" in chosen:
        return FAMILY.ok("middleware", chosen or "the default (Fast DDS)")
    return FAMILY.warn(
        "middleware",
        chosen,
        "delays are measured with Fast DDS only; transports are left as they are",
        "unset RMW_IMPLEMENTATION, or measure with: forerun bench loop",
    )


def _domain(environment: Mapping[str, str]) -> Check:
    text = environment.get("ROS_DOMAIN_ID", "")
    alone = environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "").upper() in ("LOCALHOST", "OFF")
    name = "ROS_DOMAIN_ID"
    if text and not (text.isdecimal() and int(text) <= 232):
        return FAMILY.fail(name, f"'{text}'", "no node starts", "export ROS_DOMAIN_ID=42 (0 to 101 are free of conflicts)")
    number = int(text or 0)
    if number > 101:
        return FAMILY.warn(
            name,
            text,
            "Linux takes the ports of outgoing connections from this domain's ports: now and then a node does not start",
            "export ROS_DOMAIN_ID=42 (0 to 101)",
        )
    if number == 0 and not alone:
        return FAMILY.warn(
            name,
            f"{number} ({'set' if text else 'the default'}), and discovery covers the network",
            "whoever is in this network with the default domain can command your robot, and your robot theirs",
            "export ROS_DOMAIN_ID=42, or ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST where all runs on this machine",
        )
    return FAMILY.ok(name, f"{number}")


def _range(environment: Mapping[str, str]) -> Check:
    name = "ROS_AUTOMATIC_DISCOVERY_RANGE"
    text = environment.get(name, "")
    if text and text.upper() not in _RANGES:
        return FAMILY.warn(
            name, f"'{text}'", "ROS ignores it and takes SUBNET", f"export {name}=LOCALHOST ({', '.join(_RANGES)})"
        )
    if text.upper() == "OFF" and not environment.get("ROS_STATIC_PEERS"):
        return FAMILY.fail(name, "OFF, and no ROS_STATIC_PEERS", "no node finds another one", f"export {name}=LOCALHOST")
    return FAMILY.ok(name, text or "SUBNET (the default)")


def _legacy(environment: Mapping[str, str]) -> list[Check]:
    name = "ROS_LOCALHOST_ONLY"
    if name not in environment:
        return []
    return [
        FAMILY.warn(
            name,
            f"'{environment[name]}'",
            "it is of older releases, and where it is 1 it overrules the discovery range and ROS_STATIC_PEERS",
            f"unset {name}; export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST",
        )
    ]
