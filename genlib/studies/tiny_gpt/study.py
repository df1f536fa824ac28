"""A small GPT on *Alice's Adventures in Wonderland* (report A4).

`report` reads byte pairs trained on the text itself; `mingpt` has minGPT's settings, characters, batches of 12, and no
dropout. Models of either kind are compared per character.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from genlib.adam import AdamW
from genlib.data import text as texts
from genlib.data.text import Text
from genlib.data.text.tokens import Tokeniser, TokeniserName, tokeniser
from genlib.draws import Draws
from genlib.errors import InputError
from genlib.methods import gpt
from genlib.nets.transformer import Decoder
from genlib.study import Data, Evaluation, Loss, Study, Tensors, setting

CHUNK = 64
"""Number of blocks of held-out text that are read together."""


@dataclass(frozen=True, kw_only=True)
class TinyGPT(Study[Decoder]):
    """A decoder of text, by next-token prediction."""

    steady: ClassVar[bool] = True
    packs: ClassVar[bool] = True
    objective: ClassVar[tuple[str, Literal["min", "max"]]] = ("validation/nats_per_char", "min")

    steps: int = setting(1_000, low=1)
    """Number of updates of the weights."""
    batch_size: int = setting(12, low=1)
    """Number of blocks of text in the global batch, over all workers."""
    learning_rate: float = setting(5e-4, above=0)
    """Adam's learning rate at its highest."""
    clip_norm: float = setting(1.0, low=0)
    """Longest gradient allowed (norm over all parameters); longer ones are shortened to it, and 0 allows any."""
    weight_decay: float = setting(0.1, low=0)
    """Share of itself that a matrix loses in an update, in units of the learning rate; norms and biases lose none."""
    validate_every: int = setting(100, low=1)
    """Number of updates between validations; the last update is always validated."""
    text: str = setting("alice")
    """Text to learn: `alice`, `shakespeare`, `grammar` (which needs no file), or the path of a UTF-8 text."""
    held_out: float = setting(0.1, above=0, below=1)
    """Share of the text, at its end, that is held out to validate on."""
    tokeniser: TokeniserName = setting("byte_pairs")
    """Tokeniser: byte pairs trained on the training text, or its characters."""
    vocabulary: int = setting(512, low=256)
    """Number of tokens that byte pairs are merged to."""
    block: int = setting(64, low=2)
    """Number of tokens of context."""
    layers: int = setting(4, low=1)
    """Number of layers, each of attention and a perceptron."""
    heads: int = setting(4, low=1)
    """Number of heads of attention in each layer."""
    width: int = setting(128, low=1)
    """Number of features of a position."""
    dropout: float = setting(0.0, low=0, below=1)
    """Share of features that are left out of every sum while training."""
    tied: bool = setting(False)
    """Whether one table of tokens serves both to read and to write."""

    samples: int = setting(8, low=1, evaluation=True)
    """Number of sampled texts, each of which continues a place of the held-out text."""
    sample_tokens: int = setting(200, low=1, evaluation=True)
    """Number of tokens of every sample."""
    temperature: float = setting(0.8, low=0, evaluation=True)
    """Temperature of the samples: below 1 the probable tokens become more so."""

    sentence: str = setting("I am a little squirrel holding a walnut", evaluation=True)
    """Sentence that an input is learnt to make the model say; attention is drawn on it too."""
    inversion_updates: int = setting(1_000, low=1, evaluation=True)
    """Number of updates of the input that is learnt to make the model say `sentence`."""
    inversion_rate: float = setting(0.05, above=0, evaluation=True)
    """Adam's learning rate for the input that is learnt to make the model say `sentence`."""
    prompt: str = setting("Beginning of a journey is", evaluation=True)
    """Text whose continuations are scored."""
    continuations: tuple[str, ...] = setting((" long.", " the end.", " a rabbit."), evaluation=True)
    """Texts that may follow the prompt; each is scored, token by token."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "report": {},
        "best": {
            "vocabulary": 1_024,
            "batch_size": 24,
            "learning_rate": 2e-3,
            "dropout": 0.2,
            "learning_rate_schedule": "cosine",
            "warmup_steps": 50,
        },
        "mingpt": {"tokeniser": "characters"},
        "tiny": {
            "text": "grammar",
            "steps": 20,
            "validate_every": 10,
            "log_every": 5,
            "tokeniser": "characters",
            "block": 16,
            "layers": 2,
            "heads": 2,
            "width": 16,
            "sample_tokens": 20,
            "sentence": "The queen sees",
            "inversion_updates": 20,
            "prompt": "The queen",
            "continuations": (" sees", " see"),
        },
    }

    def __post_init__(self) -> None:
        if self.text not in texts.NAMES:  # wherever it is read from later
            object.__setattr__(self, "text", str(Path(self.text).expanduser().absolute()))
        super().__post_init__()

    def check(self) -> None:
        if self.width % self.heads:
            raise InputError(f"TinyGPT.heads: got {self.heads}; width ({self.width}) must be a multiple of it.")

    @property
    def source(self) -> Text:
        """The text, to train on and held out."""
        return texts.text(self.text, self.held_out)

    def checksums(self) -> dict[str, str]:
        return self.source.checksums

    @property
    def reader(self) -> Tokeniser:
        """The tokeniser, of the training text."""
        return tokeniser(self.tokeniser, self.source.train, self.vocabulary)

    @property
    def rows(self) -> int:
        """Blocks that the training text holds side by side; where they begin is drawn."""
        return max(1, len(self.reader.encode(self.source.train)) // self.block)

    def data(self) -> Data:
        train, test = ({"tokens": self.reader.encode(part)} for part in (self.source.train, self.source.held_out))
        for name, tensors in (("training", train), ("held-out", test)):
            if len(tensors["tokens"]) <= self.block:
                raise InputError(
                    f"the {name} text has {len(tensors['tokens'])} tokens, and a block is {self.block}: give a longer "
                    "text or a shorter block."
                )
        self._refuse_unreadable()
        return Data(train, test)

    def _refuse_unreadable(self) -> None:
        """Raise before the training where a text that is read only after it cannot be read."""
        asked = [
            ("sentence", self.sentence),
            ("prompt", self.prompt),
            *(("continuations", c) for c in self.continuations),
        ]
        if not self.continuations:
            raise InputError("TinyGPT.continuations: got none; give at least one.")
        for name, words in asked:
            try:
                count = len(self.reader.encode(words))
            except InputError as error:
                raise InputError(f"TinyGPT.{name}: {error}") from error
            if not 0 < count <= self.block:
                raise InputError(
                    f"TinyGPT.{name}: {words!r} has {count} tokens; allowed are 1 to {self.block}, a block."
                )

    def batch(self, train: Tensors, draws: Draws) -> Tensors:
        """Blocks from anywhere in the text, and what follows each of their tokens."""
        tokens = train["tokens"]
        first = draws.integers(len(tokens) - self.block, self.batch_size)
        places = first.unsqueeze(1) + torch.arange(self.block + 1, device=tokens.device)
        windows = tokens[places]
        return {"x": windows[:, :-1], "y": windows[:, 1:]}

    def model(self) -> Decoder:
        with self.draws("model").default_generator():
            return Decoder(
                self.reader.size,
                block=self.block,
                layers=self.layers,
                heads=self.heads,
                width=self.width,
                tied=self.tied,
                dropout=self.dropout,
            )

    def can_pack(self) -> bool:
        return super().can_pack() and not self.dropout  # its random numbers are torch's own

    def optimizer(self, model: Decoder) -> torch.optim.Optimizer:
        matrices = [
            p for name, p in model.named_parameters() if p.ndim == 2 and not name.startswith(("tokens", "places"))
        ]
        chosen = {id(p) for p in matrices}
        others = [p for p in model.parameters() if id(p) not in chosen]
        groups = [{"params": matrices, "weight_decay": self.weight_decay}, {"params": others, "weight_decay": 0.0}]
        return AdamW(groups, lr=self.learning_rate, betas=(0.9, 0.95), fused=True)

    def loss(self, model: Decoder, batch: Tensors, draws: Draws) -> Loss:
        return Loss({"tokens": gpt.next_token_loss(model(batch["x"]), batch["y"])})

    @torch.no_grad()
    def validate(self, model: Decoder, draws: Draws) -> dict[str, float]:
        nats, tokens, characters = self.held_out_nats(model, draws.device)
        return {"validation/loss": nats / tokens, "validation/nats_per_char": nats / characters}

    @torch.no_grad()
    def held_out_nats(self, model: Decoder, device: torch.device | str | None = None) -> tuple[float, int, int]:
        """−ln p of the held-out text in consecutive blocks, the tokens predicted, and their characters."""
        tokens = self.reader.encode(self.source.held_out).to(device or torch.get_default_device())
        count = (len(tokens) - 1) // self.block
        x, y = (tokens[k : k + count * self.block].reshape(count, self.block) for k in (0, 1))
        pairs = zip(torch.split(x, CHUNK), torch.split(y, CHUNK), strict=True)
        nats = sum(gpt.next_token_loss(model(a), b).item() * b.numel() for a, b in pairs)
        return nats, y.numel(), len(self.reader.decode(y.flatten()))

    @torch.no_grad()
    def evaluate(self, model: Decoder, draws: Draws) -> Evaluation:
        nats, tokens, characters = self.held_out_nats(model, draws.device)
        metrics = {"nats_per_char": nats / characters, "nats_per_token": nats / tokens}
        drawn = self.sample(model, self.samples, draws)["x"].cpu()
        rows = [{"sample": k, "text": self.reader.decode(row)} for k, row in enumerate(drawn)]
        scored = [
            {"prompt": self.prompt, "continuation": continuation, "log_p": log_p.sum().item(), "tokens": len(log_p)}
            for continuation, (_, log_p) in self.scored(model).items()
        ]
        return Evaluation(metrics, {"x": drawn.numpy()}, {"samples": rows, "continuations": scored})

    def inverted(self, model: Decoder, sentence: str | Tensor) -> gpt.Inversion:
        """The course of learning an input that makes the model say a sentence."""
        tokens = self.reader.encode(sentence) if isinstance(sentence, str) else sentence
        if not 0 < len(tokens) <= self.block:
            raise InputError(f"a sentence of {len(tokens)} tokens: allowed are 1 to {self.block}, a block.")
        draws = self.draws("inversion")
        return gpt.invert(model, tokens, draws, updates=self.inversion_updates, rate=self.inversion_rate)

    def scored(self, model: Decoder) -> dict[str, tuple[list[str], Tensor]]:
        """The tokens of every continuation, and ln p of each token given the prompt and the tokens before it."""
        prompt, scores = self.reader.encode(self.prompt), {}
        for continuation in self.continuations:
            tokens = self.reader.encode(continuation)
            context = torch.cat((prompt, tokens)).to(model.tokens.weight.device)
            scores[continuation] = (self.reader.pieces(tokens), gpt.scores(model, context)[-len(tokens) :].cpu())
        return scores

    @torch.no_grad()
    def sample(self, model: Decoder, count: int, draws: Draws) -> Tensors:
        """Texts as tokens, each going on from a place of the held-out text."""
        tokens = self.reader.encode(self.source.held_out).to(draws.device)
        length = min(self.block // 2, 8)
        first = draws.fork("prompts").integers(len(tokens) - length, count)
        prompts = tokens[first.unsqueeze(1) + torch.arange(length, device=draws.device)]
        rows = []
        for k, prompt in enumerate(torch.split(prompts, CHUNK)):  # bounds the cache
            stream = draws.fork(f"tokens {k}")
            drawn = list(gpt.generate(model, prompt, self.sample_tokens, stream, temperature=self.temperature))
            rows.append(torch.cat((prompt, torch.stack(drawn, 1)), 1))
        return {"x": torch.cat(rows)}

    def example(self) -> tuple[Tensor, ...]:
        return (torch.zeros(2, self.block, dtype=torch.long),)
