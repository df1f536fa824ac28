"""Do features fall into the classes by themselves? k-means, named by none, and silhouettes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def clustering(
    x: Float[np.ndarray, "n d"], y: Int[np.ndarray, " n"], *, seed: int = 0, rows: int = 2_000
) -> dict[str, float]:
    """Normalised mutual information and Hungarian accuracy of k-means with the classes, k their number, and the
    silhouette of the classes themselves (of the first `rows` rows).

    Example:
        >>> x = np.repeat([[0.0], [9.0]], 10, 0) + np.linspace(0, 0.1, 20)[:, None]
        >>> clustering(x, np.repeat([0, 1], 10))["nmi"]
        1.0
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    from genlib.metrics.codes import agreement

    with threadpool_limits(1):
        found = KMeans(len(np.unique(y)), n_init=3, random_state=seed).fit_predict(x)
    nmi, right = agreement(found, y)
    return {"nmi": nmi, "hungarian_accuracy": right, "silhouette": silhouette(x[:rows], y[:rows])}


def silhouette(x: Float[np.ndarray, "n d"], y: Int[np.ndarray, " n"]) -> float:
    """How much closer rows are to their own class than to the next: 1 far apart, 0 mixed, below 0 misplaced."""
    from sklearn.metrics import silhouette_score
    from threadpoolctl import threadpool_limits

    if len(np.unique(y)) < 2:
        return 0.0
    with threadpool_limits(1):
        return float(silhouette_score(x, y))
