"""The parts of a pack: rows of weights under one optimiser, random numbers on a tape, what members differ in."""
