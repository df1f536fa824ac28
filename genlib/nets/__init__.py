"""Plain modules: keyword arguments, no config objects."""
