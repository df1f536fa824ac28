"""Many runs at once: a Ray task per run, one thread each, results as they come."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ray

from cluster.run import Run
from cluster.session import ray_session
from cluster.storage import open_storage
from genlib import Study


class Done(NamedTuple):
    """A run that ended: the study, its directory, and what `work` made of it."""

    study: Study[Any]
    path: Path
    value: Any


def run_many(
    studies: Sequence[Study[Any]], storage: str | Path, work: Callable[[Run], Any], *, cpus: int | None = None
) -> Iterator[Done]:
    """Do `work` on every distinct run, in parallel; yield each as it ends. A failure stops the rest."""
    storage = open_storage(Path(storage).absolute())
    distinct = list(dict.fromkeys(studies))
    with ray_session(cpus):
        waiting = {_work.remote(study, str(storage), work): study for study in distinct}
        began = time.monotonic()
        while waiting:
            (ready, *_), _ = ray.wait(list(waiting), num_returns=1)
            study = waiting.pop(ready)
            try:
                value = ray.get(ready)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None  # the sentence itself, not the remote traceback
            done = len(distinct) - len(waiting)
            minutes = (time.monotonic() - began) / 60
            left = f"{minutes:.1f} min, about {minutes / done * len(waiting):.1f} to go"
            sys.stderr.write(f"{done}/{len(distinct)} runs done, {left}: {study.title()} {study.key()}\n")
            yield Done(study, Run(study, storage).path, value)


@ray.remote(num_cpus=1, max_retries=3)
def _work(study: Study[Any], storage: str, work: Callable[[Run], Any]) -> Any:
    import torch

    torch.set_num_threads(1)
    return work(Run(study, storage))
