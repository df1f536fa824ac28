"""`runs.py`: what is in a storage."""

import subprocess
import sys
import time
from dataclasses import replace

import pytest

from cluster.run import Run, start_anew
from cluster.states import Origin
from cluster.sweep_record import SweepRecord, Tried, write_sweep
from genlib import InputError, PointDiffusion
from genlib.checkpoint import checkpoints


def listed(storage, capsys):
    from experiments.runs import main

    main(["list", "--storage", str(storage)])
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


@pytest.mark.parametrize("words", [["runs.py", "--help"], ["runs.py", "list", "--help"], ["mirror.py", "--help"]])
def test_options_are_told_without_torch(words):
    script, *rest = words
    code = (
        f"import atexit, runpy, sys; sys.argv = {[script, *rest]}\n"
        "atexit.register(lambda: sys.stderr.write(str({'torch', 'ray', 'mlflow'} & set(sys.modules))))\n"
        f"runpy.run_path('experiments/{script}', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "set()"
    assert "--storage" in done.stdout or "COMMAND --help" in done.stdout


def test_the_runs_of_a_sweep_are_listed_without_torch(tmp_path):
    run = Run(PointDiffusion.preset("tiny"), tmp_path, sweep="seeds")
    run.execute(evaluation=False)
    record = SweepRecord(
        name="seeds", study="point-diffusion", space={}, metric="nll", began=0.0, settings=[Tried({}, 0, run.key)]
    )
    write_sweep(tmp_path / "seeds", record)
    code = (
        "import sys; from experiments.runs import main\n"
        f"main(['list', '--storage', {str(tmp_path)!r}]); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "seed 0" in done.stdout
    assert done.stdout.endswith("False\n")


def test_the_list_shows_settings_and_early_ends_and_a_difference_the_origin(tmp_path, capsys):
    from experiments.runs import main

    lone = Run(PointDiffusion.preset("tiny", width=24), tmp_path)
    lone.execute(evaluation=False)
    swept = Run(PointDiffusion.preset("tiny", learning_rate=0.00123456), tmp_path, sweep="rates")
    swept.execute(evaluation=False)
    swept.take_and_mark("FINISHED", "", stopped_early=10)
    tried = [Tried({"learning_rate": 0.00123456}, 0, swept.key)]
    record = SweepRecord(
        name="rates", study="point-diffusion", space={}, metric="nll", began=0.0, settings=tried, status="FINISHED"
    )
    write_sweep(tmp_path / "rates", record)
    said = listed(tmp_path, capsys)
    assert "tiny, width 24 FINISHED 20/20" in said
    assert "learning_rate 0.00123, seed 0 FINISHED, early 20/20" in said
    longer = replace(lone.study, steps=40)
    extended = Run(longer, tmp_path, origin=Origin(lone.path, lone.key, 20))
    extended.execute(evaluation=False)
    main(["diff", lone.key, extended.key, "--storage", str(tmp_path)])
    assert f"begun from │ – │ {lone.key} at 20" in " ".join(capsys.readouterr().out.split())


def test_figures_are_drawn_on_demand(tmp_path, capsys):
    from experiments.runs import main

    run = Run(PointDiffusion.preset("tiny"), tmp_path, sweep="a-sweep")
    (metrics,) = run.execute(figures=False)
    main(["draw", run.key, "--storage", str(tmp_path)])
    assert (run.evaluation_folder(run.study) / "figures" / "samples.png").exists()
    assert str(run.evaluation_folder(run.study)) in capsys.readouterr().out
    assert run.result().metrics == metrics
    moved = run.path.rename(run.path.with_name("mine"))
    with pytest.raises(InputError, match="is no longer where its run was made: move it back"):
        main(["draw", str(moved), "--storage", str(tmp_path)])
    assert not run.path.exists()


def test_what_was_moved_aside_is_pruned_when_it_is_old(tmp_path, capsys):
    from experiments.runs import main

    storage = tmp_path / "runs"
    run = Run(PointDiffusion.preset("tiny"), storage)
    run.train()
    young = start_anew(run)
    run.train()
    month = time.time_ns() - 31 * 86_400 * 10**9
    old = run.path / "checkpoints" / f"aside-step-00000020-{month}"
    old.mkdir()
    (run.path / "aside-notes-of-mine").touch()  # nobody's but the user's
    main(["prune", "--storage", str(storage)])
    assert "1 thing that was moved aside" in (said := capsys.readouterr().out)
    assert f"would delete {old}" in said
    assert old.exists()
    main(["prune", "--yes", "--storage", str(storage)])
    assert not old.exists()
    assert young.exists()
    main(["prune", "--days", "0", "--yes", "--storage", str(storage)])
    assert not young.exists()
    assert (run.path / "aside-notes-of-mine").exists()
    assert checkpoints(run.path / "checkpoints")
    with pytest.raises(InputError, match="--days: got -1"):
        main(["prune", "--days=-1", "--storage", str(storage)])


def test_what_is_deleted_lies_in_the_storage(tmp_path):
    from experiments.runs import main

    run = Run(PointDiffusion.preset("tiny"), tmp_path / "runs")
    other = Run(PointDiffusion.preset("tiny", seed=1), tmp_path / "others")
    for one in (run, other):
        one.execute(evaluation=False)
    for named in (str(other.path), f"../others/point-diffusion/{other.key}"):
        with pytest.raises(InputError, match=r"is not in the storage .* Nothing was deleted"):
            main(["delete", run.key, named, "--yes", "--storage", str(tmp_path / "runs")])
    assert run.path.exists()
    main(["delete", str(other.path), "--yes", "--storage", str(tmp_path / "others")])
    assert not other.path.exists()


def test_runs_are_listed_shown_compared_and_deleted(tmp_path, capsys):
    from experiments.runs import main

    runs = [Run(PointDiffusion.preset("tiny", seed=seed), tmp_path) for seed in (0, 1)]
    for run in runs:
        run.execute(figures=False)
    one, other = (run.key for run in runs)
    main(["list", "--storage", str(tmp_path)])
    listed = capsys.readouterr().out
    assert one in listed
    assert "20/20" in listed
    main(["show", one, "--storage", str(tmp_path)])
    assert "batch_size" in capsys.readouterr().out
    main(["diff", one, other, "--storage", str(tmp_path)])
    compared = capsys.readouterr().out
    assert "seed" in compared
    assert "batch_size" not in compared
    main(["delete", one, "--storage", str(tmp_path)])
    assert runs[0].path.exists()
    main(["delete", one, "--yes", "--storage", str(tmp_path)])
    assert not runs[0].path.exists()
    with pytest.raises(InputError, match="there is no run"):
        main(["delete", one, "--yes", "--storage", str(tmp_path)])
