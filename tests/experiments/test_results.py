"""The results' command: pictures of the first seeds."""

from dataclasses import replace

from cluster.run import Run
from experiments import results
from experiments.results import Family, ResultOptions, fill_gallery
from genlib import SpiralDiffusion


def test_pictures_are_those_of_the_rows_own_evaluation(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "GALLERY", tmp_path)
    monkeypatch.setattr(results, "PICTURES", {"ours": ("noising", "samples")})
    study = SpiralDiffusion.preset("tiny")
    options = ResultOptions(storage=tmp_path / "runs")
    Run(replace(study, samples=60), options.root).execute()  # whoever asked first looked at it otherwise
    Run(study, options.root).execute(figures=True)
    fill_gallery(["ours", "another"], Family({"ours": study, "another": study}, {}, 1), options)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [
        "spiral-diffusion-noising.png",
        "spiral-diffusion-samples.png",
    ]
