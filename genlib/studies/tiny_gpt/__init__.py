"""A small GPT (report A4)."""
