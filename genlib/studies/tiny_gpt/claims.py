"""What the report found about the small GPT, as claims."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from genlib.claims import Claim
from genlib.studies.tiny_gpt.study import TinyGPT
from genlib.trained import Trained

One = Trained[TinyGPT]
Compared = Sequence[One]
REPORT = TinyGPT.preset("report")
MINGPT = TinyGPT.preset("mingpt")


def _inverted_by(runs: Compared) -> float:
    """Updates left of 500 when the sentence is exact; where it never is, as if it took all updates and one more."""
    study = runs[0].study
    exact = study.inverted(runs[0].model, study.sentence).exact
    return float(500 - (study.inversion_updates + 1 if exact is None else exact))


def _held_out_inverted(runs: Compared) -> float:
    """The share of ten held-out passages, as long as the report's sentence, that are exact by update 500."""
    study, model = runs[0].study, runs[0].model
    length, tokens = len(study.reader.encode(study.sentence)), study.reader.encode(study.source.held_out)
    firsts = study.draws("claims/sentences").integers(len(tokens) - length, 10).tolist()
    updates = [study.inverted(model, tokens[first : first + length]).exact for first in firsts]
    return sum(exact is not None and exact <= 500 for exact in updates) / 10


@torch.no_grad()
def _maps(run: One) -> Tensor:
    """Attention over blocks of held-out text, (layers, blocks, heads, to, from)."""
    tokens = run.study.reader.encode(run.study.source.held_out)
    count = min(16, len(tokens) // run.study.block)
    x = tokens[: count * run.study.block].reshape(count, run.study.block)
    maps = run.model.see(x, attention=True).maps
    assert maps is not None
    return maps


def entropy(maps: Tensor) -> Tensor:
    """Entropy of the attention of each position over those before it, as a share of the most there can be; mean by
    block and head.
    """
    later = maps[..., 1:, :]  # the first position can only look at itself
    most = torch.arange(2, maps.shape[-1] + 1).log()
    return (-torch.special.xlogy(later, later).sum(-1) / most).mean((1, 3))


def distance(maps: Tensor) -> Tensor:
    """How many tokens back attention looks on average, by block and head."""
    places = torch.arange(maps.shape[-1], dtype=maps.dtype)
    back = (places.unsqueeze(1) - places).clamp_min(0)
    return (maps * back).sum(-1).mean((1, 3))


def _apart(measure: Callable[[Tensor], Tensor]) -> Callable[[Compared], float]:
    """How far the heads of the last block are from those of the first, in their order by the measure."""

    def effect(runs: Compared) -> float:
        heads = measure(_maps(runs[0])).sort(1).values
        return (heads[-1] - heads[0]).abs().mean().item()

    return effect


CLAIMS = (
    Claim(
        "Inversion says the report's sentence exactly by update 500",
        (REPORT,),
        _inverted_by,
        "updates left of 500",
    ),
    Claim(
        "Inversion says held-out passages exactly by update 500",
        (REPORT,),
        _held_out_inverted,
        "share of ten passages as long as the report's sentence",
        margin=0.85,
    ),
    Claim(
        "First and last block attend differently: how evenly",
        (REPORT,),
        _apart(entropy),
        "mean difference of the heads, in order: entropy as a share of the most there can be",
        margin=0.05,
    ),
    Claim(
        "First and last block attend differently: how far back",
        (REPORT,),
        _apart(distance),
        "mean difference of the heads, in order: distance looked back, in tokens",
        margin=1.0,
    ),
    Claim(
        "At minGPT's settings the text is as predictable as to minGPT",
        (MINGPT,),
        lambda runs: -float(runs[0].evaluation.metrics["nats_per_char"]),
        "−nats per character of held-out text (minGPT: −2.024)",
        margin=-2.02,
    ),
)
