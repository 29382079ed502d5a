"""First floor of Forerun: world models, planners, training and bundles. Imports no ROS."""
