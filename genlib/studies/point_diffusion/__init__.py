"""Diffusion on points (reports A1, A2)."""
