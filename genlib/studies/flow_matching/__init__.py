"""Flow matching (reports D2, D3)."""
