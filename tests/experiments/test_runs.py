"""`runs.py`: what is in a storage."""

import pytest

from cluster.run import Run
from genlib import InputError, PointDiffusion


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
