"""Ground floor of Forerun: robots, tasks and simulated plants. Imports neither torch nor ROS."""
