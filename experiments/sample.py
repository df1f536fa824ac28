"""Draw samples from a trained run.

python experiments/sample.py RUN [--count 10000] [--seed 0] [--out samples.npz] [--EVALUATION-FIELD value …]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from cluster.directory import open_run
from cluster.storage import find_run, storage_from
from experiments.command.exits import exit_with_a_sentence
from genlib import InputError, Study


@dataclass(frozen=True)
class Options:
    """Which run, and how many samples."""

    run: Annotated[str, tyro.conf.Positional]
    """A run directory, or the beginning of a run's key."""
    count: int = 10_000
    """Samples to draw."""
    seed: int = 0
    """Of the draws; the run's own evaluation used others."""
    out: Path = Path("samples.npz")
    """The file: arrays `x` and, if the run has classes, `y`."""
    storage: Path | None = None
    """Where keys are looked up."""


def viewed(study: Study[Any], fields: list[str]) -> Study[Any]:
    """The study with other evaluation fields; training fields cannot be changed any more."""
    asked: Study[Any] = tyro.cli(type(study), args=fields, default=study, prog=study.title())
    if asked.key() != study.key():
        theirs, ours = asked.identity()["fields"], study.identity()["fields"]
        name = next(name for name in ours if ours[name] != theirs[name])
        raise InputError(f"'{name}' made the model, and the run was trained with {ours[name]}: train another run.")
    return asked


def main(arguments: list[str]) -> None:
    """Draw and save."""
    options, fields = tyro.cli(Options, args=arguments, description=__doc__, return_unknown_args=True)
    if options.count < 1:
        raise InputError(f"--count: got {options.count}; allowed is at least 1.")
    trained = open_run(find_run(options.run, storage_from(options.storage)))
    study = viewed(trained.study, fields)
    drawn = study.sample(trained.model, options.count, study.draws(f"samples of {options.seed}"))
    arrays: dict[str, Any] = {name: tensor.cpu().numpy() for name, tensor in drawn.items()}
    try:
        with open(options.out, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
    except OSError as error:
        raise InputError(f"--out: {options.out} cannot be written ({error.strerror}).") from error
    shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    print(f"{options.out}: {shapes} of {study.title()} {study.key()}")


if __name__ == "__main__":
    with exit_with_a_sentence():
        main(sys.argv[1:])
