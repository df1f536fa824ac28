"""Colour transfer without pairs (report C4)."""
