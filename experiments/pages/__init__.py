"""Results, verdicts, speed, studies: prose written by hand, tables made of what was recorded and of the code."""
