"""The doctor's two processes really talk over DDS."""

from __future__ import annotations

from forerun.doctor import Level, Machine, dds


def test_two_processes_exchange_messages(domain: int) -> None:
    checks = {check.name: check for check in dds.check(Machine())}
    assert checks["discovery"].level == Level.OK, checks["discovery"]
    assert "0 of 200 lost" in checks["round trip"].found
