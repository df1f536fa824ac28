"""Generate text from a trained run, printed as it comes.

python experiments/generate.py RUN --prompt "Alice was" [--tokens 200] [--temperature 0.8] [--top-k 40] [--top-p 0.9]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch

from cluster.opening import open_run
from cluster.storage import find_run, storage_from
from experiments.command.arguments import POSITIONAL, read
from experiments.command.exits import exit_with_a_sentence
from genlib import InputError, TinyGPT
from genlib.methods import gpt


@dataclass(frozen=True)
class Options:
    """Which run to generate from, and how to draw."""

    run: Annotated[str, POSITIONAL]
    """A run directory, or the beginning of a run's key."""
    prompt: str
    """Text to go on from."""
    tokens: int = 200
    """Number of tokens to generate."""
    temperature: float = 0.8
    """Temperature of the draws: below 1, probable tokens become more so; 0 always takes the most probable."""
    top_k: int = 0
    """Draw only from this number of most probable tokens; 0 allows all."""
    top_p: float = 1.0
    """Draw only from the most probable tokens that together make up this share of the probability; 1 allows all."""
    seed: int = 0
    """Seed of the draws."""
    storage: Path | None = None
    """Folder where keys are looked up. [GENLIB_STORAGE, else ./runs]"""


def check(options: Options) -> None:
    """Refuse options with which nothing can be drawn."""
    allowed = {
        "tokens": (options.tokens >= 1, "at least 1"),
        "temperature": (options.temperature == 0 or 0.01 <= options.temperature <= 100, "0, or 0.01 to 100"),
        "top-k": (options.top_k >= 0, "at least 0"),
        "top-p": (0 < options.top_p <= 1, "above 0 and at most 1"),
        "prompt": (bool(options.prompt), "a text"),
    }
    for name, (fits, words) in allowed.items():
        if not fits:
            raise InputError(f"--{name}: got {getattr(options, name.replace('-', '_'))!r}; allowed is {words}.")


def main(options: Options) -> None:
    """Print the prompt, then each piece of text as soon as it is drawn."""
    check(options)
    trained = open_run(find_run(options.run, storage_from(options.storage)))
    study = trained.study
    if not isinstance(study, TinyGPT):
        raise InputError(f"{study.title()} is no study of text: give a run of tiny-gpt.")
    prompt = study.reader.encode(options.prompt)
    sys.stdout.write(options.prompt)
    drawn = gpt.generate(
        trained.model,
        prompt.unsqueeze(0),
        options.tokens,
        study.draws(f"text of {options.seed}"),
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
    )
    printed, tokens = "", []
    for token in drawn:
        tokens.append(token)
        text = study.reader.decode(torch.cat(tokens))
        if not text.endswith("\ufffd"):  # bytes of an unfinished character wait for their others
            sys.stdout.write(text[len(printed) :])
            sys.stdout.flush()
            printed = text
    sys.stdout.write(study.reader.decode(torch.cat(tokens))[len(printed) :] + "\n")


if __name__ == "__main__":
    with exit_with_a_sentence():
        main(read(Options, about=__doc__))
