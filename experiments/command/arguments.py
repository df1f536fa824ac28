"""Command lines, made from dataclasses: an option per field, its type and bounds, the string under it as help.

    @dataclass(frozen=True)
    class Options:
        run: Annotated[str, POSITIONAL]
        \"\"\"A run directory, or the beginning of a run's key.\"\"\"
        count: int = 10
        \"\"\"Number of samples to draw.\"\"\"

    options = read(Options, about=__doc__)

A study's fields are options in the same way (`read_with_fields`). What does not fit is refused in one sentence that
names the option, what was given, and what is allowed.
"""

from __future__ import annotations

import difflib
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from experiments.command.fields import field_docs
from genlib import InputError
from genlib.settings import allowed, coerce, setting_type

if TYPE_CHECKING:
    from genlib import Study

T = TypeVar("T")
POSITIONAL = "positional"
"""Marks a field that is given without a name: `Annotated[str, POSITIONAL]`."""
WORDS = {int: "an integer", float: "a number", str: "a text", Path: "a path", bool: "true or false"}
HELP = ("-h", "--help")


@dataclass(frozen=True)
class Called:
    """Marks a field whose option has another name, for Python keeps some words: `Annotated[str, Called("from")]`."""

    name: str


@dataclass(frozen=True)
class Option:
    """One option: a field of a dataclass."""

    owner: type
    field: str
    name: str
    hint: Any
    default: Any
    meaning: str
    positional: bool = False

    @property
    def shown(self) -> str:
        """The option as a user writes it."""
        return self.name.upper() if self.positional else f"--{self.name}"

    @property
    def is_list(self) -> bool:
        """Whether it takes any number of values."""
        return get_origin(self.hint) is tuple

    @property
    def allowed(self) -> str:
        """What it takes, in words."""
        kind = self._kind
        words = "one of " + ", ".join(map(str, get_args(kind))) if get_origin(kind) is Literal else WORDS[kind]
        return f"a list, each {words}" if self.is_list else words

    def read(self, texts: Sequence[str]) -> Any:
        """The value that was given, in the field's own type."""
        kind, values = self._kind, self._values(texts)
        for text, value in zip(texts, values, strict=True):
            wrong = (
                str(value) not in map(str, get_args(kind))
                if get_origin(kind) is Literal
                else not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool)
            )
            if wrong:
                raise InputError(f"{self.shown}: got {text!r}; allowed is {self.allowed}.")
        return tuple(values) if self.is_list else values[0]

    @property
    def shown_default(self) -> str:
        """What it takes, and what it is unless it is given."""
        if self.default is MISSING:
            return self.allowed
        if self.hint is bool:
            return "on; --no-… turns it off" if self.default else ""
        return self._with_default()

    def _with_default(self) -> str:
        value = " ".join(map(str, self.default)) if isinstance(self.default, tuple) else self.default
        return self.allowed + (f" [{value}]" if value not in (None, "") else "")

    @property
    def _kind(self) -> Any:
        """The type of one value."""
        return get_args(self.hint)[0] if self.is_list else self.hint

    def _values(self, texts: Sequence[str]) -> list[Any]:
        return [_value(self._kind, text) for text in texts]


class FieldOption(Option):
    """One option: a field of a study."""

    @property
    def allowed(self) -> str:
        return allowed(self.owner, self.field)

    @property
    def shown_default(self) -> str:
        return self._with_default()

    def read(self, texts: Sequence[str]) -> Any:
        values = self._values(texts)
        return coerce(self.owner, self.field, tuple(values) if self.is_list else values[0])


def read(kind: type[T], words: Sequence[str] | None = None, *, about: str | None, program: str = "") -> T:
    """The options of a command line, by default this process's own.

    Arguments:
        about: what `--help` says first.
        program: the beginning of the command line, for the help.
    """
    words = sys.argv[1:] if words is None else words
    options = options_of(kind)
    if any(word in HELP for word in words):
        show_help([("options", options)], about, program)
    return build(kind, given(options, words))


def read_command(kinds: Mapping[str, type], words: Sequence[str], *, about: str | None) -> Any:
    """The options of one of several commands, which is named first."""
    if not words or words[0] in HELP:
        print(f"{(about or '').strip()}\n\n`{_program()} COMMAND --help` lists a command's options.")
        raise SystemExit(0 if words else 2)
    name, *rest = words
    if name not in kinds:
        raise InputError(f"{_program()} has no command '{name}': {_nearest(name, kinds)}it has {', '.join(kinds)}.")
    return read(kinds[name], rest, about=kinds[name].__doc__, program=f"{_program()} {name}")


def read_some(kind: type[T], words: Sequence[str]) -> tuple[T, list[str]]:
    """The options of a command line as far as they are known, and the words that are left.

    What is left are a study's fields (`given_fields`), where a run tells which study it is of.
    """
    options = options_of(kind)
    ours: list[str] = []
    left: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        option = options.get(word[2:].partition("=")[0].replace("_", "-")) if _is_option(word) else None
        most = None if option and option.is_list else 0 if "=" in word or not _is_option(word) else 1
        group = [word, *([] if option and option.hint is bool else _taken(waiting, most))]
        (ours if option or not _is_option(word) else left).extend(group)
    return build(kind, given(options, ours)), left


def given_fields(study: Study[Any], words: Sequence[str]) -> dict[str, Any]:
    """The fields of a study that a command line gives."""
    options = fields_of(study)
    return {options[name].field: value for name, value in given(options, words).items()}


