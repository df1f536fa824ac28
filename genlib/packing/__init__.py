"""The parts of a pack: rows of weights under one optimiser, and random numbers on a tape."""
