"""Train one study, evaluate it and draw its figures; the same command again continues, or finds it done.

python experiments/train.py STUDY [--preset report|best|tiny] [--FIELD value …] [--from RUN] [--storage runs]

STUDY is a name of the list below, or the place of a class of your own: path/to/mine.py:Mine.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Annotated, Any

from cluster.directory import Result
from cluster.execution import execute
from cluster.files import RunFailed
from cluster.needs import needs_of, train_needs
from cluster.opening import open_study
from cluster.plan import Plan, probe, refuse_too_large
from cluster.run import Run, start_anew
from cluster.states import Origin
from cluster.stopping import held_here, on_stop, stop_runs
from cluster.storage import find_run
from experiments.command.arguments import HELP, Called, fields_of, options_of, read_with_fields, show_help
from experiments.command.console import conclude, metrics_table, print_lines
from experiments.command.exits import exit_with_a_sentence
from experiments.command.options import Options, begin, end
from experiments.command.watching import watching_run
from genlib import STUDIES, Diverged, InputError, Launch, Study, find_study
from genlib.checkpoint import checkpoints


@dataclass(frozen=True)
class TrainOptions(Options):
    """Where and how to run; besides the study's fields, only --from changes the result's identity."""

    preset: str = "report"
    """Named set of the study's fields; fields on the command line override it."""
    epochs: float | None = None
    """Passes through the training data: another way to say --steps, where the data are finite."""
    origin: Annotated[str, Called("from")] = ""
    """Run, by path or key, whose fields and state this one starts from; --steps must be above its own."""


def parse(arguments: list[str]) -> tuple[TrainOptions, Study[Any]]:
    """The options and the study, from the command line."""
    titles = ", ".join(kind.title() for kind in STUDIES)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"{__doc__}\nstudies: {titles}; `train.py STUDY --help` lists a study's fields.")
        sys.exit(0)
    named, *rest = arguments
    kind = find_study(named)
    asks_help = any(word in HELP for word in rest)
    options, changes = read_with_fields(TrainOptions, kind, [word for word in rest if word not in HELP])
    base = kind.preset(options.preset)
    if asks_help:
        presets = f"presets: {', '.join(kind.presets)}"
        groups = [
            ("options", options_of(TrainOptions)),
            (f"fields, as preset {options.preset} has them", fields_of(base)),
        ]
        show_help(groups, f"{kind.__doc__}\n\n{presets}", f"train.py {kind.title()}")
    if options.origin:
        base = open_study(find_run(options.origin, options.root))
        if type(base) is not kind:
            raise InputError(f"{options.origin} is a run of {base.title()}: give that study, or another run.")
    if options.epochs is not None and "steps" in changes:
        raise InputError("--epochs and --steps are two words for one thing: give one of them.")
    epochs = {} if options.epochs is None else {"epochs": options.epochs}
    return options, base.with_fields(changes | epochs)


def origin_of(options: TrainOptions, study: Study[Any]) -> Origin | None:
    """The run to start from, at its newest checkpoint."""
    if not options.origin:
        return None
    path = find_run(options.origin, options.root)
    steps = [int(folder.name.partition("-")[2]) for folder in checkpoints(path / "checkpoints")]
    if not steps:
        raise InputError(f"{path} holds no checkpoint to start from: run its study first.")
    if study.steps <= steps[-1]:
        raise InputError(f"{path} is at update {steps[-1]} already: give --steps more than that.")
    return Origin(path, path.name, steps[-1])


def main(arguments: list[str]) -> None:
    """Train, measure, draw, mirror, and say where everything is."""
    options, study = parse(arguments)
    options.check()
    group = options.group
    launch = options.launch if group.most == 1 else Launch()
    group.check(study)
    refuse_too_large(study, options.device, group)
    run = Run(study, options.root, origin=origin_of(options, study))
    if options.plan:
        have = _resources()
        needed = tuple(need.title() for need in needs_of([study]))
        plan = Plan(1, 1, group, have, probe([study], launch), needed).check()
        print_lines(options.console, {"run": str(run.path), "status": run.result().status})
        options.console.print("\n".join(plan.lines()), highlight=False, soft_wrap=True)
        return
    if group.most > 1:
        Plan(1, 1, group, _resources(), 0.0).check()
    begin(options)
    if options.fresh and (aside := start_anew(run)):
        sys.stderr.write(f"the earlier run is kept in {aside}\n")
    result = _in_process(run, options) if group.most == 1 else _on_workers(run, options)
    if result.status == "FINISHED":
        options.console.print(metrics_table(f"{study.title()} {run.key}", result.metrics))
    figures = run.evaluation_folder(study) / "figures"
    print_lines(options.console, {"run": str(run.path)} | ({"figures": str(figures)} if figures.exists() else {}))
    end(options)
    conclude([result], as_json=options.json)


def _in_process(run: Run, options: TrainOptions) -> Result:
    runs = [*(Run(need, options.root) for need in needs_of([run.study])), run]
    with on_stop(lambda name: stop_runs(held_here(runs), name)), watching_run(runs):
        try:
            execute(run, device=options.device, figures=True, any_device=options.any_device)
        except (Diverged, RunFailed) as error:
            return run.result()._replace(status="FAILED", message=str(error))
    return run.result()


def _on_workers(run: Run, options: TrainOptions) -> Result:
    from cluster.session import ray_session
    from cluster.workers import execute_with_workers

    needs = [Run(need, options.root) for need in needs_of([run.study])]
    with (
        ray_session(verbose=options.verbose),
        on_stop(lambda name: stop_runs([*held_here(needs), run], name)),  # after Ray, which sets a handler of its own
        watching_run([run]) if not options.verbose else nullcontext(),
    ):
        train_needs([run.study], run.storage)
        return execute_with_workers(run, options.group, any_device=options.any_device)


def _resources() -> dict[str, float]:
    from cluster.session import available

    return available()


if __name__ == "__main__":
    with exit_with_a_sentence():
        main(sys.argv[1:])
