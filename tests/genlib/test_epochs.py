"""Epochs are another way to say steps, where the training data are finite: the same run either way."""

import numpy as np
import pytest

from genlib import ColourTransfer, DigitJudge, InputError, JointVAE, PointDiffusion, TinyGPT


@pytest.mark.parametrize(
    ("study", "epochs", "steps"),
    [
        (PointDiffusion(points=1_000, batch_size=100), 3, 30),
        (PointDiffusion(points=1_000, batch_size=300), 1, 4),  # the last batch reaches into the next epoch
        (PointDiffusion(points=1_000, batch_size=1_000), 0.25, 1),
        (JointVAE.preset("tiny"), 2, 90),  # 1,437 digits, 32 a batch
        (ColourTransfer.preset("tiny"), 1, 90),  # half of them in each domain, 8 a batch
        (DigitJudge.preset("tiny"), 1, 45),
    ],
)
def test_epochs_are_as_many_steps(study, epochs, steps):
    assert study.lasting(epochs).steps == steps
    assert study.lasting(epochs) == study.with_fields({"epochs": epochs}) == study.with_fields({"steps": steps})
    assert study.lasting(epochs).key() == study.with_fields({"steps": steps}).key()
    assert study.lasting(epochs).epochs == pytest.approx(epochs, abs=study.batch_size / study.rows)


def test_a_preset_takes_epochs_and_other_fields_come_first():
    assert PointDiffusion.preset("tiny", epochs=4, batch_size=50).steps == 16


def test_numbers_of_numpy_are_numbers():
    assert PointDiffusion.preset("tiny").lasting(np.int64(3)) == PointDiffusion.preset("tiny").lasting(3)


def test_the_blocks_of_a_text_are_its_rows():
    study = TinyGPT.preset("tiny")
    blocks = len(study.reader.encode(study.source.train)) // study.block
    assert study.rows == blocks
    assert study.lasting(1).steps == -(-blocks // study.batch_size)


def test_fresh_data_have_no_epochs():
    study = PointDiffusion.preset("tiny", points=0)
    assert study.epochs is None
    with pytest.raises(InputError, match=r"PointDiffusion.epochs: got 5; .*fresh data for every batch: give steps"):
        study.lasting(5)


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), True, "many"])
def test_what_is_no_number_of_epochs_is_refused(wrong):
    with pytest.raises(InputError, match=r"epochs: got .*; allowed is a number above 0"):
        PointDiffusion.preset("tiny").lasting(wrong)
