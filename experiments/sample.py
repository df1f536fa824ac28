"""Draw samples from a trained run.

python experiments/sample.py RUN [--count 10000] [--seed 0] [--out samples.npz] [--EVALUATION-FIELD value …]
python experiments/sample.py RUN --prompt "a red seven" --count 16 [--prompts FILE] [--guidance 2] [--negative "a one"]

Images of prompts are written as arrays, as a grid (samples.png) and as a film of how they leave the noise
(samples.gif, the first of them); `--count` is then the number of images of each prompt.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from cluster.opening import open_run
from cluster.plan import memory_left
from cluster.storage import find_run, storage_from
from cluster.words import bytes_in_words
from experiments.command.arguments import HELP, POSITIONAL, given_fields, options_of, read_some, show_help
from experiments.command.exits import exit_with_a_sentence
from genlib import ImageDiffusion, InputError, Study, find_study


@dataclass(frozen=True)
class Options:
    """Which run to sample from, and how many samples to draw."""

    run: Annotated[str, POSITIONAL]
    """A run directory, or the beginning of a run's key."""
    count: int | None = None
    """Number of samples to draw, or of images of each prompt. [10000, and 16 of each prompt]"""
    seed: int = 0
    """Seed of the draws; the run's own evaluation drew others."""
    prompt: tuple[str, ...] = ()
    """Prompts, for a run of image-diffusion; an empty one asks for any image."""
    prompts: Path | None = None
    """File of prompts, one per line."""
    negative: str = ""
    """Prompt that images are pushed away from, by guidance above 1, in place of the empty one."""
    out: Path = Path("samples.npz")
    """File to write: arrays `x` and, if the run has classes, `y`."""
    own: str = ""
    """Place of your own study, path/to/mine.py:Mine, where the run is one of it."""
    storage: Path | None = None
    """Folder where keys are looked up. [GENLIB_STORAGE, else ./runs]"""


def viewed(study: Study[Any], fields: Mapping[str, Any]) -> Study[Any]:
    """The study with other evaluation fields; training fields cannot be changed any more."""
    changed = study.with_fields(fields)
    if changed.key() != study.key():
        given, ours = changed.identity()["fields"], study.identity()["fields"]
        name = next(name for name in ours if ours[name] != given[name])
        raise InputError(f"'{name}' made the model, and the run was trained with {ours[name]}: train another run.")
    return changed


def refuse_too_many(study: Study[Any], count: int) -> None:
    """Refuse more samples than memory holds."""
    row = sum(tensor[:1].numel() * tensor.element_size() for tensor in study.example())
    need, have = 2.0 * row * count, memory_left()
    if need > have:
        least, left = bytes_in_words(need), bytes_in_words(have)
        raise InputError(f"--count: {count} samples need {least} at least, and {left} are left.")


def main(arguments: list[str]) -> None:
    """Draw the samples and save them."""
    if any(word in HELP for word in arguments):
        show_help([("options", options_of(Options))], __doc__)
    options, rest = read_some(Options, arguments)
    if options.count is not None and options.count < 1:
        raise InputError(f"--count: got {options.count}; allowed is at least 1.")
    if options.own:
        find_study(options.own)
    trained = open_run(find_run(options.run, storage_from(options.storage)))
    study = viewed(trained.study, given_fields(trained.study, rest))
    if options.prompt or options.prompts or options.negative:
        if not isinstance(study, ImageDiffusion):
            raise InputError(f"{study.title()} reads no prompts: give a run of image-diffusion.")
        from experiments.command.prompted import draw_prompts, requested  # and with it matplotlib

        request = requested(study, options)
        refuse_too_many(study, len(request.tokens))
        print(draw_prompts(study, trained.model, request, options.out))
        return
    count = options.count or 10_000
    refuse_too_many(study, count)
    drawn = study.sample(trained.model, count, study.draws(f"samples of {options.seed}"))
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
