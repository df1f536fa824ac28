"""Diffusion of images by text."""
