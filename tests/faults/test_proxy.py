"""Lost, cut and late answers between mirror and MLflow: every run is shown once, and whole."""

import time
from collections import Counter

import pytest
from support.evidence import SEED, dice, faults, mlflow_equals_journal, mlflow_runs, replay
from support.mlflow_server import server_in
from support.proxy import proxy_to

from cluster.journal import read_rows
from cluster.mirror.bring import Mirror
from cluster.run import Run
from cluster.storage import run_folders
from genlib import PointDiffusion

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
FAULTS = 500


def study(seed):
    return PointDiffusion.preset(
        "tiny", seed=seed, steps=40, validate_every=10, log_every=2, samples=50, sampling_steps=2, likelihood_points=4,
        likelihood_steps=1, bound_draws=2, width=4, points=50, batch_size=16,
    )  # fmt: skip


class Killed(Exception):
    """Stands in for a crash."""


def begin(storage, seed):
    """A run that was interrupted, for the mirror to see on its way."""

    def listener(progress):
        if progress.step >= 20:
            raise Killed

    with pytest.raises(Killed):
        Run(study(seed), storage).train(listener=listener)


def bring_until_shown(storage, proxy, caught, *, tries):
    """As the mirror's process does: whatever is raised, begin again; until a pass finds nothing new."""
    mirror = None
    for _ in range(tries):
        try:
            mirror = mirror or Mirror(storage)
            if not mirror.bring_everything():
                return
        except Exception as error:
            caught[type(error).__name__] += 1
            mirror = None
    pytest.fail(f"{replay('proxy')}: not shown after {tries} tries and {proxy.count} faults: {caught}", pytrace=False)


def test_a_bad_network_makes_no_second_run_and_loses_nothing(tmp_path, monkeypatch, record_property, capsys):
    random, said = dice("proxy"), replay("proxy")
    storage, caught, began, seed = tmp_path / "runs", Counter(), time.monotonic(), 0
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with server_in(tmp_path) as server:
        server.start()
        server.wait()
        with proxy_to(server.port, seed=SEED, share=0.3, most=faults(FAULTS), longest=2.5) as proxy:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{proxy.port}")
            while proxy.count < proxy.most:
                begin(storage, seed)
                if random.random() < 0.5:  # seen half done, too
                    bring_until_shown(storage, proxy, caught, tries=proxy.most + 10)
                looks = [study(seed), PointDiffusion(**(study(seed).fields() | {"sampling_steps": 3}))]
                Run(study(seed), storage).execute(looks=looks[: random.choice([1, 2])], figures=False)
                bring_until_shown(storage, proxy, caught, tries=proxy.most + 10)
                seed += 1
            bring_until_shown(storage, proxy, caught, tries=5)
        capsys.readouterr()
        assert proxy.count == proxy.most
        assert len(list(run_folders(storage))) == seed
        assert all(read_rows(path / "journal")[-1]["step"] == 40 for path in run_folders(storage))
        mlflow_equals_journal(storage, server.uri, said)
        models = [len(run.outputs.model_outputs) if run.outputs else 0 for run in mlflow_runs(server.uri)[1]]
        assert max(models) == 1, f"{said}: models of each run: {models}"
    record_property("seconds", time.monotonic() - began)
    record_property("runs", seed)
    record_property("faults", dict(proxy.met))
    record_property("exchanges", proxy.exchanges)
    record_property("caught", dict(caught))
