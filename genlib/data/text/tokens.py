"""Tokenisers: characters, or byte pairs trained on the text itself."""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch
from jaxtyping import Int64
from torch import Tensor

from genlib.errors import InputError

TokeniserName = Literal["characters", "byte_pairs"]


class Characters:
    """A token for each character of the training text; `size` of them.

    Example:
        >>> characters = Characters("hello")
        >>> characters.decode(characters.encode("hole"))
        'hole'
    """

    def __init__(self, training: str) -> None:
        self._known = sorted(set(training))
        self._place = {character: k for k, character in enumerate(self._known)}
        self.size = len(self._known)

    def encode(self, text: str) -> Int64[Tensor, " t"]:
        """The tokens of a text."""
        unknown = sorted(set(text) - set(self._place))
        if unknown:
            raise InputError(
                f"{', '.join(map(repr, unknown[:5]))}: not among the {self.size} characters of the training text; "
                "leave them out, or train with byte pairs, which know every text."
            )
        return torch.tensor([self._place[character] for character in text], dtype=torch.long)

    def decode(self, tokens: Int64[Tensor, " t"]) -> str:
        """The text of tokens."""
        return "".join(self.pieces(tokens))

    def pieces(self, tokens: Int64[Tensor, " t"]) -> list[str]:
        """The text of each token by itself."""
        return [self._known[k] for k in tokens.tolist()]


class BytePairs:
    """Byte pairs, merged as often as the vocabulary allows. Sennrich et al., 2016; trained by `tokenizers`.

    Every byte is a token too, so no text is outside the vocabulary; `size` tokens.
    """

    def __init__(self, training: str, size: int) -> None:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        self._pairs = Tokenizer(models.BPE())
        self._pairs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._pairs.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        if size < len(alphabet):
            raise InputError(f"vocabulary: got {size}; byte pairs need at least {len(alphabet)}.")
        trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
        self._pairs.train_from_iterator([training], trainer)
        self.size = self._pairs.get_vocab_size()

    def encode(self, text: str) -> Int64[Tensor, " t"]:
        return torch.tensor(self._pairs.encode(text).ids, dtype=torch.long)

    def decode(self, tokens: Int64[Tensor, " t"]) -> str:
        return str(self._pairs.decode(tokens.tolist()))

    def pieces(self, tokens: Int64[Tensor, " t"]) -> list[str]:
        return [str(self._pairs.decode([k])) for k in tokens.tolist()]


Tokeniser = Characters | BytePairs


@cache
def tokeniser(name: TokeniserName, training: str, size: int) -> Tokeniser:
    """The tokeniser of a training text."""
    return Characters(training) if name == "characters" else BytePairs(training, size)
