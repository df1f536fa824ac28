"""What the report found about VICReg, as claims at the size of `small`, with the floors and the ceiling it lacks.

The report's representation is the encoding, so accuracies are those of a linear probe of it, fitted to its end.
Every claim names the model of views first: all that compare with it are measured in one go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TypeVar

import torch

from genlib.claims import Claim
from genlib.metrics.planes import laplacian_plane, parting, pca_plane, tsne_plane
from genlib.metrics.probes import fit_probe, nearest
from genlib.metrics.spread import mean_std
from genlib.studies.vicreg.measures import Represented
from genlib.studies.vicreg.study import VICReg
from genlib.trained import Trained

Compared = Sequence[Trained[VICReg]]
Effect = Callable[[Compared], float]
T = TypeVar("T")

VIEWS = VICReg.preset("small", floors=True)
SHORT = VICReg.preset("small").lasting(5)
NO_VARIANCE = VICReg.preset("small", variance_weight=0)
NO_VARIANCE_SHORT = NO_VARIANCE.lasting(5)
NEIGHBOURS = VICReg.preset("small", positives="neighbours")
ALTERNATING = VICReg.preset("small", positives="alternating")
LABELS = VICReg.preset("small", supervised=True)
CODES = VICReg.preset("small", codes=True)
CODES_OF_VIEWS = VICReg.preset("small", codes=True, code_views=True)
CODES_THAT_DRAW = VICReg.preset("small", codes=True, decoder_weight=25)
SHOWN, RETRIEVED, ODDEST = 2_000, 5, 7
VEHICLES = (0, 1, 8, 9)
"""Numbers of CIFAR-10's classes that are vehicles; the others are animals."""
TWO_GROUPS = 0.9
"""Accuracy from which on two groups of classes count as parted."""


def once(measure: Callable[[Trained[VICReg]], T]) -> Callable[[Trained[VICReg]], T]:
    """A measure that is taken of every run once."""
    taken: dict[VICReg, T] = {}

    @wraps(measure)
    def inside(run: Trained[VICReg]) -> T:
        if run.study not in taken:
            taken[run.study] = measure(run)
        return taken[run.study]

    return inside


@once
def seen(run: Trained[VICReg]) -> list[Represented]:
    """Training and test images as a run represents them."""
    return run.study.represented_parts(run.model, "evaluation")


def metric(run: Trained[VICReg], name: str) -> float:
    """A metric of a run's evaluation."""
    return float(run.evaluation.metrics[name])


def probed(run: Trained[VICReg]) -> float:
    """The accuracy of a linear probe of the encoding."""
    return metric(run, "probe_accuracy/encoding")


def _share_of_the_way(runs: Compared) -> float:
    views, labels = runs
    floor = metric(views, "probe_accuracy/pixels")
    return (metric(views, "probe_accuracy") - floor) / (metric(labels, "probe_accuracy") - floor)


def _gain(first: int, second: int, measured: Callable[[Trained[VICReg]], float] = probed) -> Effect:
    """By how much a measure of one run exceeds that of another; runs are named by their place in the claim."""
    return lambda runs: measured(runs[first]) - measured(runs[second])


def _between(runs: Compared) -> float:
    views, alternating, neighbours = map(probed, runs)
    return min(views - alternating, alternating - neighbours)


def _last_loss(run: Trained[VICReg]) -> float:
    return float(run.history.series("validation/loss")[1][-1])


def _grown(runs: Compared) -> float:
    """ln of how much the embedding's standard deviation has grown since before training."""
    study = runs[1].study
    begun = study.represent(study.begun(), study.images.evaluation)
    return float(torch.tensor(metric(runs[1], "embedding_std") / mean_std(begun.embeddings)).log())


