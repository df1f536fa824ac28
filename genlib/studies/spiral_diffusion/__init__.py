"""Discrete diffusion on the spiral (report A3)."""
