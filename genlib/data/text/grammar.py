"""English of a small grammar, for where there is no file: it has agreement and nesting to learn, and no end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from genlib.draws import Draws

SINGULAR = ("the rabbit", "a gardener", "the queen", "one little mouse", "the cook", "a caterpillar")
PLURAL = ("the rabbits", "two gardeners", "all queens", "some little mice", "the cooks", "many caterpillars")
VERBS = {"sees": "see", "follows": "follow", "greets": "greet", "forgets": "forget", "admires": "admire"}
PLACES = ("in the garden", "under the table", "behind the door", "by the pool", "on the stairs")


def sentences(count: int, seed: int = 0) -> str:
    """A text of `count` sentences: who (who does what) does what to whom, and perhaps where.

    Example:
        >>> print(sentences(2), end="")
        The rabbit who admires one little mouse follows two gardeners.
        Some little mice greet the rabbit under the table.
    """
    choices = Draws(seed, "grammar").uniform(count, 12).tolist()
    return "\n".join(_sentence(iter(row)) for row in choices) + "\n"


def _sentence(chance: Iterator[float]) -> str:
    who, plural = _someone(chance)
    relative = ""
    if next(chance) < 0.3:
        other, _ = _someone(chance)
        relative = f" who {_verb(chance, plural)} {other}"
    whom, _ = _someone(chance)
    place = f" {_one(PLACES, chance)}" if next(chance) < 0.4 else ""
    return f"{who}{relative} {_verb(chance, plural)} {whom}{place}.".capitalize()


def _someone(chance: Iterator[float]) -> tuple[str, bool]:
    plural = next(chance) < 0.5
    return _one(PLURAL if plural else SINGULAR, chance), plural


def _verb(chance: Iterator[float], plural: bool) -> str:
    singular = _one(tuple(VERBS), chance)
    return VERBS[singular] if plural else singular


def _one(words: Sequence[str], chance: Iterator[float]) -> str:
    return words[int(next(chance) * len(words))]
