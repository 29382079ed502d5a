"""The whole loop on one machine, over real ROS 2: simulate, learn, control, log, fine-tune, control better."""
