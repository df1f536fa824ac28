"""Hosts for the tests of this folder, where they can be made."""

import pytest
from support.hosts import network, why_not
from support.small_sweep import SWEEP
from support.two_workers import STUDY

from cluster.run import Run


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """Three hosts with a shared folder."""
    if why := why_not():
        pytest.skip(why)
    with network(3, tmp_path_factory.mktemp("hosts")) as made:
        yield made


@pytest.fixture(scope="session")
def swept(tmp_path_factory):
    """The small sweep's runs, each trained by itself."""
    storage = tmp_path_factory.mktemp("undisturbed")
    runs = [Run(study, storage, sweep=SWEEP.slug) for seed in SWEEP.seeds for study in SWEEP.trained(seed)]
    for run in runs:
        run.execute(figures=False)
    return {run.key: run.path for run in runs}


@pytest.fixture(scope="session")
def alone(tmp_path_factory):
    """The training, in one process that nothing happens to."""
    run = Run(STUDY, tmp_path_factory.mktemp("undisturbed"))
    run.execute(figures=False)
    return run.path
