"""Losses, samplers and likelihoods, as functions."""
