"""Keeps Fast DDS from using shared memory.

With shared memory Fast DDS opens the port of a participant that joins within the next publish to it, and tests for a third of a
second whether somebody listens there. Measured on a busy machine: every third recorder that started stopped the loop for 0.32 to
0.34 s. UDP does not wait, and leaves no files in /dev/shm when a process is killed.

``FASTDDS_BUILTIN_TRANSPORTS=UDPv4`` would do, were it not that ``ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST`` makes ROS add shared
memory by itself. So that range is spelled out in a profile of Fast DDS: UDP over the loopback interface, 127.0.0.1 as peer.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
_TRANSPORTS = "FASTDDS_BUILTIN_TRANSPORTS"
_PROFILES = "FASTRTPS_DEFAULT_PROFILES_FILE"
_OF_THE_USER = (_TRANSPORTS, _PROFILES, "FASTDDS_DEFAULT_PROFILES_FILE")

_LOOPBACK = """<?xml version="1.0" encoding="UTF-8"?>
<dds xmlns="http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"><profiles>
  <transport_descriptors><transport_descriptor>
    <transport_id>loopback</transport_id>
    <type>UDPv4</type>
    <interfaceWhiteList><address>127.0.0.1</address></interfaceWhiteList>
    <maxInitialPeersRange>64</maxInitialPeersRange>
  </transport_descriptor></transport_descriptors>
  <participant profile_name="forerun" is_default_profile="true"><rtps>
    <userTransports><transport_id>loopback</transport_id></userTransports>
    <useBuiltinTransports>false</useBuiltinTransports>
    <builtin><initialPeersList><locator><udpv4><address>127.0.0.1</address></udpv4></locator></initialPeersList></builtin>
  </rtps></participant>
</profiles></dds>
"""


@contextmanager
def without_shared_memory() -> Iterator[None]:
    """What is initialised and the first node that is made within uses no shared memory.

    A user's own choice of transports or profiles stands, and other middlewares are left alone.
    """
    if any(os.environ.get(name) for name in _OF_THE_USER) or "fastrtps" not in os.environ.get("RMW_IMPLEMENTATION", "fastrtps"):
        yield
        return
    before = dict(os.environ)
    os.environ[_TRANSPORTS] = "UDPv4"
    with tempfile.NamedTemporaryFile("w", prefix="forerun-fastdds-", suffix=".xml") as profile:
        if os.environ.get(_RANGE, "").upper() == "LOCALHOST":
            profile.write(_LOOPBACK)
            profile.flush()
            os.environ[_PROFILES] = profile.name
            os.environ[_RANGE] = "SUBNET"
        try:
            yield
        finally:
            for name in (_TRANSPORTS, _PROFILES, _RANGE):
                os.environ.pop(name, None)
                if name in before:
                    os.environ[name] = before[name]
