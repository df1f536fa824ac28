"""Scripts to run, written to be read."""
