"""Images of prompts that a person writes: a grid, a film of how they leave the noise, and the arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from genlib import ImageDiffusion, InputError
from genlib.data.images.colours import as_bytes
from genlib.drawing import Film
from genlib.figures.images import sheet
from genlib.figures.prompts import grid
from genlib.methods.diffusion import ImageDenoiser
from genlib.studies.image_diffusion.study import CHUNK


class Asked(Protocol):
    """What is asked for."""

    @property
    def prompt(self) -> Sequence[str]:
        """Prompts."""

    @property
    def prompts(self) -> Path | None:
        """A file of prompts, one per line."""

    @property
    def negative(self) -> str:
        """A prompt to be pushed away from."""

    @property
    def count(self) -> int:
        """Number of images of each prompt."""

    @property
    def seed(self) -> int:
        """Seed of the draws."""

    @property
    def out(self) -> Path:
        """File of arrays; grid and film lie beside it."""


def read_prompts(asked: Asked) -> list[str]:
    """The prompts that are given, and those of the file."""
    prompts = list(asked.prompt)
    if asked.prompts:
        try:
            prompts += asked.prompts.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise InputError(
                f"--prompts: {asked.prompts} cannot be read ({reason}); give a prompt per line."
            ) from error
    return prompts


@torch.no_grad()
def draw_prompts(study: ImageDiffusion, model: ImageDenoiser, asked: Asked) -> str:
    """Draw images of prompts and write them; returns a line that says where."""
    prompts = read_prompts(asked)
    if asked.negative and study.guidance == 1:
        raise InputError("--negative: images are pushed away from it by guidance above 1: give --guidance 2 as well.")
    tokens = study.tokens(prompts).repeat_interleave(asked.count, 0)
    wanted = [study.captions.asked(prompt) for prompt in prompts]
    away = study.tokens([asked.negative]).expand(len(tokens), -1) if asked.negative else None
    draws = study.draws(f"samples of {asked.seed}")
    x = as_bytes(study.generate(model, tokens, draws, away=away))
    stops, _ = study.path(model, tokens[:CHUNK], draws.fork("0"), away=None if away is None else away[:CHUNK])
    paths = {kind: asked.out.with_suffix(f".{kind}") for kind in ("npz", "png", "gif")}
    try:
        with open(paths["npz"], "wb") as file:
            each = np.repeat(np.arange(len(prompts)), asked.count)
            digit, hue = (np.array(column)[each] for column in zip(*wanted, strict=True))
            words = np.array(prompts)[each]
            np.savez_compressed(file, allow_pickle=False, x=x.numpy(force=True), prompt=words, digit=digit, hue=hue)
        rows = [prompt or "(empty)" for prompt in prompts[: -(-len(stops[0]) // asked.count)]]
        shown = as_bytes(study.shown(stops)).numpy(force=True)
        figure = grid(shown[-1], rows, [""] * min(asked.count, len(shown[-1])))
        figure.savefig(paths["png"])
        Film(figure, {}, np.stack([sheet(frame, asked.count) for frame in shown]).repeat(4, 1).repeat(4, 2)).save(
            paths["gif"]
        )
    except OSError as error:
        raise InputError(f"--out: {asked.out} cannot be written ({error.strerror}).") from error
    written = ", ".join(str(path) for path in paths.values())
    return (
        f"{written}: {len(x)} images of {len(prompts)} prompt{'s' * (len(prompts) > 1)}, {study.title()} {study.key()}"
    )
