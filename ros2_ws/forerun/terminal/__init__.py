"""The live state in a terminal: what was heard (``heard``), what it says (``view``), how it looks (``screen``). Knows no ROS."""
