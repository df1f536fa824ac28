"""Amounts in words."""

from __future__ import annotations


def bytes_in_words(amount: float) -> str:
    """An amount of memory: `3.2 GiB`, `12 MiB`."""
    return f"{amount / 2**30:,.1f} GiB" if amount >= 2**30 else f"{amount / 2**20:,.0f} MiB"


def words(seconds: float) -> str:
    """A time span: `40 s`, `3 min`, `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3600:.1f} h"