@once
def _planes(run: Trained[VICReg]) -> dict[str, tuple[float, float]]:
    """How well classes part in each plane."""
    _, test = seen(run)
    x, y = test.features[:SHOWN].numpy(), test.y[:SHOWN].numpy()
    pixels = run.study.images.evaluation.x[:SHOWN].flatten(1).numpy() / 255
    planes = {"pca": pca_plane(x), "tsne": tsne_plane(x, seed=run.study.seed), "laplacian": laplacian_plane(pixels)}
    return {name: parting(plane, y) for name, plane in planes.items()}


def _parts_better(first: str, second: str, which: int) -> Effect:
    """By how much classes part better in one plane than in another: 0 by neighbours, 1 by silhouette."""
    return lambda runs: _planes(runs[0])[first][which] - _planes(runs[0])[second][which]


def _two_groups(runs: Compared) -> float:
    train, test = seen(runs[0])
    group = torch.zeros(10, dtype=torch.long)
    group[list(VEHICLES)] = 1
    return fit_probe(train.encodings, group[train.y]).accuracy(test.encodings, group[test.y])


def _retrieval(run: Trained[VICReg]) -> tuple[float, float]:
    """Of a test image's nearest others: the share of its class, and how far their mean colours are from its own."""
    _, test = seen(run)
    near = nearest(test.encodings, test.encodings, RETRIEVED + 1)[1][:, 1:]
    colour = run.study.images.evaluation.x.float().mean((2, 3)) / 255
    apart = (colour[near] - colour.unsqueeze(1)).norm(dim=2).mean().item()
    return (test.y[near] == test.y.unsqueeze(1)).float().mean().item(), apart


def _odd_among_the_oddest(run: Trained[VICReg]) -> float:
    """The share of odd images among the seven most anomalous."""
    train, test = seen(run)
    usual, odd = run.study.anomaly_scores(run.model, train, test)
    first = torch.cat((usual, odd)).argsort(descending=True)[:ODDEST]
    return (first >= len(usual)).float().mean().item()


