"""What a trained run thinks of your own points, text or images.

python experiments/score.py RUN points.csv [--out scored.csv]
python experiments/score.py RUN --text "Beginning of a journey is long."
python experiments/score.py RUN photo.png another.jpg [--picture neighbours.png]

Points and tokens get their log-density, in nats. A file of points has a point per line, coordinates separated by
commas, and for a run with classes the class as last column; a first line of names is passed over. Images get their
anomaly, which is the mean distance to the two nearest training images, and their nearest training images.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from cluster.opening import open_run
from cluster.storage import find_run, storage_from
from experiments.command.arguments import POSITIONAL, read
from experiments.command.exits import exit_with_a_sentence
from experiments.command.images import score_images
from genlib import InputError, Study, TinyGPT, VICReg, find_study
from genlib.methods import gpt

LARGEST = 1e18
"""Largest coordinate of a point: the square of a larger one is beyond single precision."""


@dataclass(frozen=True)
class Options:
    """Which run scores which points, which text, or which images."""

    run: Annotated[str, POSITIONAL]
    """A run directory, or the beginning of a run's key."""
    files: Annotated[tuple[Path, ...], POSITIONAL] = ()
    """CSV file of points, for a run of a study of points; images, for a run of vicreg."""
    text: str = ""
    """Text to score, for a run of tiny-gpt."""
    out: Path | None = None
    """File to write: every point, token or image with its score; points go to NAME.scored.csv by default."""
    picture: Path | None = None
    """Picture to write of images beside their nearest training images."""
    own: str = ""
    """Place of your own study, path/to/mine.py:Mine, where the run is one of it."""
    storage: Path | None = None
    """Folder where keys are looked up. [GENLIB_STORAGE, else ./runs]"""


def read_points(path: Path) -> np.ndarray:
    """The numbers of a CSV file, one row per line; a line that is not numbers is named."""
    try:
        reader = csv.reader(path.read_text(encoding="utf-8-sig").splitlines())
        lines = [(reader.line_num, line) for line in reader if line]
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): give a CSV file with a point per line.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV file: give one with a point per line.") from error
    rows = []
    for number, line in lines:
        try:
            rows.append([float(cell) for cell in line])
        except ValueError:
            if number > lines[0][0] or any(map(_is_number, line)):
                raise InputError(f"{path}, line {number}: {','.join(line)!r} is not numbers.") from None
        if rows and len(rows[-1]) != len(rows[0]):
            raise InputError(f"{path}, line {number}: {len(rows[-1])} columns, the lines before have {len(rows[0])}.")
    if not rows:
        raise InputError(f"{path} holds no points: give one per line.")
    points = np.array(rows)
    bad = ~np.isfinite(points) | (np.abs(points) > LARGEST)
    if bad.any():
        point, axis = np.argwhere(bad)[0]
        raise InputError(
            f"{path}: point {point + 1} has {points[point, axis]:g}; allowed is a number between ±{LARGEST:g}."
        )
    return points


def _is_number(cell: str) -> bool:
    try:
        return float(cell) is not None
    except ValueError:
        return False


def score_text(study: TinyGPT, model: Any, options: Options) -> None:
    """Print ln p of every token but the first, given those before it; and save it where asked."""
    tokens = study.reader.encode(options.text)
    if len(tokens) < 2:
        raise InputError(f"--text: got {options.text!r}; give at least two tokens: the first has nothing before it.")
    log_p, pieces = gpt.scores(model, tokens).tolist(), study.reader.pieces(tokens)
    table = Table("token", "ln p, nats", title=f"{study.title()} {study.key()}")
    table.add_row(repr(pieces[0]), "given")
    for piece, value in zip(pieces[1:], log_p, strict=True):
        table.add_row(repr(piece), f"{value:.4f}")
    Console().print(table)
    print(f"total {sum(log_p):.4f} nats, mean {sum(log_p) / len(log_p):.4f} over {len(log_p)} tokens")
    if options.out:
        try:
            with open(options.out, "w", newline="") as file:
                csv.writer(file).writerows([("token", "log_prob"), *zip(pieces[1:], log_p, strict=True)])
        except OSError as error:
            raise InputError(f"--out: {options.out} cannot be written ({error.strerror}).") from error


def main(options: Options) -> None:
    """Score the points, the text or the images, and save the scores."""
    if options.own:
        find_study(options.own)
    trained = open_run(find_run(options.run, storage_from(options.storage)))
    study = trained.study
    if bool(options.files) == bool(options.text):
        raise InputError("give a CSV file for a run of points, images for one of vicreg, or --text for one of text.")
    if isinstance(study, TinyGPT) != bool(options.text):
        raise InputError(f"{study.title()} scores {'texts: give --text' if not options.text else 'no texts'}.")
    if isinstance(study, TinyGPT):
        score_text(study, trained.model, options)
    elif isinstance(study, VICReg):
        score_images(study, trained.model, options)
    else:
        score_points(study, trained.model, options)


def score_points(study: Study[Any], model: Any, options: Options) -> None:
    """Write the log-density of every point of a file."""
    if len(options.files) > 1:
        raise InputError(f"{study.title()} scores one file of points at a time: got {len(options.files)}.")
    file = options.files[0]
    points = read_points(file)
    if study.example()[0].ndim != 2:
        raise InputError(f"{study.title()} is a study of images: give a run of a study of points, or of vicreg.")
    width, classes = study.example()[0].shape[1], int(getattr(study, "classes", 0))
    if points.shape[1] != width + (classes > 0):
        also = f" and the class, 0 to {classes - 1}," if classes else ""
        raise InputError(f"{file} has {points.shape[1]} columns: this run needs {width}{also} per line.")
    labels = points[:, -1] if classes else None
    if labels is not None and not (np.isin(labels, np.arange(classes))).all():
        raise InputError(f"{file}: a class is not one of 0 to {classes - 1}.")
    x = torch.tensor(points[:, :width], dtype=torch.float32)
    y = None if labels is None else torch.tensor(labels, dtype=torch.long)
    scores = torch.cat(
        [study.score(model, x[k : k + 5_000], None if y is None else y[k : k + 5_000]) for k in range(0, len(x), 5_000)]
    )
    out = options.out or file.with_suffix(".scored.csv")
    names = [*(f"x{k}" for k in range(width)), *(["y"] if classes else []), "log_prob"]
    table = np.column_stack((points, scores.double().numpy()))
    try:
        np.savetxt(out, table, delimiter=",", header=",".join(names), comments="", fmt="%.9g")
    except OSError as error:
        raise InputError(f"--out: {out} cannot be written ({error.strerror}).") from error
    finite = scores[torch.isfinite(scores)].double()
    if len(finite) < len(scores):
        lost = len(scores) - len(finite)
        sys.stderr.write(f"{lost} of {len(scores)} points are so far off that their log-density has no finite value.\n")
    mean = f"mean log-density {finite.mean():.4f} nats, " if len(finite) else ""
    print(f"{out}: {len(x)} points, {mean}{study.title()} {study.key()}")


if __name__ == "__main__":
    with exit_with_a_sentence():
        main(read(Options, about=__doc__))
