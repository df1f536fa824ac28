"""One run: where it is kept and how it is resumed."""
