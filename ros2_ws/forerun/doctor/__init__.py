"""What of this machine will hurt a real-time controller. One file per family of checks; none crashes where a file is missing."""

from forerun.doctor.checks import Check, Level, Machine
from forerun.doctor.examine import examine

__all__ = ["Check", "Level", "Machine", "examine"]
