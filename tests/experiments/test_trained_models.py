"""What is done with a trained model: samples, scores of points and texts, texts that go on."""

import numpy as np
import pytest
import torch
from support.scripts import run_script

from cluster.opening import open_run
from cluster.run import Run
from genlib import ColourTransfer, ImageDiffusion, InputError, PointDiffusion, TinyGPT, VICReg


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run by class, in a storage."""
    study = PointDiffusion.preset("tiny", classes=5)
    run = Run(study, tmp_path_factory.mktemp("runs"))
    run.execute(figures=False)
    return run


def test_samples_are_drawn_from_a_run(trained, tmp_path):
    out = tmp_path / "some.npz"
    arguments = [trained.key[:6], "--storage", trained.storage, "--count", 30, "--out", out]
    done = run_script("sample", *arguments, "--sampling-steps", 3)
    assert done.returncode == 0, done.stderr
    first = dict(np.load(out))
    assert first["x"].shape == (30, 2)
    assert first["y"].shape == (30,)
    run_script("sample", *arguments, "--seed", 1)
    assert not np.array_equal(np.load(out)["x"], first["x"])
    done = run_script("sample", *arguments, "--width", 3)
    assert done.returncode == 2
    assert "'width' made the model" in done.stderr
    assert run_script("sample", "nothing", "--storage", trained.storage).returncode == 2


def test_points_are_scored(trained, tmp_path):
    points = tmp_path / "mine.csv"
    points.write_text("x,y,class\n0.1,0.2,0\n-1.5,1.5,4\n")
    done = run_script("score", trained.key, points, "--storage", trained.storage)
    assert done.returncode == 0, done.stderr
    scored = np.loadtxt(tmp_path / "mine.scored.csv", delimiter=",", skiprows=1)
    opened = open_run(trained.path)
    expected = opened.study.log_prob(opened.model, torch.tensor([[0.1, 0.2], [-1.5, 1.5]]), torch.tensor([0, 4]))
    np.testing.assert_allclose(scored[:, -1], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no points"),
        ("1,2\n", "has 2 columns: this run needs 2 and the class"),
        ("1,2,9\n", "a class is not one of 0 to 4"),
        ("1,2,0\n1,zwei,0\n", "line 2: '1,zwei,0' is not numbers"),
        ("1,2,0\n1,2\n", "line 2: 2 columns, the lines before have 3"),
        ("1,inf,0\n", "point 1 has inf; allowed is a number between"),
    ],
)
def test_points_that_cannot_be_scored_are_named(trained, tmp_path, text, said):
    from experiments.score import Options, main

    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        main(Options(trained.key, (tmp_path / "mine.csv",), storage=trained.storage))


def test_a_study_of_images_scores_no_points(tmp_path):
    from experiments.score import Options, main

    points = tmp_path / "mine.csv"
    points.write_text("0.1,0.2\n")
    run = Run(ColourTransfer.preset("tiny"), tmp_path / "runs")
    run.execute(figures=False, evaluation=False)
    with pytest.raises(InputError, match="colour-transfer is a study of images: give a run of a study of points"):
        main(Options(str(run.path), (points,)))


def test_text_is_generated_and_scored(tmp_path, capsys):
    from experiments import generate, score

    run = Run(TinyGPT.preset("tiny"), tmp_path / "runs")
    run.execute(figures=False, evaluation=False)
    generate.main(generate.Options(str(run.path), "The queen", tokens=30, temperature=0))
    text = capsys.readouterr().out
    assert text.startswith("The queen")
    assert len(text) == len("The queen") + 30 + 1
    score.main(score.Options(str(run.path), text="The queen sees", out=tmp_path / "scored.csv"))
    said = capsys.readouterr().out
    values = [float(line.rpartition(",")[2]) for line in (tmp_path / "scored.csv").read_text().splitlines()[1:]]
    assert len(values) == 13
    assert f"total {sum(values):.4f} nats" in said
    with pytest.raises(InputError, match="--text: got 'T'; give at least two tokens"):
        score.main(score.Options(str(run.path), text="T"))
    for wrong, words in (
        ({"temperature": -1.0}, "allowed is 0, or 0.01 to 100"),
        ({"top_p": 0.0}, "above 0"),
        ({"tokens": 0}, "least 1"),
    ):
        with pytest.raises(InputError, match=words):
            generate.main(generate.Options(str(run.path), "The", **wrong))
    with pytest.raises(InputError, match="'Ω': not among"):
        generate.main(generate.Options(str(run.path), "Ω"))
    with pytest.raises(InputError, match="tiny-gpt scores texts: give --text"):
        score.main(score.Options(str(run.path), (tmp_path / "points.csv",)))
    with pytest.raises(InputError, match="or --text for one of text"):
        score.main(score.Options(str(run.path)))


def test_images_are_scored_beside_their_nearest_training_images(tmp_path, capsys):
    from PIL import Image

    from experiments.score import Options, main

    study = VICReg.preset("tiny")
    run = Run(study, tmp_path / "runs")
    run.execute(figures=False, evaluation=False)
    rows = torch.tensor([3, 77])
    files = [tmp_path / f"{row}.png" for row in rows.tolist()] + [tmp_path / "inverted, with a rather long name.png"]
    pictures = [*study.images.train.x[rows, 0].numpy(), 255 - study.images.train.x[3, 0].numpy()]
    for path, pixels in zip(files, pictures, strict=True):
        Image.fromarray(pixels).save(path)
    Image.open(files[2]).convert("RGB").resize((50, 90)).save(files[2])
    table, picture = tmp_path / "scored.csv", tmp_path / "near.png"
    main(Options(str(run.path), tuple(files), out=table, picture=picture))
    lines = [line.split(",") for line in table.read_text().splitlines()[1:]]
    # Their own training images are nearest, and the mean with the second nearest is small.
    assert [line[-5] for line in lines[:2]] == ["3", "77"]
    assert float(lines[2][-7]) > float(lines[0][-7])
    assert "odder than" in capsys.readouterr().out
    assert picture.stat().st_size > 1_000
    broken = tmp_path / "broken.png"
    broken.write_bytes(files[0].read_bytes()[:60])
    text = tmp_path / "text.png"
    text.write_text("no image")
    for wrong, words in (
        (broken, "cannot be read as an image"),
        (text, "is no image"),
        (tmp_path / "nowhere.png", "No such file"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(InputError, match=words):
            main(Options(str(run.path), (wrong,)))
    with pytest.raises(InputError, match=r"--picture: .* cannot be written"):
        main(Options(str(run.path), tuple(files), picture=tmp_path / "near.wrong"))
    free = Run(VICReg.preset("tiny", codes=True), tmp_path / "runs")
    free.execute(figures=False, evaluation=False)
    with pytest.raises(InputError, match="other images have none"):
        main(Options(str(free.path), tuple(files)))


def test_prompts_are_drawn_as_a_grid_a_film_and_arrays(tmp_path, capsys):
    from experiments.sample import main

    run = Run(ImageDiffusion.preset("tiny"), tmp_path / "runs")
    run.execute(figures=False, evaluation=False)
    file = tmp_path / "prompts.txt"
    file.write_text("a blue one\n\n")
    out = tmp_path / "drawn.npz"
    prompts = ["--prompt", "a red seven", "--prompt", "an 8", "--prompts", str(file), "--count", "4", "--out", str(out)]
    main([str(run.path), *prompts, "--guidance", "2", "--negative", "a one"])
    assert "16 images of 4 prompts" in capsys.readouterr().out
    drawn = dict(np.load(out))
    assert drawn["x"].shape == (16, 3, 28, 28)
    assert drawn["prompt"].tolist() == ["a red seven"] * 4 + ["an 8"] * 4 + ["a blue one"] * 4 + [""] * 4
    assert drawn["y"].tolist() == [7] * 4 + [8] * 4 + [1] * 4 + [-1] * 4
    assert drawn["colour"].tolist() == [0] * 4 + [-1] * 4 + [5] * 4 + [-1] * 4
    assert all(out.with_suffix(kind).stat().st_size > 1_000 for kind in (".png", ".gif"))
    for wrong, said in (
        (["--prompt", "a red sevn"], "the nearest known one is 'seven'"),
        (["--prompt", "a seven", "--negative", "a one"], "give --guidance 2 as well"),
        (["--prompt", "a seven", "--negative", "a one", "--guidance", "0.5"], "give --guidance 2 as well"),
        (["--negative", "a one"], "no prompt is given"),
        (["--prompts", str(tmp_path / "none.txt")], "cannot be read"),
    ):
        with pytest.raises(InputError, match=said):
            main([str(run.path), *wrong])


def test_other_studies_read_no_prompts(trained):
    from experiments.sample import main

    with pytest.raises(InputError, match="point-diffusion reads no prompts"):
        main([str(trained.path), "--prompt", "a red seven"])
