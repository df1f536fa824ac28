"""The figures of `VICReg`. Where neighbours were the positives, the model they were found by is shown beside."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from genlib.adam import Adam
from genlib.data.images import Labelled, class_names
from genlib.drawing import Drawing
from genlib.figures import representations
from genlib.figures.representations import Scores
from genlib.history import History
from genlib.metrics.neighbourhoods import auc, occurrences, roc
from genlib.metrics.planes import laplacian_plane, parting, pca_plane, tsne_plane
from genlib.metrics.probes import fit_probe, nearest
from genlib.metrics.spread import effective_rank, spectrum
from genlib.needs import needed
from genlib.nets.embedder import Embedder
from genlib.studies.vicreg.measures import FAR, Represented
from genlib.studies.vicreg.study import VICReg

SHOWN = 2_000
"""Number of test images in a plane."""
EPOCHS, BATCH = 10, 250
"""Epochs of the linear layer whose accuracy is drawn, and rows of its batches."""
HUBS, ODDEST = 8, 7
"""Number of hubs, and of most anomalous images, that are shown."""


@torch.no_grad()
def draw(study: VICReg, model: Embedder, history: History) -> dict[str, Drawing]:
    """Every figure of the study; free codes have no test images, so only those of their spread and probe."""
    train, seen = study.represented_parts(model, "evaluation")
    fresh = study.begun()
    if study.codes:
        _, begun = study.represented_parts(fresh, "evaluation")
    else:
        begun = study.represent(fresh, study.images.evaluation.to(seen.y.device))
    x, y = _numpy(seen.features[:SHOWN]), _numpy(seen.y[:SHOWN])
    by_tsne = tsne_plane(x, seed=study.seed)
    drawings = {
        "terms": _terms(history),
        "planes": _class_planes(study, {"PCA": pca_plane(x), "t-SNE": by_tsne}, y),
        "probe": _probe(train, seen),
        "spectrum": _spectrum(seen, begun),
    }
    if study.codes:
        return drawings
    models = {"neighbours as positives" if study.positives == "neighbours" else "this model": (model, train, seen)}
    if study.positives != "views":
        guide = needed(study, "guide")
        models["views as positives"] = (guide, *study.represented_parts(guide, "evaluation"))
    images = study.images.evaluation
    pixels = laplacian_plane(_numpy(images.x[:SHOWN].flatten(1)) / 255)
    beside = {"pixels, Laplacian eigenmaps": pixels, "features, t-SNE": by_tsne}
    return drawings | {
        "laplacian": _class_planes(study, beside, y),
        "near_and_far": _near_and_far(study, images, models),
        "anomalies": _anomalies(study, images, models),
        "hubs": _hubs(images, models),
    }


Models = dict[str, tuple[Embedder, Represented, Represented]]


def _terms(history: History) -> Drawing:
    names = sorted({name.removeprefix("loss/") for name in history.names() if name.startswith("loss/")})
    parts = {name: [history.series(f"{prefix}/{name}") for prefix in ("loss", "validation")] for name in names}
    arrays = {
        f"{name} {part}": np.column_stack(series)
        for name, both in parts.items()
        for part, series in zip(("training", "validation"), both, strict=True)
    }
    return Drawing(representations.term_panels({name: (a, b) for name, (a, b) in parts.items()}), arrays)


def _class_planes(study: VICReg, planes: dict[str, np.ndarray], y: np.ndarray) -> Drawing:
    named = {}
    for title, plane in planes.items():
        votes, apart = parting(plane, y)
        named[f"{title}\n20 neighbours {100 * votes:.0f} %, silhouette {apart:.2f}"] = plane
    figure = representations.class_planes(named, y, class_names(study.data_set))
    return Drawing(figure, {title: np.column_stack((plane, y)) for title, plane in planes.items()})


def _probe(train: Represented, seen: Represented) -> Drawing:
    """A linear layer trained for ten epochs, and the probe that was fitted to its end."""
    fitted = fit_probe(train.features, train.y)
    scaled = [(part.features - fitted.mean) / fitted.std for part in (train, seen)]
    layer = torch.nn.Linear(train.features.shape[1], fitted.weight.shape[1], device=train.features.device)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    optimizer = Adam(layer.parameters(), lr=3e-3)
    curves = []
    for epoch in range(EPOCHS):
        order = torch.randperm(len(train.y), generator=torch.Generator().manual_seed(epoch), device="cpu")
        for rows in torch.split(order.to(train.y.device), BATCH):
            with torch.enable_grad():
                loss = functional.cross_entropy(layer(scaled[0][rows]), train.y[rows])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
            optimizer.step()
        curves.append([_accuracy(layer(x), part.y) for x, part in zip(scaled, (train, seen), strict=True)])
    train_curve, test_curve = np.array(curves).T
    end = fitted.accuracy(seen.features, seen.y)
    figure = representations.probe_curves(train_curve, test_curve, fitted=end, floor=1 / fitted.weight.shape[1])
    return Drawing(figure, {"train": train_curve, "test": test_curve, "fitted": np.array([end])})


def _spectrum(seen: Represented, begun: Represented) -> Drawing:
    parts = {
        "embedding": seen.embeddings,
        "encoding": seen.encodings,
        "features": seen.features,
        "embedding before training": begun.embeddings,
    }
    values = {name: _numpy(spectrum(part)) for name, part in parts.items()}
    return Drawing(representations.spectra(values, {name: effective_rank(x) for name, x in parts.items()}), values)


def _near_and_far(study: VICReg, images: Labelled, models: Models) -> Drawing:
    """An image of each class, with the five nearest and the five farthest test images."""
    queries = torch.stack([(images.y == label).nonzero()[0, 0] for label in images.y.unique()])
    parts, arrays = {}, {}
    for title, (_, _, seen) in models.items():
        x = seen.encodings
        near = nearest(x, x[queries], FAR + 1)[1][:, 1:].cpu()
        far = nearest(x, x[queries], FAR, farthest=True)[1].cpu()
        groups = [_numpy(images.x[rows]) for rows in (queries[:, None], near, far)]
        parts[title] = list(zip(*groups, strict=True))
        arrays[title] = _numpy(torch.cat((queries[:, None], near, far), 1))
    names = [class_names(study.data_set)[int(images.y[row])] for row in queries]
    blocks = {title: [[row[k] for row in rows] for k in range(3)] for title, rows in parts.items()}
    figure = representations.retrievals(blocks, groups=("image", "nearest", "farthest"), names=names)
    return Drawing(figure, arrays)


def _anomalies(study: VICReg, images: Labelled, models: Models) -> Drawing:
    odd = study.odd_images(images.x)
    shown = torch.cat((_three(images.x), _three(_fitted(odd, images.x.shape[2]))))
    parts, arrays = dict[str, Scores](), dict[str, np.ndarray]()
    for title, (model, train, seen) in models.items():
        usual, strange = study.anomaly_scores(model, train, seen)
        scores = torch.cat((usual, strange)).cpu()
        highest = _numpy(shown[scores.argsort(descending=True)[:ODDEST]])
        parts[title] = Scores(_numpy(usual), _numpy(strange), roc(strange, usual), auc(strange, usual), highest)
        arrays |= {f"{title} usual": parts[title].usual, f"{title} odd": parts[title].odd}
    name = {"mnist": "MNIST digits", "fashion_mnist": "Fashion-MNIST", "digits": "digits"}.get(study.anomalies, "odd")
    label = "mean distance to the two nearest training images"
    return Drawing(representations.anomaly_panels(parts, odd=name, usual="test images", score=label), arrays)


def _hubs(images: Labelled, models: Models) -> Drawing:
    parts, arrays = {}, {}
    for title, (_, _, seen) in models.items():
        counts = occurrences(seen.encodings, k=FAR)
        rows = counts.argsort(descending=True)[:HUBS].cpu()
        parts[title] = (_numpy(images.x[rows]), _numpy(counts[rows.to(counts.device)]))
        arrays[title] = _numpy(counts)
    label = f"number of {len(images.x):,} test images that have it among their {FAR} farthest"
    return Drawing(representations.counted_images(parts, label=label), arrays)


def _numpy(x: Tensor) -> np.ndarray:
    return x.numpy(force=True)


def _accuracy(logits: Tensor, y: Tensor) -> float:
    return (logits.argmax(1) == y).float().mean().item()


def _three(x: Tensor) -> Tensor:
    """Images with three channels."""
    return x.expand(-1, 3, -1, -1).cpu()


def _fitted(x: Tensor, size: int) -> Tensor:
    """Images as bytes at another size."""
    return functional.interpolate(x.float(), (size, size), mode="bilinear", antialias=True).round().to(torch.uint8)
