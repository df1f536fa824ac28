"""Features in the plane: principal components, t-SNE, Laplacian eigenmaps; and how well classes part there."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from genlib.metrics.clusters import silhouette

Features = Float[np.ndarray, "n d"]
Plane = Float[np.ndarray, "n 2"]


def pca_plane(x: Features) -> Plane:
    """The first two principal components.

    Example:
        >>> pca_plane(np.eye(4, 3)).shape
        (4, 2)
    """
    centred = (x - x.mean(0)).astype(np.float64)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return centred @ vectors[:, :-3:-1]


def tsne_plane(x: Features, *, seed: int = 0, perplexity: float = 30.0) -> Plane:
    """t-SNE, begun from the principal components."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(perplexity, (len(x) - 1) / 3)
    with threadpool_limits(1):
        return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(x.astype(np.float32))


def laplacian_plane(x: Features, *, k: int = 10) -> Plane:
    """Laplacian eigenmaps of the graph of k nearest neighbours (Belkin & Niyogi, 2003), of its largest component.

    Rows outside that component are at the origin.
    """
    from scipy.sparse.csgraph import connected_components, laplacian
    from scipy.sparse.linalg import eigsh
    from sklearn.neighbors import kneighbors_graph
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        graph = kneighbors_graph(x, min(k, len(x) - 1))
    graph = graph.maximum(graph.T)
    parts = connected_components(graph, directed=False)[1]
    inside = parts == np.bincount(parts).argmax()
    found: Any = laplacian(graph[inside][:, inside], normed=True, return_diag=True)
    matrix, scale = found
    # Inverting it, moved off zero, makes its smallest eigenvalues the ones that are found first.
    _, vectors = eigsh(matrix.tocsc(), k=3, sigma=-1e-3, v0=np.ones(inside.sum()))
    plane = np.zeros((len(x), 2))
    plane[inside] = vectors[:, 1:] / scale[:, None]
    return plane / np.abs(plane).max()


def parting(plane: Plane, y: Int[np.ndarray, " n"], *, k: int = 20) -> tuple[float, float]:
    """How well classes part in a plane: accuracy of the vote of each row's k nearest others, and the silhouette.

    Example:
        >>> plane = np.repeat([[0.0, 0.0], [9.0, 0.0]], 5, 0) + np.linspace(0, 0.1, 10)[:, None]
        >>> parting(plane, np.repeat([0, 1], 5), k=3)[0]
        1.0
    """
    from sklearn.neighbors import KNeighborsClassifier
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        votes = KNeighborsClassifier(min(k, len(y) - 1)).fit(plane, y)
        near = votes.kneighbors(return_distance=False)  # of fitted rows: others only
    counted = np.stack([np.bincount(row, minlength=y.max() + 1) for row in y[near]])
    return float((counted.argmax(1) == y).mean()), silhouette(plane, y)
