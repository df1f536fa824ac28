"""Bring MLflow up to date with the run directories, and wait until it is.

python experiments/mirror.py [--storage runs] [--again] [--stay]

Runs are mirrored while they run; this script is for a server that was away, an MLflow that was wiped, or another one:
set MLFLOW_TRACKING_URI, and everything is shown there too. With --stay it is the service of a deployment.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import genlib
from cluster.copies import MARK
from cluster.holders import newest_epoch
from cluster.mirror import (
    NOWHERE,
    mirror_folder,
    refuse_unusable,
    start_mirror,
    tracking_uri,
    ui_command,
    wait_until_shown,
)
from cluster.mirror.process import mirror_for_ever
from cluster.secrets import scrub_streams
from cluster.storage import open_storage, run_folders, storage_from
from cluster.words import words
from experiments.command.arguments import read
from experiments.command.exits import exit_with_a_sentence
from experiments.command.watching import every_second
from genlib import InputError


@dataclass(frozen=True)
class Options:
    """Which storage to show, and how."""

    storage: Path | None = None
    """The storage folder. [GENLIB_STORAGE, else ./runs]"""
    again: bool = False
    """Forget what was shown: look everything up, and send it once more."""
    own: tuple[str, ...] = ()
    """Places of your own studies, path/to/mine.py:Mine, whose models are to be exported too."""
    stay: bool = False
    """Go on for ever, as a service: show what comes, until the process is ended."""
    minutes: float = 60.0
    """Minutes to wait at most."""


def main(options: Options) -> None:
    """Start the mirror if it is not running, and wait until everything is shown."""
    for place in options.own:
        genlib.find_study(place)
    storage = storage_from(options.storage)
    if options.stay:
        open_storage(storage)
    if not (storage / MARK).exists():
        raise InputError(f"{storage} is no storage of genlib's: give --storage.")
    if tracking_uri(storage) == NOWHERE:
        raise InputError(
            "MLFLOW_TRACKING_URI is 'none', so there is nowhere to show them: unset it, or give an address."
        )
    warning = refuse_unusable(storage)
    if options.stay:
        sys.stderr.write(f"showing {storage} in MLflow as it comes: {ui_command(storage)}\n")
        scrub_streams()
        mirror_for_ever(storage, again=options.again, own=options.own)
    if warning:
        raise InputError(warning)
    before = newest_epoch(mirror_folder(storage) / "lease") if options.again else 0
    start_mirror(storage, again=options.again)
    began = time.monotonic()
    with every_second(
        lambda line: line.show(f"showing everything in MLflow, {words(time.monotonic() - began)} so far")
    ):
        notice = wait_until_shown(storage, seconds=60 * options.minutes, after=before)
    if notice:
        sys.stderr.write(f"{notice}\n")
        sys.exit(1)
    print(f"{len(list(run_folders(storage)))} runs are shown: {ui_command(storage)}")


if __name__ == "__main__":
    with exit_with_a_sentence():
        main(read(Options, about=__doc__))
