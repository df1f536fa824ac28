"""The MLflow UI in headless Chromium: a sweep's parent and children, two runs compared, a figure opened.

Screenshots are left in the folder that GENLIB_SCREENSHOTS names, to be looked at; here only what they say is checked.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.mirror import RUNS
from cluster.mirror.bring import Mirror
from cluster.run import Run
from genlib import PointDiffusion
from tuning.engine import run_sweep
from tuning.sweep import Placement, Sweep

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
HERE = Path(__file__).parent
STUDY = PointDiffusion.preset("tiny", samples=100, likelihood_points=20)


@pytest.fixture(scope="module")
def chromium():
    installed = subprocess.run([HERE / "install_chromium.sh"], capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"chromium cannot be installed: {installed.stderr[-200:]}")
    return shutil.which("chromium")


@pytest.fixture(scope="module")
def shown(tmp_path_factory, session):
    """A mirrored sweep and a run with figures, and a UI on them: (its address, the client)."""
    storage = tmp_path_factory.mktemp("ui") / "runs"
    sweep = Sweep(
        name="tiny sweep", study=STUDY, space={"schedule": ["exp3", "exp5"], "sampling_steps": [2, 8]}, metric="nll"
    )
    run_sweep(sweep, Placement(storage))
    Run(replace(STUDY, seed=7), storage).execute()
    mirror = Mirror(storage)
    mirror.bring_everything()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", f"sqlite:///{storage}/mlflow.db"]
    command += ["--port", str(port), "--workers", "1"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as server:
        address = f"http://127.0.0.1:{port}"
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        yield address, mirror.store.client
        os.killpg(server.pid, 15)


@pytest.fixture
def look(chromium, tmp_path):
    """Open a page; returns its text, and leaves a picture."""

    def open_page(address, name, size="1500,900"):
        pictures = Path(os.environ.get("GENLIB_SCREENSHOTS", tmp_path))
        pictures.mkdir(parents=True, exist_ok=True)
        command = [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
            f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={size}", "--virtual-time-budget=40000",
        ]  # fmt: skip
        picture = pictures / f"{name}.png"
        subprocess.run([*command, f"--screenshot={picture}", address], capture_output=True, timeout=120, check=True)
        assert picture.stat().st_size > 20_000
        done = subprocess.run(
            [*command, "--dump-dom", address], capture_output=True, timeout=120, check=True, text=True
        )
        return re.sub(r"<[^>]+>", " ", done.stdout)

    return open_page


def runs_of(client):
    experiment = client.get_experiment_by_name("point-diffusion").experiment_id
    return experiment, {run.info.run_name: run for run in client.search_runs([experiment])}


def test_a_sweep_shows_parent_and_children(shown, look):
    address, client = shown
    experiment, runs = runs_of(client)
    assert "tiny sweep" in look(f"{address}/#/experiments/{experiment}/runs", "runs")
    text = look(f"{address}/#/experiments/{experiment}/runs/{runs['tiny sweep'].info.run_id}", "sweep")
    assert "Child runs" in text
    assert "schedule exp3" in text
    assert "schedule exp5" in text


def test_the_address_that_is_printed_opens_on_experiments_of_models(shown, look):
    address, _ = shown
    text = look(f"{address}{RUNS}", "front")
    assert "point-diffusion" in text
    assert "Model registry" in text
    assert "Prompts" not in text


def test_two_runs_are_compared(shown, look):
    address, client = shown
    experiment, runs = runs_of(client)
    chosen = [runs[name].info.run_id for name in ("schedule exp3, seed 0", "schedule exp5, seed 0")]
    pair = "[" + ",".join(f'"{run}"' for run in chosen) + "]"
    text = look(f'{address}/#/compare-runs?runs={pair}&experiments=["{experiment}"]', "compare", "1500,1500")
    assert "Comparing 2 Runs" in text
    assert "schedule" in text


def test_a_figure_is_opened(shown, look):
    address, client = shown
    experiment, runs = runs_of(client)
    run = next(run for name, run in runs.items() if name.startswith("point-diffusion")).info.run_id
    text = look(f"{address}/#/experiments/{experiment}/runs/{run}/artifacts/figures/samples.png", "figure")
    assert "samples.png" in text
