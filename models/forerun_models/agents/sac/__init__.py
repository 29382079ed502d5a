"""Soft actor-critic, the model-free baseline, and what MBPO learns with."""