def read_with_fields(kind: type[T], study: type[Study[Any]], words: Sequence[str]) -> tuple[T, dict[str, Any]]:
    """The options of a command line, and the fields of a study that it gives."""
    options = options_of(kind)
    fields_given = fields_of(study())
    taken = options.keys() & fields_given.keys()
    if taken:
        raise InputError(f"{study.__name__} has a field '{min(taken)}', which is an option of this script: rename it.")
    values = given({**options, **fields_given}, words)
    ours = {name: value for name, value in values.items() if name in options}
    return build(kind, ours), {fields_given[name].field: values[name] for name in values if name in fields_given}


def options_of(kind: type) -> dict[str, Option]:
    """The options of a dataclass, by name."""
    docs, hints = field_docs(kind), get_type_hints(kind, include_extras=True)
    options = {}
    for declared in fields(kind):
        hint = hints[declared.name]
        hint, *marks = get_args(hint) if get_origin(hint) is Annotated else [hint]
        if get_origin(hint) is UnionType or type(None) in get_args(hint):
            hint = next(one for one in get_args(hint) if one is not type(None))
        name = next((mark.name for mark in marks if isinstance(mark, Called)), declared.name.replace("_", "-"))
        options[name] = Option(
            kind, declared.name, name, hint, declared.default, docs[declared.name], POSITIONAL in marks
        )
    return options


def fields_of(study: Study[Any]) -> dict[str, Option]:
    """The fields of a study as options, with its own values as defaults."""
    kind = type(study)
    docs = field_docs(kind)
    return {
        name.replace("_", "-"): FieldOption(
            kind, name, name.replace("_", "-"), setting_type(kind, name), value, docs.get(name, "")
        )
        for name, value in study.fields().items()
    }


def given(options: Mapping[str, Option], words: Sequence[str]) -> dict[str, Any]:
    """The values that a command line gives, by the names of their options."""
    values: dict[str, Any] = {}
    positions = [option for option in options.values() if option.positional]
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if not _is_option(word):
            if not positions:
                raise InputError(f"{word!r} is one word too many: options begin with --, and `--help` lists them.")
            option = positions[0] if positions[0].is_list else positions.pop(0)
            read = option.read([word, *(_taken(waiting) if option.is_list else ())])
            values[option.name] = values.get(option.name, ()) + read if option.is_list else read
            continue
        name, has_value, value = word[2:].partition("=")
        name = name.replace("_", "-")
        negated = options.get(name.removeprefix("no-")) if name not in options else None
        if negated is not None and negated.hint is bool and not has_value:
            values[negated.name] = False
            continue
        if name not in options or options[name].positional:
            named = [one.name for one in options.values() if not one.positional]
            raise InputError(f"there is no option --{name}: {_nearest(name, named, '--')}`--help` lists them.")
        option = options[name]
        if option.hint is bool and not has_value:
            follows = waiting[:1] if waiting and waiting[0].lower() in ("true", "false") else []
            values[name] = option.read([waiting.pop(0)]) if follows else True
            continue
        if has_value and not value and option.hint is Path:
            raise InputError(f"--{name}: got ''; allowed is {option.allowed}.")
        if has_value and not value and option.is_list:
            values[name] = option.read([])
            continue
        texts = [value] if has_value else _taken(waiting) if option.is_list else _taken(waiting, 1)
        if not texts:
            raise InputError(f"--{name}: give a value; allowed is {option.allowed}.")
        read = option.read(texts)
        values[name] = values.get(name, ()) + read if option.is_list else read
    return values


def build(kind: type[T], values: Mapping[str, Any]) -> T:
    """The dataclass with the values that were given; refused where one that it needs is missing."""
    options = options_of(kind)
    for name, option in options.items():
        if option.default is MISSING and name not in values:
            what = option.meaning[:1].lower() + option.meaning[1:]
            raise InputError(f"{option.shown} is missing: give {what}")
    return kind(**{options[name].field: value for name, value in values.items()})


def show_help(groups: Iterable[tuple[str, Mapping[str, Option]]], about: str | None, program: str = "") -> None:
    """Print what a script does and every option, and end the process."""
    width = min(100, shutil.get_terminal_size((100, 24)).columns)
    print(f"usage: {program or _program()} [options]\n\n{textwrap.dedent(about or '').strip()}")
    for title, options in groups:
        print(f"\n{title}:")
        for option in options.values():
            print(f"  {option.shown:<26}{option.shown_default}")
            print(textwrap.fill(option.meaning, width, initial_indent=" " * 6, subsequent_indent=" " * 6))
    print(f"\n  {HELP[1]:<26}Show this.")
    raise SystemExit(0)


def _value(kind: Any, text: str) -> Any:
    """A word as a number, a truth or a path, if that is what is wanted and it is one; else the word itself."""
    if kind is Path:
        return Path(text)
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    members = {str(member): member for member in get_args(kind)} if get_origin(kind) is Literal else {}
    if kind not in (int, float):
        return members.get(text, text)
    for number in (int, float):
        try:
            value = number(text)
        except (ValueError, OverflowError):
            continue
        if kind is int and isinstance(value, float) and value.is_integer():
            return int(value)
        return float(value) if kind is float else value
    return text


def _is_option(word: str) -> bool:
    return word.startswith("--") and len(word) > 2


def _taken(waiting: list[str], most: int | None = None) -> list[str]:
    """Take the words up to the next option."""
    texts: list[str] = []
    while waiting and not _is_option(waiting[0]) and (most is None or len(texts) < most):
        texts.append(waiting.pop(0))
    return texts


def _nearest(name: str, names: Iterable[str], before: str = "") -> str:
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"did you mean {before}{near[0]}? " if near else ""


def _program() -> str:
    return Path(sys.argv[0]).name
