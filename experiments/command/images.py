"""Image files under a trained run of vicreg: how odd they are, and which training images are nearest."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from genlib import InputError, VICReg
from genlib.data.images import class_names
from genlib.metrics.neighbourhoods import inverse_density
from genlib.metrics.probes import nearest
from genlib.nets.embedder import Embedder

NEIGHBOURS = 5
"""Number of nearest training images that are named."""


class Asked(Protocol):
    """What is asked of images."""

    @property
    def files(self) -> Sequence[Path]:
        """Image files."""

    @property
    def out(self) -> Path | None:
        """Table to write."""

    @property
    def picture(self) -> Path | None:
        """Picture to write."""


def read_images(files: Sequence[Path], channels: int, size: int) -> Tensor:
    """Image files as bytes, at the size and with the channels of a data set."""
    from PIL import Image, UnidentifiedImageError

    images = []
    for path in files:
        try:
            with Image.open(path) as file:
                picture = file.convert("RGB" if channels == 3 else "L").resize((size, size), Image.Resampling.BILINEAR)
        except UnidentifiedImageError as error:
            raise InputError(f"{path} is no image: give PNG, JPEG or another common format.") from error
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{path} cannot be read as an image ({reason}): give a whole PNG or JPEG.") from error
        images.append(torch.from_numpy(np.array(picture)).reshape(size, size, channels).movedim(2, 0))
    return torch.stack(images)


@torch.no_grad()
def score_images(study: VICReg, model: Embedder, asked: Asked) -> None:
    """Print every image's anomaly and its nearest training images; write a table and a picture where asked."""
    if study.codes:
        raise InputError("this run learnt free codes of its training images: other images have none.")
    train = study.images.train
    x = read_images(asked.files, *train.x.shape[1:3])
    known = study.represent(model, train).encodings
    test = model.encoded(study.features(model, study.images.evaluation.x))
    encodings = model.encoded(study.features(model, x))
    scores, usual = inverse_density(known, encodings), inverse_density(known, test)
    odder = (usual < scores.unsqueeze(1)).float().mean(1)
    near = nearest(known, encodings, NEIGHBOURS)[1]
    names = [[class_names(study.data_set)[int(train.y[row])] for row in rows] for rows in near]
    table = Table(
        "image", "anomaly", "odder than", "nearest training images: number, class", title=f"vicreg {study.key()}"
    )
    lines = []
    for path, score, share, rows, classes in zip(asked.files, scores, odder, near, names, strict=True):
        neighbours = ", ".join(f"{row} {name}" for row, name in zip(rows.tolist(), classes, strict=True))
        table.add_row(path.name, f"{score:.3f}", f"{100 * share:.1f} % of test images", neighbours)
        lines.append([path, f"{score:.6g}", f"{share:.6g}", *rows.tolist()])
    Console().print(table)
    if asked.out:
        head = ["image", "anomaly", "share_less_odd", *(f"neighbour_{k + 1}" for k in range(NEIGHBOURS))]
        try:
            with open(asked.out, "w", newline="") as file:
                csv.writer(file).writerows([head, *lines])
        except OSError as error:
            raise InputError(f"--out: {asked.out} cannot be written ({error.strerror}).") from error
    if asked.picture:
        _draw(asked, x, train.x[near])


def _draw(asked: Asked, x: Tensor, near: Tensor) -> None:
    from genlib.figures.representations import retrievals

    assert asked.picture is not None
    blocks = [list(x.unsqueeze(1).numpy()), list(near.numpy())]
    names = [path.name if len(path.name) < 20 else f"{path.name[:18]}…" for path in asked.files]
    figure = retrievals({"": blocks}, groups=("image", "nearest training images"), names=names)
    try:
        figure.savefig(asked.picture)
    except (OSError, ValueError) as error:
        raise InputError(f"--picture: {asked.picture} cannot be written ({error}).") from error
