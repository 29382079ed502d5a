"""Model-based policy optimisation: soft actor-critic on short rollouts in a learned model."""
