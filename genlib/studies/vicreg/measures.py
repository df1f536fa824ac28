"""What is measured of representations: of the classes in them, of their spread, of who is near and far."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from genlib.metrics.clusters import clustering
from genlib.metrics.neighbourhoods import hubness, occurrences
from genlib.metrics.probes import fit_probe, knn_accuracy
from genlib.metrics.spread import effective_rank, mean_std

FAR = 5
"""Number of farthest images that are looked at for hubs."""


class Represented(NamedTuple):
    """Images as the backbone's features, their linear encodings, the projector's embeddings; their classes; and the
    features of their four quarters (of codes: the codes).
    """

    features: Tensor
    encodings: Tensor
    embeddings: Tensor
    y: Tensor
    quarters: Tensor


def full_metrics(train: Represented, seen: Represented, *, seed: int) -> dict[str, float]:
    """Metrics of test images, with probes and neighbours among the training images."""
    probe = fit_probe(train.features, train.y)
    metrics = {
        "probe_accuracy": probe.accuracy(seen.features, seen.y),
        "probe_accuracy/encoding": fit_probe(train.encodings, train.y).accuracy(seen.encodings, seen.y),
        "probe_slope": probe.slope,
    }
    for k, by_features, by_encodings in ((20, "", "/encoding"), (200, "/200", "/encoding_200")):
        votes = knn_accuracy(train.features, train.y, seen.features, seen.y, k=k)
        metrics[f"knn_accuracy{by_features}"] = votes
        votes = knn_accuracy(train.encodings, train.y, seen.encodings, seen.y, k=k)
        metrics[f"knn_accuracy{by_encodings}"] = votes
    groups = clustering(seen.encodings.cpu().numpy(), seen.y.cpu().numpy(), seed=seed)
    return {
        **metrics,
        "rank": effective_rank(seen.embeddings),
        "rank/encoding": effective_rank(seen.encodings),
        "embedding_std": mean_std(seen.embeddings),
        "hubness": hubness(occurrences(seen.encodings, k=FAR)),
        **groups,
    }
