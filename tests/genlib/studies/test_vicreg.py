"""VICReg: its parts fit together, over workers too; neighbours come from a trained model; codes see no pixels."""

from dataclasses import replace

import pytest
import torch
import torch.multiprocessing as processes
from torch import distributed

from genlib import InputError, Launch, VICReg, fit, start, train
from genlib.data.images import images
from genlib.needs import lending
from genlib.studies.vicreg.study import ROWS

TINY = VICReg.preset("tiny")


def worker(rank, folder, study):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    *_, last = train(study, launch=Launch(rank=rank, world=2))
    torch.save(last.metrics, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet", "whitened"])
def test_two_workers_give_the_losses_of_one(tmp_path, backbone):
    study = replace(TINY, backbone=backbone, steps=3, log_every=3, blur=0.5, solarise=0.2)
    processes.spawn(worker, (str(tmp_path), study), nprocs=2)
    *_, expected = train(study)
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found.keys() == expected.metrics.keys()
        for name, value in expected.metrics.items():
            # Adam makes differences of float error grow fast, so few updates are compared; a vote is a whole image.
            assert found[name] == pytest.approx(value, rel=1e-4, abs=0.02 if "accuracy" in name else 1e-4), name


@pytest.fixture(scope="module")
def trained():
    return fit(TINY)


def test_neighbours_are_other_images_that_the_guide_finds_near(trained):
    study = replace(TINY, positives="neighbours")
    assert study.needs() == {"guide": TINY}
    with lending(lambda needed: trained.model if needed == TINY else None):
        near = study.nearest_images()
    encodings = trained.study.represent(trained.model, TINY.images.train).encodings
    distances = torch.cdist(encodings, encodings)
    distances.fill_diagonal_(torch.inf)
    torch.testing.assert_close(distances.gather(1, near), distances.topk(3, largest=False).values, rtol=1e-3, atol=1e-3)
    assert (near != torch.arange(len(near)).unsqueeze(1)).all()


def test_the_guide_is_trained_as_long_or_as_long_as_asked():
    assert replace(TINY, positives="neighbours", steps=7, variance_weight=0).needs()["guide"] == replace(TINY, steps=7)
    asked = replace(TINY, positives="alternating", steps=7, guide_steps=20, neighbours=2)
    assert asked.needs() == {"guide": TINY}
    assert asked.course() == replace(asked, steps=9).course()
    assert replace(asked, guide_steps=0).course() != replace(asked, guide_steps=0, steps=9).course()
    assert replace(asked, steps=20).key() == replace(asked, steps=20, guide_steps=0).key()
    assert replace(asked, steps=20).key() != replace(asked, steps=20, guide_steps=19).key()


def test_alternating_takes_neighbours_in_every_other_epoch(trained):
    study = replace(TINY, positives="alternating", batch_size=479)  # three batches are an epoch
    with lending(lambda needed: trained.model):
        train_rows = study.data().train
        batches = [study.batch(train_rows, study.draws("train", step)) for step in range(9)]
    assert ["positive" in batch for batch in batches] == [False] * 3 + [True] * 3 + [False] * 3
    rows = batches[4]["row"]
    candidates = train_rows["x"][train_rows["near"][rows]]
    same = (candidates == batches[4]["positive"].unsqueeze(1)).flatten(2).all(2)
    assert same.any(1).all()


def test_free_codes_agree_with_themselves_and_know_nothing_of_the_image():
    run = fit(replace(TINY, codes=True, steps=60))
    assert run.history.series("loss/invariance")[1].max() == 0
    assert abs(run.evaluation.metrics["probe_accuracy"] - 0.1) < 0.08
    with pytest.raises(InputError, match="free codes have no net"):
        run.study.features(run.model, TINY.images.test.x)


def test_labels_and_features_come_out_of_the_supervised_net():
    run = fit(replace(TINY, supervised=True, steps=100, learning_rate=1e-2))
    assert run.evaluation.metrics["supervised_accuracy"] > 0.35  # of ten classes
    assert run.study.features(run.model, TINY.images.test.x[:5]).shape == (5, 16)


def test_the_first_layer_whitens_patches():
    model = TINY.model()
    x = TINY.as_is(TINY.images.train.x[:2_000], TINY.view_size)
    patches = torch.nn.functional.conv2d(x, model.backbone.whitening)[:, :12].movedim(1, -1).reshape(-1, 12)
    variances = torch.linalg.eigvalsh(torch.cov(patches.T))
    assert variances.max() < 1.01
    # A grey image has no variance in the other eight directions, and what is added to them keeps them finite.
    assert (variances > 0.5).sum() in (3, 4)


def test_variance_over_views_is_summed_or_averaged():
    z = [torch.zeros(4, 10), torch.zeros(4, 10)]
    whole, mean = (replace(TINY, over_views=how).terms(z)["variance"] for how in ("sum", "mean"))
    assert whole == 2 * mean


def test_anomalies_are_negatives_or_another_data_set():
    x = TINY.images.evaluation.x
    assert torch.equal(TINY.odd_images(x), 255 - x)
    digits = replace(TINY, anomalies="digits").odd_images(x[:7])
    assert torch.equal(digits, images("digits").evaluation.x[:7])


def test_a_part_of_cifar_has_other_checksums_so_another_key():
    part = VICReg(training_files=2)
    assert len(part.checksums()) == 3
    assert part.rows == 20_000
    assert part.key() != VICReg().key()
    assert part.lasting(25).steps == 1_954


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"batch_size": 1}, "batch_size: got 1; allowed is an integer of at least 2"),
        ({"strengths": (0.4, 0.4)}, "give four numbers"),
        ({"strengths": (0.4, 0.4, 0.4, 0.9)}, "half a circle"),
        ({"view_size": 4, "widths": (8, 8, 8)}, "at least 5 high"),
        ({"code_views": True}, "set codes as well"),
        ({"supervised": True, "positives": "neighbours"}, "exclude each other"),
        ({"codes": True, "supervised": True}, "exclude each other"),
    ],
)
def test_what_does_not_fit_together_is_refused(fields, words):
    with pytest.raises(InputError, match=words):
        replace(TINY, **fields)


def test_fewer_images_than_a_batch_are_refused():
    with pytest.raises(InputError, match="there are 1,437 training images; allowed is at most as many"):
        replace(TINY, batch_size=1_438)
    assert all(len(images(name).train.x) == rows for name, rows in ROWS.items() if name == "digits")


def test_a_model_starts_the_same_under_any_default_device_and_is_packed():
    weights = start(TINY).model.state_dict()
    assert weights["backbone.layers.1.weight"].is_contiguous(memory_format=torch.channels_last)
    odd = start(replace(TINY, widths=(4, 6))).model.state_dict()
    assert odd["backbone.layers.1.weight"].is_contiguous()
