"""Variational autoencoders with continuous, discrete and joint codes (reports C1 to C3)."""
