"""Claims: what a study should show, as data, and the verdict that several seeds give.

A claim names the studies it compares, a function from their trained runs to one number per seed, and a margin. The
verdict comes from a paired 95 % t-interval over seeds: *supported* when the whole interval lies above the margin,
*refuted* when it lies below, *undecided* otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from genlib.intervals import mean_interval
from genlib.study import Study

Verdict = Literal["supported", "refuted", "undecided"]


@dataclass(frozen=True)
class Claim:
    """One finding, checkable.

    Arguments:
        text: the finding, as the report states it.
        studies: the studies compared; the seed of each is replaced by the seeds of the check.
        effect: runs of the studies (`Trained`, in the order of `studies`, of one seed) → a number that, says the
            finding, exceeds `margin`.
        margin: the smallest effect that counts.
        measure: what `effect` measures, in words, with its unit.
    """

    text: str
    studies: tuple[Study[Any], ...]
    effect: Callable[[Sequence[Any]], float]
    measure: str
    margin: float = 0.0


@dataclass(frozen=True)
class Finding:
    """A claim's verdict, with the numbers behind it."""

    claim: Claim
    effects: tuple[float, ...]
    mean: float
    low: float
    high: float
    verdict: Verdict

    def __str__(self) -> str:
        return (
            f"{self.verdict}: {self.claim.text}. {self.claim.measure}: {self.mean:.4g} "
            f"[{self.low:.4g}, {self.high:.4g}] over {len(self.effects)} seeds, claimed above {self.claim.margin:g}"
        )


def weigh(claim: Claim, effects: Sequence[float]) -> Finding:
    """The verdict on a claim from one effect per seed.

    Example:
        >>> weigh(Claim("more is better", (), lambda runs: 0.0, "gain"), [0.9, 1.0, 1.1]).verdict
        'supported'
    """
    mean, low, high = mean_interval(effects)
    verdict: Verdict = "undecided"
    if low > claim.margin:
        verdict = "supported"
    elif high < claim.margin:
        verdict = "refuted"
    return Finding(claim, tuple(map(float, effects)), mean, low, high, verdict)
