"""Captions of images from a small grammar, and the colours they name.

A caption is drawn anew whenever an image is seen: "a red seven", "7 in red ink", "a digit". It may leave out the class,
the colour or both, so a model also learns what is left open. Some pairs of colour and class are held out: no training
image has them, though it has each of the two with others. `Captions` also reads prompts that people write.
"""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from genlib.data.images import ImageName, class_names
from genlib.draws import Draws
from genlib.errors import InputError

LENGTH = 8
"""Number of tokens of every prompt; shorter ones are filled up with `NOTHING`."""
NOTHING = 0
"""The token that stands where no word is; a prompt of these alone is empty."""


class Colour(NamedTuple):
    """A named interval of hue, in turns; red's begins below 0."""

    name: str
    first: float
    last: float


COLOURS = (
    Colour("red", -0.03, 0.03),
    Colour("orange", 0.06, 0.10),
    Colour("yellow", 0.14, 0.19),
    Colour("green", 0.28, 0.40),
    Colour("cyan", 0.47, 0.53),
    Colour("blue", 0.60, 0.69),
    Colour("purple", 0.73, 0.80),
    Colour("pink", 0.85, 0.93),
)
TOLERANCE = 0.015
"""How far beyond its interval a hue still counts as the colour: half of the narrowest gap between two colours."""
HELD_OUT = tuple((3 * k + 1) % len(COLOURS) for k in range(10))
"""The colour, by class, that no training image of the class has."""
UNTAUGHT = ("warmest", "legs", "wheels", "sky", "spider", "tricycle", "number")
"""Words that a prompt may have though no caption has them: they name their answer indirectly."""
ALIASES = {"an": "a", "t-shirt": "tee"}
"""Words that are read as others."""
SPOKEN_OPEN = ("orange", "eight", "8", "aeroplane")
"""Words that take "an"."""
UNREAD = ("ankle",)
"""Words that are passed over: "an ankle boot" is the only boot there is."""
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Asked(NamedTuple):
    """What prompts ask for: class and colour, −1 where one is left open."""

    y: Int64[Tensor, " n"]
    colour: Int64[Tensor, " n"]

    def to(self, device: torch.device | str) -> Asked:
        """The same on a device."""
        return Asked(self.y.to(device), self.colour.to(device))


