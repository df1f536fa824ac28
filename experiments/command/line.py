"""The line on standard error that says how it goes."""

from __future__ import annotations

import sys
import time

SELDOM = 10.0
"""Seconds between lines where there is no terminal to rewrite one on."""


class Line:
    """One line on standard error, rewritten on a terminal, repeated now and then elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._last, self._text = 0.0, ""

    def show(self, text: str) -> None:
        """Show a text in place of the last one, unless that is still too new."""
        now = time.monotonic()
        if text == self._text or now - self._last < (0.2 if self._terminal else SELDOM):
            return
        self._last, self._text = now, text
        sys.stderr.write(f"\r\033[K{text[:160]}" if self._terminal else f"{text}\n")
        sys.stderr.flush()

    def clear(self) -> None:
        """Remove the line from a terminal."""
        if self._terminal and self._text:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
        self._text = ""
