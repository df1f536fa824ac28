"""The judge of generated digits."""