ACCURACY = "share of test images"
CLAIMS = (
    Claim(
        "At 25 epochs a linear probe is .6 of the way from pixels to labels, as 72 % are on a ResNet-18",
        (VIEWS, LABELS),
        _share_of_the_way,
        "(probe − probe of pixels) / (probe of a net taught with labels − probe of pixels), of the backbone's features",
        margin=0.6,
    ),
    Claim(
        "Training makes the features: they beat random weights",
        (VIEWS,),
        lambda runs: metric(runs[0], "probe_accuracy") - metric(runs[0], "probe_accuracy/random_weights"),
        f"difference of the probe of the backbone's features, {ACCURACY}",
    ),
    Claim("25 epochs beat 5", (VIEWS, SHORT), _gain(0, 1), f"difference of the probe, {ACCURACY}"),
    Claim(
        "Without the variance term the probe is far lower at 5 epochs (27 %)",
        (VIEWS, SHORT, NO_VARIANCE_SHORT),
        _gain(1, 2),
        f"difference of the probe, {ACCURACY}",
        margin=0.1,
    ),
    Claim(
        "Without the variance term the probe is at chance at 25 epochs (11 %)",
        (VIEWS, NO_VARIANCE),
        lambda runs: -probed(runs[1]),
        f"−probe, {ACCURACY}",
        margin=-0.15,
    ),
    Claim(
        "Without the variance term more training makes it worse",
        (VIEWS, NO_VARIANCE, NO_VARIANCE_SHORT),
        _gain(2, 1),
        f"probe at 5 epochs − probe at 25, {ACCURACY}",
    ),
    Claim(
        "... although its loss falls",
        (VIEWS, NO_VARIANCE, NO_VARIANCE_SHORT),
        _gain(2, 1, _last_loss),
        "validation loss at 5 epochs − validation loss at 25",
    ),
    Claim(
        "Without the variance term the variance grows",
        (VIEWS, NO_VARIANCE),
        _grown,
        "ln of the embedding's standard deviation at 25 epochs over that of the model before its first update",
    ),
    Claim(
        "Without the variance term the embedding collapses to fewer directions",
        (VIEWS, NO_VARIANCE),
        lambda runs: metric(runs[0], "rank") / max(metric(runs[1], "rank"), 1e-9),
        "effective rank with the term over that without",
        margin=2,
    ),
    Claim(
        "Neighbours as positives are worse than views",
        (VIEWS, NEIGHBOURS),
        _gain(0, 1),
        f"difference of the probe, {ACCURACY}",
    ),
    Claim(
        "Alternating lies between",
        (VIEWS, ALTERNATING, NEIGHBOURS),
        _between,
        f"smaller of its two distances (views − alternating, alternating − neighbours) of the probe, {ACCURACY}",
    ),
    Claim(
        "Free codes are at chance",
        (VIEWS, CODES),
        lambda runs: -probed(runs[1]),
        f"−probe, {ACCURACY}",
        margin=-0.12,
    ),
    Claim(
        "Codes that agree with views of their images are above it",
        (VIEWS, CODES_OF_VIEWS, CODES),
        _gain(1, 2),
        f"difference of the probe, {ACCURACY}",
        margin=0.05,
    ),
    Claim(
        "Codes that images are drawn from are above it",
        (VIEWS, CODES_THAT_DRAW, CODES),
        _gain(1, 2),
        f"difference of the probe, {ACCURACY}",
        margin=0.05,
    ),
    *(
        Claim(
            f"{text}: {name}",
            (VIEWS,),
            _parts_better(first, second, which),
            f"difference of {measure} in the plane, of {SHOWN:,} test images",
        )
        for text, first, second in (
            ("t-SNE parts the classes better than PCA", "tsne", "pca"),
            ("t-SNE of the features parts them better than Laplacian eigenmaps of the pixels", "tsne", "laplacian"),
        )
        for which, (name, measure) in enumerate(
            (("neighbours", "the accuracy of 20 neighbours"), ("clusters", "the silhouette"))
        )
    ),
    Claim(
        "Vehicles and animals part",
        (VIEWS,),
        _two_groups,
        f"accuracy of a linear probe of the two groups, {ACCURACY} (6 of 10 are animals)",
        margin=TWO_GROUPS,
    ),
    Claim(
        "Images that are far from one another are far from many: hubs",
        (VIEWS,),
        lambda runs: metric(runs[0], "hubness"),
        "skewness of how often a test image is among the 5 farthest of another (at random: .45)",
        margin=1,
    ),
    Claim(
        "The neighbours model has more of them",
        (VIEWS, NEIGHBOURS),
        _gain(1, 0, lambda run: metric(run, "hubness")),
        "difference of that skewness",
    ),
    Claim(
        "The neighbours model retrieves by colour",
        (VIEWS, NEIGHBOURS),
        _gain(0, 1, lambda run: _retrieval(run)[1]),
        "distance of mean colours between an image and its 5 nearest: views − neighbours (colours in [0, 1])",
    ),
    Claim(
        "... and less by class",
        (VIEWS, NEIGHBOURS),
        _gain(0, 1, lambda run: _retrieval(run)[0]),
        "share of the 5 nearest that are of the image's class: views − neighbours",
    ),
    Claim(
        "MNIST among CIFAR-10 is found by the density of neighbours",
        (VIEWS,),
        lambda runs: metric(runs[0], "anomaly_auc"),
        "area under the ROC curve, two nearest training images",
        margin=0.96,
    ),
    Claim(
        "... better by the neighbours model",
        (VIEWS, NEIGHBOURS),
        _gain(1, 0, lambda run: metric(run, "anomaly_auc")),
        "difference of the area under the ROC curve",
    ),
    Claim(
        "The seven most anomalous images are digits",
        (VIEWS,),
        lambda runs: _odd_among_the_oddest(runs[0]),
        "share of digits among them",
        margin=0.9,
    ),
    Claim(
        "Those of the neighbours model are not",
        (VIEWS, NEIGHBOURS),
        lambda runs: 1 - _odd_among_the_oddest(runs[1]),
        "share of CIFAR-10's images among them",
        margin=0.5,
    ),
)
