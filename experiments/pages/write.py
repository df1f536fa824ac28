"""Write the generated parts of the pages anew, or say which are stale.

python experiments/pages/write.py [--check]

A page is prose written by hand, with blocks between `<!-- NAME -->` and `<!-- end -->`. A block is made of the numbers
in `recorded/`, which the scripts that measure write with `--record`, or of the code itself. `--check`, part of `make
check`, fails where a block is not what would be written now.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from experiments.command.arguments import read
from experiments.command.fields import described
from experiments.command.record import cell, read_record
from experiments.command.tables import markdown
from experiments.results import FAMILIES, Family
from genlib import STUDIES, InputError, views_of

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PAGES = (
    ROOT / "README.md",
    ROOT / "experiments" / "README.md",
    *(HERE / f"{name}.md" for name in ("results", "verdicts", "speed", "studies")),
)
BLOCK = re.compile(r"<!-- (?P<name>[\w :-]+) -->\n.*?<!-- end -->", re.DOTALL)
SCRIPTS = ROOT / "experiments"


@dataclass(frozen=True)
class Options:
    """What to do."""

    check: bool = False
    """Change nothing; fail where a page is stale."""


def results(name: str) -> str:
    """The measured rows of a family of studies."""
    return results_of(FAMILIES[name])


def results_of(family: Family, rows: tuple[str, ...] = (), headings: tuple[str, ...] = ()) -> str:
    """Some rows and columns of a family's table, or all that were measured."""
    recorded = read_record("results")
    shown = {heading: how for heading, how in family.columns.items() if not headings or heading in headings}
    names = [name for name in family.rows if name in recorded and (not rows or name in rows)]
    shown = {heading: how for heading, how in shown.items() if any(how[0] in recorded[name] for name in names)}
    lines = [[name, *(cell(recorded[name].get(metric), digits) for metric, digits in shown.values())] for name in names]
    left = [name for name in family.rows if name not in recorded and not rows]
    parts = [markdown(["study", *shown], lines)] if lines else []
    return "\n".join([*parts, *([f"Not measured yet: {'; '.join(left)}.\n"] if left else [])])


def summary(_: str) -> str:
    """The README's table: what each kind of study reaches by its best measured recipe."""
    points = (
        "PointDiffusion, best", "PointDiffusion by class, best", "SpiralDiffusion, best", "CouplingFlow, spline",
        "FlowMatching, best", "FlowMatching by class, best",
    )  # fmt: skip
    columns = ("NLL, nats", "above the truth", "C2ST", "SW ÷ floor", "CPU-seconds")
    return results_of(FAMILIES["points"], points, columns)


def leaderboard(_: str) -> str:
    """All point methods on the same densities, under one budget."""
    from experiments.leaderboard_points import COLUMNS

    rows = [
        [*name.split(", "), *(cell(numbers.get(metric), digits) for metric, digits in COLUMNS.values())]
        for name, numbers in read_record("leaderboard").items()
    ]
    return markdown(["density", "method", *COLUMNS], rows)


def verdicts(title: str) -> str:
    """The findings about one study, in the order of its claims."""
    (kind,) = (kind for kind in STUDIES if kind.title() == title)
    recorded = {(one["study"], one["claim"], one["measure"]): one for one in read_record("claims")}
    lines = []
    for claim in views_of(kind).claims:
        one = recorded.get((title, claim.text, claim.measure))
        text = claim.text.replace("|", "\\|")
        if one is None or one["margin"] != claim.margin:
            lines.append([text, "not checked yet", "", f"> {claim.margin:g}", claim.measure])
            continue
        numbers = f"{one['mean']:.4g} [{one['low']:.4g}, {one['high']:.4g}]"
        lines.append([text, f"**{one['verdict']}**", numbers, f"> {claim.margin:g}", claim.measure])
    return markdown(["claim", "verdict", "mean [95 % interval]", "claimed", "what is measured"], lines)


def verdict_counts(_: str) -> str:
    """How many findings hold."""
    counts = Counter(one["verdict"] for one in read_record("claims"))
    total = sum(counts.values())
    return (
        f"Of {total} findings {counts['supported']} are supported, {counts['refuted']} refuted and "
        f"{counts['undecided']} undecided at three seeds.\n"
    )


def speed(name: str) -> str:
    """What a bench measured."""
    recorded = read_record("speed")[name]
    return markdown(recorded["columns"], recorded["rows"])


def study_list(_: str) -> str:
    """Every study in a line."""
    rows = [
        [f"[`{kind.title()}`](#{kind.title()})", first_sentence(kind.__doc__ or ""), _quoted(kind.presets)]
        for kind in STUDIES
    ]
    return markdown(["study", "what it is", "presets"], rows)


def study_fields(_: str) -> str:
    """Every field of every study, and what its presets change."""
    parts = []
    for kind in STUDIES:
        listed = described(kind)
        parts.append(f'<a name="{kind.title()}"></a>\n\n## `{kind.title()}`\n\n{first_sentence(kind.__doc__ or "")}\n')
        for preset, changed in kind.presets.items():
            if changed:
                values = ", ".join(f"`{name}` {_value(value)}" for name, value in changed.items())
                parts.append(f"- **{preset}**: {values}")
        rows = [
            [f"`--{one.name.replace('_', '-')}`" + (" ◦" if one.evaluation else ""), _value(one.default), one.allowed,
             one.meaning.replace("|", "\\|")]
            for one in listed
        ]  # fmt: skip
        parts.append("\n" + markdown(["field", "default", "allowed", "meaning"], rows))
    return "\n".join(parts)


def scripts(_: str) -> str:
    """Every script and what it does."""
    rows = []
    for path in sorted(SCRIPTS.glob("*.py")):
        doc = ast.get_docstring(ast.parse(path.read_text()))
        if path.stem != "__init__" and doc:
            rows.append([f"`{path.name}`", first_sentence(doc)])
    return markdown(["script", "what it does"], rows)


def first_sentence(text: str) -> str:
    """The first paragraph of a docstring, in one line."""
    return " ".join(text.strip().split("\n\n")[0].split())


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _value(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else "none" if value == "" else str(value)


MAKERS: dict[str, Callable[[str], str]] = {
    "results": results,
    "summary": summary,
    "leaderboard": leaderboard,
    "verdicts": verdicts,
    "verdict-counts": verdict_counts,
    "speed": speed,
    "study-list": study_list,
    "study-fields": study_fields,
    "scripts": scripts,
}


def written(text: str) -> str:
    """A page with its blocks as they would be written now."""

    def block(match: re.Match[str]) -> str:
        maker, _, argument = match["name"].partition(": ")
        if maker not in MAKERS:
            raise InputError(f"there is no block '{match['name']}': there are {', '.join(MAKERS)}.")
        return f"<!-- {match['name']} -->\n{MAKERS[maker](argument)}<!-- end -->"

    return BLOCK.sub(block, text)


def main(options: Options) -> None:
    """Write, or check."""
    stale = []
    for page in PAGES:
        before = page.read_text()
        after = written(before)
        if after != before:
            stale.append(str(page.relative_to(ROOT)))
            if not options.check:
                page.write_text(after)
    if options.check and stale:
        sys.stderr.write(f"stale: {', '.join(stale)}; `make pages` writes them anew.\n")
        sys.exit(1)
    print(f"{'written' if stale else 'up to date'}: {', '.join(stale) or 'all pages'}")


if __name__ == "__main__":
    main(read(Options, about=__doc__))