@dataclass(frozen=True)
class Captions:
    """The captions of a data set: words, templates, and how prompts are read.

    A template is a list of words, in which "CLASS" stands for a name of the class and "COLOUR" for one of the colour.

    Arguments:
        names: names of every class, of one word each; all classes have equally many.
        thing: what an image shows where its class is left open.
        coloured: whether captions name colours.

    Example:
        >>> captions = captions_of("mnist")
        >>> captions.text(captions.tokens("a red 7"))
        'a red 7'
        >>> captions.asked("seven, in red ink")
        (7, 0)
    """

    names: tuple[tuple[str, ...], ...]
    thing: str
    coloured: bool

    @cached_property
    def templates(self) -> tuple[tuple[str, ...], ...]:
        """All templates; those that name all there is come first (`complete`), the others leave something open."""
        plain = ("a CLASS", "CLASS", f"a {self.thing} CLASS", f"the {self.thing} is CLASS", "a picture of a CLASS")
        texts = [*plain, f"a {self.thing}", f"some {self.thing}"]
        if self.coloured:
            named = (
                "a COLOUR CLASS", "COLOUR CLASS", "CLASS in COLOUR", "CLASS in COLOUR ink", "a CLASS of COLOUR",
                "a CLASS that is COLOUR", "the CLASS is COLOUR", "a picture of a COLOUR CLASS",
                f"the {self.thing} CLASS in COLOUR", f"a COLOUR {self.thing} CLASS", "draw a CLASS with COLOUR ink",
                "please draw a COLOUR CLASS",
            )  # fmt: skip
            coloured = (f"a COLOUR {self.thing}", f"a {self.thing} in COLOUR ink", f"some {self.thing} of COLOUR")
            texts = [*named, *texts, *coloured]
        return tuple(tuple(text.split()) for text in texts)

    @property
    def complete(self) -> int:
        """Number of templates that name all there is."""
        return sum("CLASS" in template and ("COLOUR" in template or not self.coloured) for template in self.templates)

    @property
    def checksum(self) -> str:
        """A checksum of all that tokens and captions mean: a model of another grammar reads other words."""
        meaning = (self.words, self.templates, COLOURS, HELD_OUT, LENGTH)
        return hashlib.sha256(repr(meaning).encode()).hexdigest()[:16]

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The vocabulary, in the order of the tokens; the first stands for no word."""
        usual = [word for template in self.templates for word in template if word not in ("CLASS", "COLOUR")]
        colours = [colour.name for colour in COLOURS] if self.coloured else []
        names = [name for names in self.names for name in names]
        return tuple(dict.fromkeys(("", *usual, *colours, *names, *UNTAUGHT)))

    @cached_property
    def _table(self) -> Int64[Tensor, "t length"]:
        """Templates as tokens, in which −1 stands for a class and −2 for a colour."""
        table = torch.zeros(len(self.templates), LENGTH, dtype=torch.long, device="cpu")
        for row, template in zip(table, self.templates, strict=True):
            for place, word in enumerate(template):
                row[place] = {"CLASS": -1, "COLOUR": -2}.get(word, self._place(word))
        return table

    @cached_property
    def _name_tokens(self) -> Int64[Tensor, "classes synonyms"]:
        return torch.tensor([[self._place(name) for name in names] for names in self.names], device="cpu")

    @cached_property
    def _colour_tokens(self) -> Int64[Tensor, " colours"]:
        return torch.tensor([self._place(colour.name) for colour in COLOURS if self.coloured], device="cpu")

    def _place(self, word: str) -> int:
        return self.words.index(word) if word in self.words else NOTHING

    def drawn(
        self, y: Int64[Tensor, " n"], colour: Int64[Tensor, " n"], draws: Draws, *, naming_all: bool = False
    ) -> Int64[Tensor, "n length"]:
        """A caption of every image, as tokens; `naming_all` draws none that leaves something open."""
        rows = len(y) * draws.world
        device = y.device
        chosen = self._table.to(device)[draws.integers(self.complete if naming_all else len(self.templates), rows)]
        synonym = draws.integers(len(self.names[0]), rows)
        tokens = torch.where(chosen == -1, self._name_tokens.to(device)[y, synonym].unsqueeze(1), chosen)
        if self.coloured:
            tokens = torch.where(chosen == -2, self._colour_tokens.to(device)[colour].unsqueeze(1), tokens)
        return tokens

    def tokens(self, prompt: str) -> Int64[Tensor, " length"]:
        """A prompt as tokens; commas, stops and capitals say nothing, and an empty prompt leaves everything open.

        Raises:
            InputError: the prompt has a word that no caption has, or too many words.
        """
        given = prompt.lower().replace(",", " ").replace(".", " ").split()
        words = [ALIASES.get(word, word) for word in given if word not in UNREAD]
        for word in words:
            if word not in self.words:
                near = difflib.get_close_matches(word, self.words, 1, cutoff=0.0)
                raise InputError(
                    f"prompt '{prompt}': the word '{word}' is unknown; the nearest known one is '{near[0]}'. All are: "
                    f"{', '.join(self.words[1:])}."
                )
        if len(words) > LENGTH:
            raise InputError(f"prompt '{prompt}': {len(words)} words; allowed are {LENGTH} at most.")
        places = [self.words.index(word) for word in words]
        return torch.tensor(places + [NOTHING] * (LENGTH - len(words)), device="cpu")

    def text(self, tokens: Int64[Tensor, " length"]) -> str:
        """Tokens as text, with "an" where English has it."""
        words = [self.words[token] for token in tokens.tolist() if token != NOTHING]
        following = [*words[1:], ""]
        articles = [
            "an" if word == "a" and after in SPOKEN_OPEN else word for word, after in zip(words, following, strict=True)
        ]
        return " ".join(articles)

    def asked(self, prompt: str) -> tuple[int, int]:
        """The class and the colour that a prompt names; −1 where it leaves one open.

        Raises:
            InputError: the prompt names two classes or two colours.
        """
        words = [self.words[token] for token in self.tokens(prompt).tolist()]
        classes = {k for k, names in enumerate(self.names) if set(names) & set(words)}
        colours = {k for k, colour in enumerate(COLOURS) if self.coloured and colour.name in words}
        for found, what in ((classes, "classes"), (colours, "colours")):
            if len(found) > 1:
                raise InputError(f"prompt '{prompt}': it names {len(found)} {what}; name one at most.")
        return (min(classes, default=-1), min(colours, default=-1))


@cache
def captions_of(name: ImageName) -> Captions:
    """The captions of a data set."""
    if name in ("digits", "mnist"):
        return Captions(tuple((str(k), word) for k, word in enumerate(DIGITS)), "digit", coloured=True)
    words = tuple((title.lower().split()[-1].replace("t-shirt", "tee"),) for title in class_names(name))
    return Captions(words, "garment" if name == "fashion_mnist" else "thing", coloured=name == "fashion_mnist")


def drawn_colours(y: Int64[Tensor, " n"], draws: Draws, *, held_out: bool) -> Int64[Tensor, " n"]:
    """A colour for every class: any but the one held out, or that one alone."""
    out = torch.tensor(HELD_OUT, device=y.device)[y]
    if held_out:
        return out
    other = 1 + draws.integers(len(COLOURS) - 1, len(y) * draws.world)
    return (out + other) % len(COLOURS)


def hues_of(colour: Int64[Tensor, " n"], draws: Draws) -> Float[Tensor, " n"]:
    """A hue for every colour, anywhere in its interval, in [0, 1)."""
    first, last = (torch.tensor(ends, device=colour.device)[colour] for ends in _ends())
    return (first + (last - first) * draws.uniform(len(colour) * draws.world)) % 1


def is_colour(hue: Float[Tensor, " n"], colour: Int64[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Whether hues lie in the intervals of colours, or next to them."""
    first, last = (torch.tensor(ends, device=colour.device)[colour] for ends in _ends())
    middle, reach = (first + last) / 2, (last - first) / 2 + TOLERANCE
    apart = (hue - middle) % 1
    return torch.minimum(apart, 1 - apart) <= reach


def deviation_of(hue: Float[Tensor, " n"], colour: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
    """How far hues lie from the middle of their colour's interval, in standard deviations of hues drawn from it."""
    first, last = (torch.tensor(ends, device=colour.device)[colour] for ends in _ends())
    apart = (hue - (first + last) / 2 + 0.5) % 1 - 0.5
    return apart * 12**0.5 / (last - first)


def nearest_colour(hue: Float[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """The colour whose interval is nearest to each hue."""
    first, last = (torch.tensor(ends, device=hue.device) for ends in _ends())
    apart = (hue.unsqueeze(1) - (first + last) / 2) % 1
    return (torch.minimum(apart, 1 - apart) - (last - first) / 2).argmin(1)


def _ends() -> tuple[list[float], list[float]]:
    return [colour.first for colour in COLOURS], [colour.last for colour in COLOURS]
