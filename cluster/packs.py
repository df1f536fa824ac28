"""Packs of runs: several train as one, and each stays a run like any other, with its own directory.

A member has its lease, journal, checkpoints and result as if it were alone; only the lines of one report are synced
together, before anybody hears of them. Killed at any moment, its members go on in another pack, or alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple

from cluster.journal import Journal
from cluster.run import Run
from genlib import Diverged, Launch, Progress, Study
from genlib.packs import Reports, train_pack

Heard = Callable[[dict[Run, Progress]], Collection[Run]]
"""Hears of the progress of the members, and says who of them ends early."""


class Outcome(NamedTuple):
    """How a member ended: its metrics under every look, or why there are none; one that was ended early has neither."""

    run: Run
    metrics: list[dict[str, float]]
    error: Exception | None = None


class _Member:
    """A run that is held, at the state where it goes on."""

    def __init__(self, run: Run, launch: Launch, *, any_device: bool) -> None:
        self.run, self._held = run, ExitStack()
        lease = self._held.enter_context(run.claimed(launch))
        try:
            run.states.refuse_other_device(launch, any_device)
            self.state = run.states.newest(launch)
            self.journal = Journal(run.path / "journal", lease, device=launch.kind, workers=1)
        except BaseException as error:
            self.end(error)
            raise

    def end(self, error: BaseException | None = None) -> None:
        """Let the run go; how it ends is written in its directory."""
        with suppress(Exception):
            self._held.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)


def execute_pack(
    runs: Sequence[Run],
    launch: Launch | None = None,
    heard: Heard | None = None,
    *,
    looks: Callable[[Study[Any]], Sequence[Study[Any]]] = lambda study: (study,),
    figures: bool = False,
    evaluation: bool = True,
    any_device: bool = False,
) -> list[Outcome]:
    """Train runs as one, then evaluate each; returns how each ended, in their order.

    What befalls one (it diverges, is taken over, is asked to stop) does not touch the others.

    Arguments:
        looks: the studies under which a study is evaluated.
    """
    launch = launch or Launch()
    ended: dict[int, Outcome] = {}
    members: dict[int, _Member] = {}
    for k, run in enumerate(runs):
        try:
            known = run.known(looks(run.study) if evaluation else (), figures=figures)
            if known is not None:
                ended[k] = Outcome(run, known)
                continue
            members[k] = _Member(run, launch, any_device=any_device)
        except Exception as error:  # it fails for itself: held by another process, or its directory says why
            ended[k] = Outcome(run, [], error)

    def lose(k: int, error: BaseException | None) -> None:
        if k not in ended:
            members[k].end(error)
            ended[k] = Outcome(runs[k], [], error if isinstance(error, Exception) else None)

    try:
        _train(members, launch, heard, lose)
        for k, member in members.items():
            if k in ended:
                continue
            try:
                trained = member.run.finished(member.state, launch)
                metrics = member.run.conclude(trained, looks(member.run.study), figures=figures, evaluation=evaluation)
            except Exception as error:
                lose(k, error)
                continue
            member.end()
            ended[k] = Outcome(member.run, metrics)
    except BaseException as error:
        for k in members:
            lose(k, error)
        raise
    return [ended[k] for k in range(len(runs))]


def _train(
    members: dict[int, _Member], launch: Launch, heard: Heard | None, lose: Callable[[int, BaseException | None], None]
) -> None:
    """Train all members that are not at their ends."""
    order = list(members)
    lost: set[int] = set()

    def stops(place: int) -> bool:
        return order[place] in lost or members[order[place]].run.lease.is_asked_to_stop()

    studies = [members[k].run.study for k in order]
    states = [members[k].state for k in order]
    for k in order:
        members[k].run.states.beside = len(order)
    for reports in train_pack(studies, states, launch=launch, stop=stops) if order else ():
        for k, error in _written({order[place]: report for place, report in reports.items()}, members, lost):
            lost.add(k)
            lose(k, error)
        there = {order[place]: report for place, report in reports.items() if order[place] not in lost}
        going = {members[k].run: report for k, report in there.items() if isinstance(report, Progress)}
        early = heard(going) if heard and going else ()
        for k in [k for k in there if members[k].run in early]:
            lost.add(k)
            try:
                members[k].run.end_early(going[members[k].run].step)
                lose(k, None)
            except Exception as error:
                lose(k, error)


def _written(reports: Reports, members: dict[int, _Member], lost: set[int]) -> list[tuple[int, Exception]]:
    """Journal one report of every member, sync all, then save what is due; returns who was lost on the way."""
    gone: dict[int, Exception] = {k: report for k, report in reports.items() if isinstance(report, Diverged)}
    there = {k: report for k, report in reports.items() if isinstance(report, Progress) and k not in lost}

    def each(do: Callable[[_Member, Progress], None]) -> None:
        for k, progress in there.items():
            if k not in gone:
                try:
                    do(members[k], progress)
                except Exception as error:
                    gone[k] = error

    each(lambda member, progress: member.journal.append(progress.step, progress.metrics, synced=False))
    each(lambda member, progress: member.journal.sync() if progress.metrics else None)
    each(lambda member, progress: member.run.keep(progress, member.journal))
    return list(gone.items())
