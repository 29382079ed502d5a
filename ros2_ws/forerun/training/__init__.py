"""Learning while the robot runs: trials from the live stream, a store for them, and fine-tuning in a process of its own."""
