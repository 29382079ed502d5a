"""Latent world models: the recurrent state-space model (RSSM) of Dreamer, from state vectors and from images."""
