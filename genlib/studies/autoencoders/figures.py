"""The figures of the three autoencoders."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from genlib.data.images.colours import as_bytes
from genlib.drawing import Drawing
from genlib.figures import images
from genlib.history import History
from genlib.methods.vae import VAE, one_hot
from genlib.studies.autoencoders.measures import chunks, controlled, knowledge
from genlib.studies.autoencoders.study import Autoencoder
from genlib.studies.losses import draw_loss
from genlib.study import Tensors

PLANE = 4_000
"""Number of test images in the plane of codes."""


@torch.no_grad()
def draw(study: Autoencoder, model: VAE, history: History) -> dict[str, Drawing]:
    """Every figure of the study."""
    rows = study.part("evaluation")
    drawings = {
        "loss": draw_loss(history, label="loss (nats per image)"),
        "samples": _samples(study, model),
        "reconstructions": _reconstructions(study, model, rows),
        "controlled": _controlled(study, model),
        "traversals": _traversals(study, model, rows),
    }
    few = {name: tensor[:PLANE] for name, tensor in rows.items()}
    if study.code.continuous:
        drawings["scales"] = _scales(study, model)
        if study.code.continuous > 1:
            drawings["plane"] = _plane(study, model, few)
    if study.code.variables:
        drawings["codes"] = _codes(study, model, rows)
        drawings["temperature"] = _temperature(study)
    return drawings


def picture(x: Tensor) -> np.ndarray:
    """Images in [0, 1], or their bytes, as bytes."""
    return (x if x.dtype == torch.uint8 else as_bytes(x)).numpy(force=True)


def kept(parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The pictures behind a figure, an image per row."""
    return {name: images.reshape(len(images), -1) for name, images in parts.items()}


def _samples(study: Autoencoder, model: VAE) -> Drawing:
    parts = {"samples, codes from the prior": picture(study.sample(model, 100, study.draws("figures/samples"))["x"])}
    return Drawing(images.sheets(parts, columns=10, side=5.2), kept(parts))


def _reconstructions(study: Autoencoder, model: VAE, rows: Tensors) -> Drawing:
    x = study.image({name: tensor[:12] for name, tensor in rows.items()})
    parts = {"test image": picture(x), "reconstruction": picture(model(x))}
    title = "reconstructions from the most probable code"
    return Drawing(images.named_rows(parts, title=title), kept(parts))


def _controlled(study: Autoencoder, model: VAE) -> Drawing:
    """Four digits at a time, from the mean codes of such images; in colour one hue and four digits, or the reverse."""
    generated = controlled(model, study.images.train, coloured=study.pixels == "coloured")
    title = "controlled generation: digits"
    parts = {"0 1 4 7": picture(generated[[0, 1, 4, 7], 0]), "2 3 5 8": picture(generated[[2, 3, 5, 8], 0])}
    if study.pixels == "coloured":
        title += " in hues"
        parts = {
            "0 1 4 7 in 216°": picture(generated[[0, 1, 4, 7], 6]),
            "2 3 5 8 in 36°": picture(generated[[2, 3, 5, 8], 1]),
            "3 in 0° 108° 216° 288°": picture(generated[3, [0, 3, 6, 8]]),
            "8 in 36° 144° 252° 324°": picture(generated[8, [1, 4, 7, 9]]),
        }
    return Drawing(images.named_rows(parts, title=title, side=0.8), kept(parts))


def _traversals(study: Autoencoder, model: VAE, rows: Tensors) -> Drawing:
    """What each part of the code does: the normal one over the prior's quantiles, categories over their values."""
    code, parts = study.code, dict[str, np.ndarray]()
    z, c = model.encode(study.image({name: tensor[:1] for name, tensor in rows.items()})).middle
    steps = 11
    quantiles = torch.special.ndtri(torch.linspace(0.03, 0.97, steps))
    if code.continuous == 2:
        down, right = torch.meshgrid(quantiles.flip(0), quantiles, indexing="ij")
        plane = torch.stack((right, down), -1).reshape(-1, 2)
        title = "the plane of z, quantiles .03 to .97"
        parts[title] = picture(model.decode(plane, c.expand(len(plane), -1, -1)).sigmoid())
    elif code.continuous:
        lines = z.repeat(min(steps, code.continuous) * steps, 1)
        for k in range(min(steps, code.continuous)):
            lines[k * steps : (k + 1) * steps, k] = quantiles
        title = f"z, its first {min(steps, code.continuous)} dimensions, one per row"
        parts[title] = picture(model.decode(lines, c.expand(len(lines), -1, -1)).sigmoid())
    if code.variables:
        shown = min(steps, code.variables)
        values = c.argmax(-1).repeat(shown * code.categories, 1)
        for k in range(shown):
            values[k * code.categories : (k + 1) * code.categories, k] = torch.arange(code.categories)
        title = f"c, {shown} of {code.variables} variables, a value per column"
        varied = model.decode(z.expand(len(values), -1), one_hot(values, code.categories)).sigmoid()
        blank = torch.ones(shown, max(0, steps - code.categories), *study.shape)
        aligned = torch.cat((varied.reshape(shown, -1, *study.shape), blank), 1)[:, :steps].flatten(0, 1)
        parts[title] = picture(aligned)
    return Drawing(images.sheets(parts, columns=steps, side=4.6, across=2), kept(parts))


def _scales(study: Autoencoder, model: VAE) -> Drawing:
    """Samples with z from the prior, and from further out: the report's "N(0, 5)", as variance and as deviation."""
    scales = {"z ~ N(0, 1)": 1.0, "variance 5": 5**0.5, "deviation 5": 5.0}
    parts = {}
    for title, scale in scales.items():
        z, c = study.prior(36, study.draws("figures/scales"), scale=scale)
        parts[title] = picture(model.decode(z, c).sigmoid())
    return Drawing(images.sheets(parts, columns=6, side=2.9), kept(parts))


def _plane(study: Autoencoder, model: VAE, rows: Tensors) -> Drawing:
    z = torch.cat([model.encode(study.image(chunk)).mean for chunk in chunks(rows)])
    axis = "$z_{}$"
    if study.code.continuous > 2:
        z = z - z.mean(0)
        z = z @ torch.linalg.svd(z, full_matrices=False).Vh[:2].T
        axis = "principal component {} of z"
    hues = rows["hue"].numpy(force=True) if study.pixels == "coloured" else None
    figure = images.coloured_planes(z.numpy(force=True), rows["y"].numpy(force=True), hues, axis=axis)
    columns = (z.numpy(force=True), rows["y"].numpy(force=True), *([] if hues is None else [hues]))
    return Drawing(figure, {"codes": np.column_stack(columns)})


def _codes(study: Autoencoder, model: VAE, rows: Tensors) -> Drawing:
    """Values of the variable that says most about the digits: the shares of each in every digit."""
    known = knowledge(model, study.image(rows), rows["y"])
    order = np.argsort(known.shares.argmax(0), kind="stable")  # by the digit that a value stands for most
    tables = {f"variable {known.variable}: NMI {known.nmi:.2f}": known.shares[:, order]}
    figure = images.code_tables(tables, rows="digit", columns="value, sorted", value="share of the digit")
    return Drawing(figure, {"shares": known.shares[:, order], "values": order})


def _temperature(study: Autoencoder) -> Drawing:
    steps = np.unique(np.linspace(0, study.steps, 400).astype(int))
    values = np.array([study.temperature(int(step)) for step in steps])
    figure = images.term_curves({"relaxed draws": (steps, values)}, label="temperature")
    return Drawing(figure, {"temperature": np.column_stack((steps, values))})
