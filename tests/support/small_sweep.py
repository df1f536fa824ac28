"""Six runs of some seconds, for the tests on several hosts."""

from collections.abc import Mapping
from pathlib import Path

from cluster.directory import read_result
from cluster.files import read_json
from cluster.storage import run_folders
from experiments.command.sweeps import sweep_script
from genlib import PointDiffusion
from support.evidence import journal_of, same_weights, weights_of
from tuning.sweep import Sweep

STUDY = PointDiffusion.preset(
    "tiny",
    steps=1_500,
    validate_every=100,
    log_every=20,
    samples=100,
    likelihood_points=20,
    width=128,
    batch_size=1_000,
)
SWEEP = Sweep(
    name="small", study=STUDY, space={"learning_rate": [1e-3, 2e-3, 3e-3], "schedule": ["exp5"]},
    metric="sliced_wasserstein", seeds=(0, 1),
)  # fmt: skip


def assert_whole(storage: Path, swept: Mapping[str, Path]) -> None:
    """Every run of the sweep is the undisturbed one."""
    paths = {path.name: path for path in run_folders(storage)}
    assert paths.keys() == swept.keys()
    for key, path in paths.items():
        assert read_result(path).status == "FINISHED"
        assert journal_of(path) == journal_of(swept[key])
        assert same_weights(weights_of(path), weights_of(swept[key]))
    record = read_json(storage / SWEEP.slug / "sweep.json")
    assert record["status"] == "FINISHED"
    assert len(record["settings"]) == len(swept)


if __name__ == "__main__":
    sweep_script(SWEEP, across="learning_rate", by="schedule")
