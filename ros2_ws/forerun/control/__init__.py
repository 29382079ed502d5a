"""The control core: limits, safe stop, planning and pacing. Knows no ROS; imports numpy and bundles, nothing heavier."""
