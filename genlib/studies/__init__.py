"""A folder per study: `study.py` is the science, `figures.py` and `claims.py` look at it from above."""
