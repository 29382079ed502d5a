"""Dreamer: behaviour learned by imagining in a latent world model."""
