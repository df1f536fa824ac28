"""How much discrete codes say about the classes: mutual information, and accuracy under the best naming."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Int


class Agreement(NamedTuple):
    """How well one categorical variable agrees with the classes."""

    variable: int
    nmi: float
    """Normalised mutual information: 0 where the variable says nothing of the class, 1 where each decides the other."""
    hungarian_accuracy: float
    """Share of images whose class is right under the best one-to-one naming of categories."""


def agreement(codes: Int[np.ndarray, " n"], classes: Int[np.ndarray, " n"]) -> tuple[float, float]:
    """Normalised mutual information and Hungarian accuracy of codes and classes.

    Example:
        >>> agreement(np.array([2, 2, 0, 0]), np.array([0, 0, 1, 1]))
        (1.0, 1.0)
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics import normalized_mutual_info_score

    table = np.zeros((int(codes.max()) + 1, int(classes.max()) + 1), int)
    np.add.at(table, (codes, classes), 1)
    rows, columns = linear_sum_assignment(-table)
    return float(normalized_mutual_info_score(classes, codes)), float(table[rows, columns].sum() / len(codes))


def best_variable(codes: Int[np.ndarray, "n v"], classes: Int[np.ndarray, " n"]) -> Agreement:
    """The variable that says most about the classes. It is chosen and measured on the same images: say so with results.

    Example:
        >>> best_variable(np.array([[0, 1], [1, 1], [0, 0], [1, 0]]), np.array([1, 1, 0, 0])).variable
        1
    """
    candidates = [Agreement(k, *agreement(codes[:, k], classes)) for k in range(codes.shape[1])]
    return max(candidates, key=lambda candidate: candidate.nmi)
