"""What to run: scripts a person reads."""
