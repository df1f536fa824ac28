"""Command lines are made from dataclasses: types, lists, positions, help."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest

from experiments.command.arguments import POSITIONAL, Called, given_fields, read, read_some, read_with_fields
from experiments.command.console import as_command
from experiments.train import TrainOptions
from genlib import ColourTransfer, ContinuousVAE, InputError, PointDiffusion, TinyGPT


@dataclass(frozen=True)
class Options:
    """What a script takes."""

    run: Annotated[str, POSITIONAL]
    """A run directory."""
    others: Annotated[tuple[str, ...], POSITIONAL] = ()
    """More of them."""
    count: int = 3
    """Number of things."""
    share: float | None = None
    """Share of things."""
    seeds: tuple[int, ...] = (0,)
    """Seeds, each once."""
    kind: Literal["a", "b"] = "a"
    """Kind of thing."""
    again: bool = False
    """Do it again."""
    origin: Annotated[str, Called("from")] = ""
    """Where it comes from."""
    out_file: Path = Path("x")
    """File to write."""


def test_every_type_is_read():
    words = "key one two --count 1e3 --share=-2 --seeds 1 -2 3 --kind b --again --from here --out_file /tmp/y"
    assert read(Options, words.split(), about="") == Options(
        "key", ("one", "two"), 1000, -2.0, (1, -2, 3), "b", True, "here", Path("/tmp/y")
    )
    assert read(Options, ["key", "--again", "--no-again"], about="").again is False
    assert read(Options, ["key", "--again", "true", "--count", "4"], about="").count == 4
    assert read(Options, ["--count", "1", "key", "--count", "2"], about="") == Options("key", count=2)
    assert read(Options, ["key", "one", "--again", "two", "three"], about="").others == ("one", "two", "three")
    assert read(Options, ["key", "--seeds="], about="").seeds == ()


def test_a_studys_fields_are_options_in_its_own_words():
    options, fields = read_with_fields(
        Options, PointDiffusion, ["key", "--width", "8", "--schedule", "exp5", "--count", "1"]
    )
    assert (options.count, fields) == (1, {"width": 8, "schedule": "exp5"})
    assert given_fields(TinyGPT.preset("tiny"), ["--tied", "--continuations", " a", " b"]) == {
        "tied": True, "continuations": (" a", " b"),
    }  # fmt: skip
    assert given_fields(ColourTransfer.preset("tiny"), ["--betas", "0.5", "0.9"]) == {"betas": (0.5, 0.9)}
    known, left = read_some(Options, ["key", "--sampling-steps", "4", "--count", "2", "--eta=0.5"])
    assert (known.count, left) == (2, ["--sampling-steps", "4", "--eta=0.5"])
    known, left = read_some(Options, ["--sampling-steps", "4", "--again", "key"])
    assert (known.run, known.again, left) == ("key", True, ["--sampling-steps", "4"])


def test_a_command_that_is_printed_is_read_again():
    for study in (
        ContinuousVAE.preset("tiny", hidden=()), ContinuousVAE.preset("tiny", hidden=(8, 16)),
        TinyGPT.preset("tiny", prompt="-- it is"), PointDiffusion.preset("best", width=24, learning_rate=0.00123),
    ):  # fmt: skip
        _, fields = read_with_fields(TrainOptions, type(study), shlex.split(as_command(study))[3:])
        preset = shlex.split(as_command(study))[4]
        assert type(study).preset(preset, **fields) == study


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("key --run abc", "there is no option --run: `--help`"),
        ("key --no-again=true", "there is no option --no-again"),
        ("key --out-file=", "--out-file: got ''"),
        ("key --share much", "--share: got 'much'; allowed is a number"),
    ],
)
def test_what_does_not_fit_is_named(words, said):
    with pytest.raises(InputError, match=re.escape(said)):
        read(Options, words.split(), about="")


def test_a_field_that_is_an_option_is_refused():
    @dataclass(frozen=True)
    class Clashing:
        """It takes what a study has."""

        width: int = 3
        """Width."""

    with pytest.raises(InputError, match="PointDiffusion has a field 'width', which is an option of this script"):
        read_with_fields(Clashing, PointDiffusion, [])


def test_help_shows_types_defaults_and_meanings(capsys):
    with pytest.raises(SystemExit) as ended:
        read(Options, ["--help"], about="Do things.")
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for words in ("Do things.", "--count", "an integer [3]", "Number of things.", "one of a, b [a]", "--from", "RUN"):
        assert words in said


def test_trains_help_shows_ranges_presets_and_the_named_presets_own_values(capsys, monkeypatch):
    from experiments.train import parse

    with pytest.raises(SystemExit):
        parse(["coupling-flow", "--preset", "spline", "--help"])
    said = capsys.readouterr().out
    assert "presets: report, best, spline, tiny" in said
    assert "fields, as preset spline has them:" in said
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert "--coupling one of affine, spline [spline]" in lines
    assert "--layers an integer of at least 2 [4]" in lines
    assert "--ema-decay a number of at least 0 and below 1 [0.999]" in lines
