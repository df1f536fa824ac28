"""Studies of a user's own: a class in a file outside this project, found by its place and known by its name.

Other processes need not have the file: they are given its text (`sources`, `install`). A run directory is never asked
which file to import; only the user is.
"""

from __future__ import annotations

import hashlib
import sys
import traceback
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from genlib.catalogue import CARRIED, STUDIES, study_named, views_beside
from genlib.errors import InputError
from genlib.study import Study

S = TypeVar("S", bound=Study[Any])


class Source(NamedTuple):
    """A user's own file, as it was read."""

    path: str
    text: str

    @property
    def module(self) -> str:
        """The name under which the file is imported, here and in other processes."""
        return f"{Path(self.path).stem}_{_hash(self.path + self.text)[:8]}"


class Provenance(NamedTuple):
    """Where an own study's class was written: `/path/to/mine.py:Mine`, and a short hash of that file; else empty."""

    place: str = ""
    source: str = ""


_sources: dict[str, Source] = {}
_adopted: dict[str, type[Study[Any]]] = {}
_loading: list[str] = []


def find_study(named: str) -> type[Study[Any]]:
    """A study by its name in the catalogue, or by its place: `path/to/mine.py:Mine`, or the file alone where it is one.

    Raises:
        InputError: there is no such study; the message says what was found instead.
    """
    path, _, name = named.rpartition(":") if ".py:" in named else (named, "", "")
    if not path.endswith(".py"):
        return study_named(named)
    file = Path(path).expanduser().absolute()
    module = install(_read(file))
    kinds = {
        kind.__name__: kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Study) and kind.__module__ == module.__name__
    }
    if name and name not in kinds:
        raise InputError(f"{file} has no study '{name}': it has {', '.join(kinds) or 'none'}.")
    if len(kinds) != 1 and not name:
        raise InputError(f"{file} has {len(kinds) or 'no'} studies: name one of {', '.join(kinds)}, as {path}:NAME.")
    kind = kinds[name or next(iter(kinds))]
    adopt(kind)
    return kind


def adopt(kind: type[Study[Any]]) -> None:
    """Know a user's own class from now on, so that its runs can be opened. Classes of the catalogue are known already.

    Raises:
        InputError: a study of the catalogue has this name, and the runs would be taken for that study's.
    """
    if kind in STUDIES:
        return
    if kind.title() in {ours.title() for ours in STUDIES}:
        raise InputError(f"the name {kind.__name__} is taken by a study of the catalogue: give yours another.")
    shadowed = sorted({declared.name for declared in fields(kind)} & (set(dir(Study)) - set(Study.__annotations__)))
    if shadowed:
        raise InputError(f"{kind.__name__} has a field '{shadowed[0]}', which is a word of every study: rename it.")
    _adopted[kind.__name__] = kind


def adopted() -> dict[str, type[Study[Any]]]:
    """The users' own classes that this process has adopted, by name."""
    return dict(_adopted)


def provenance(kind: type[Study[Any]]) -> Provenance | None:
    """Where an own study comes from; None for one of the catalogue."""
    if kind in STUDIES:
        return None
    source = _sources.get(kind.__module__) or _of_main(kind)
    return Provenance(f"{source.path}:{kind.__qualname__}", _hash(source.text)[:12]) if source else Provenance()


def importable(study: S) -> S:
    """The study, of a class that other processes can import: a script's class is imported from its file."""
    source = _of_main(type(study))
    if source is None:
        return study
    kind = getattr(install(source), type(study).__qualname__, None)
    if kind is None:
        raise InputError(f"{source.path}: define {type(study).__name__} at the top of the file, not inside a function.")
    adopt(kind)
    imported: S = kind(**study.fields())
    return imported


# -- files of a user's own, here and in other processes ----------------------------------------------------------------


def sources() -> list[Source]:
    """The files that other processes need in order to know the own studies of this one.

    A notebook has no file: its classes are sent whole, and take along what looks at them.
    """
    for kind in _adopted.values():
        if kind.__module__ == "__main__":
            setattr(kind, CARRIED, views_beside(kind))
    return list(_sources.values())


def install(source: Source) -> ModuleType:
    """Import a file from its text, once per process. Its folder is searched for its imports, as a script's is."""
    name = source.module
    if name in sys.modules:
        return sys.modules[name]
    folder = str(Path(source.path).parent)
    module = sys.modules[name] = ModuleType(name)
    module.__file__ = source.path
    _loading.append(name)
    sys.path.insert(0, folder)
    try:
        exec(compile(source.text, source.path, "exec"), vars(module))
    except InputError:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == source.path]
        where = f", line {error.lineno}" if isinstance(error, SyntaxError) else f", line {lines[-1]}" if lines else ""
        raise InputError(f"{source.path}{where}: {type(error).__name__}: {error}") from error
    finally:
        _loading.remove(name)
        sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)  # for what it imports later
    _sources[name] = source
    return module


def refuse_while_importing() -> None:
    """Raise where a file that is only being imported starts a run."""
    if _loading:
        file = sys.modules[_loading[-1]].__file__
        raise InputError(f'{file} starts work when it is imported: put that under `if __name__ == "__main__":`.')


def _read(file: Path) -> Source:
    try:
        return Source(str(file), file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: give the place of your study as path/to/mine.py:Mine.") from error


def _of_main(kind: type[Study[Any]]) -> Source | None:
    """The running script, where a class was written in it; None for a class of a module or a notebook."""
    if kind.__module__ != "__main__":
        return None
    file = getattr(sys.modules["__main__"], "__file__", None)
    return _read(Path(file).absolute()) if file else None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
