"""Images: formats read as they are, bad ones refused, colours that can be told again."""

import gzip
import hashlib
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from genlib import Draws, InputError
from genlib.data import images as data
from genlib.data.files import Source
from genlib.data.images.cifar import read_batch
from genlib.data.images.colours import digit_hues, hue_distance, hue_of, inked, rgb
from genlib.data.images.idx import read_idx

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 28, 28), dtype=np.uint8)
LABELS = np.arange(7, dtype=np.uint8)


def idx(array, *, kind=8, cut=0):
    body = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape) + array.tobytes()
    return body[: len(body) - cut]


def zipped(path, content):
    path.write_bytes(gzip.compress(content))
    return path


def test_idx_files_are_read(tmp_path):
    assert np.array_equal(read_idx(zipped(tmp_path / "images.gz", idx(PIXELS))), PIXELS)
    assert np.array_equal(read_idx(zipped(tmp_path / "labels.gz", idx(LABELS))), LABELS)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no idx file of bytes"),
        (b"\x00\x00", "no idx file of bytes"),
        (idx(PIXELS, kind=13), "no idx file of bytes"),
        (idx(PIXELS, cut=3), "5,485 bytes of data where its header says 5,488"),
        (idx(PIXELS)[:6], "no idx file of bytes"),
    ],
)
def test_what_is_no_idx_file_is_refused(tmp_path, content, said):
    with pytest.raises(InputError, match=said):
        read_idx(zipped(tmp_path / "file.gz", content))


def test_a_cut_gzip_file_is_refused(tmp_path):
    path = zipped(tmp_path / "file.gz", idx(PIXELS))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="no whole gzip file"):
        read_idx(path)


def batch(path, **content):
    rows = PIXELS[:4].reshape(1, -1)[:, :3072].repeat(4, 0)
    path.write_bytes(pickle.dumps({b"data": rows, b"labels": [3, 1, 4, 1], **content}, protocol=3))
    return path


def test_cifar_batches_are_read(tmp_path):
    pixels, labels = read_batch(batch(tmp_path / "batch"))
    assert pixels.shape == (4, 3, 32, 32)
    assert labels.tolist() == [3, 1, 4, 1]
    assert np.array_equal(pixels[0].ravel(), PIXELS.reshape(-1)[:3072])


class Touches:
    """Leaves a file behind where it is unpickled by an unwary reader."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_batch_that_would_run_code_is_refused(tmp_path):
    path = batch(tmp_path / "batch", extra=Touches(str(tmp_path / "touched")))
    with pytest.raises(InputError, match=r"it asks for .*mkdir"):
        read_batch(path)
    assert not (tmp_path / "touched").exists()
    pickle.loads(path.read_bytes())
    assert (tmp_path / "touched").exists()  # the unwary one


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps([1, 2]), pickle.dumps({b"data": 1})])
def test_what_is_no_batch_is_refused(tmp_path, content):
    (tmp_path / "batch").write_bytes(content)
    with pytest.raises(InputError, match="no CIFAR-10 batch"):
        read_batch(tmp_path / "batch")


def test_a_data_set_is_read_from_its_four_files(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLIB_DATA", str(tmp_path))
    sources = {}
    for name, array in zip(data.MNIST, (PIXELS, LABELS, PIXELS[:2], LABELS[:2]), strict=True):
        path = zipped(tmp_path / f"{name}.gz", idx(array))
        content = path.read_bytes()
        sources[name] = Source(path.name, len(content), hashlib.md5(content).hexdigest(), ())
    train, test = data._idx_images(sources)
    assert train.x.shape == (7, 1, 28, 28)
    assert test.y.tolist() == [0, 1]
    assert train.x.dtype == torch.uint8
    for name in list(sources)[1:3]:
        (tmp_path / sources[name].path).unlink()
    with pytest.raises(InputError, match=r"train-labels.* is missing.*2 files of the set are missing: .*t10k-images"):
        data._idx_images(sources)


def test_what_is_held_out_is_split_once_and_shuffled():
    digits = data.images("digits")
    rows = digits.order
    assert torch.equal(torch.cat((rows["validation"], rows["evaluation"])), rows["test"])
    assert rows["test"].sort().values.tolist() == list(range(360))
    assert len(rows["validation"]) == 72
    assert (rows["validation"] > 180).float().mean() == pytest.approx(0.5, abs=0.2)
    assert torch.equal(digits.validation.x, digits.test.x[rows["validation"]])
    assert torch.equal(digits.evaluation.y, digits.test.y[rows["evaluation"]])


def test_the_digits_need_no_file():
    digits = data.images("digits")
    assert digits.train.x.shape == (1437, 1, 28, 28)
    assert digits.test.y.shape == (360,)
    assert digits.checksums == {}
    assert digits.train.x.float().mean() > 20
    assert (torch.bincount(digits.test.y) > 20).all()


def test_checksums_are_the_published_ones_and_need_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLIB_DATA", str(tmp_path / "nowhere"))
    assert len(data.images("mnist").checksums) == 4
    assert len(data.images("cifar10").checksums) == 6
    assert list(data.images("cifar10", 2).checksums) == [
        f"cifar-10-batches-py/{name}" for name in ("data_batch_1", "data_batch_2", "test_batch")
    ]


def test_cifar_in_part_says_which_files_are_missing_and_how_to_do_with_fewer(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLIB_DATA", str(tmp_path))
    monkeypatch.setattr(data, "CIFAR10_ARCHIVE", data.CIFAR10_ARCHIVE._replace(urls=()))
    with pytest.raises(InputError, match=r"data_batch_1, .*/test_batch missing from .*cannot be downloaded") as error:
        _ = data.ImageSet("cifar10").train
    assert "--training-files" not in str(error.value)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("data_batch_1", "data_batch_2", "test_batch"):
        (folder / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"data_batch_3, .*first 2 files, say so: --training-files 2"):
        _ = data.ImageSet("cifar10").train
    with pytest.raises(InputError, match=r"data_batch_1 is damaged"):
        _ = data.ImageSet("cifar10", 2).train


def test_the_official_batches_of_cifar():
    found = data.images("cifar10", 1)
    if not all((Path(os.environ.get("GENLIB_DATA", "")) / path).exists() for path in found.checksums):
        pytest.skip("the official files are not here")
    assert (found.train.x.shape, len(found.test.x)) == ((10_000, 3, 32, 32), 10_000)
    assert torch.bincount(found.test.y).tolist() == [1_000] * 10


@pytest.mark.parametrize(("name", "counts"), [("mnist", (60_000, 10_000)), ("fashion_mnist", (60_000, 10_000))])
def test_the_official_files(name, counts):
    folder = Path(os.environ.get("GENLIB_DATA", ""))
    if not all((folder / path).exists() for path in data.images(name).checksums):
        pytest.skip("the official files are not here")
    found = data.images(name)
    assert (len(found.train.x), len(found.test.x)) == counts
    assert torch.bincount(found.test.y).min() > 800


def test_a_hue_can_be_told_from_the_ink():
    hue = torch.linspace(0, 0.999, 200)
    grey = torch.randint(1, 256, (200, 1, 6, 6), dtype=torch.uint8)
    x = inked(grey, hue)
    assert hue_distance(hue_of(x), hue).max() < 1e-4
    assert x.max() <= 1
    assert torch.allclose(x.amax(1), grey[:, 0] / 255)  # one channel is always full


def test_uniform_ink_is_uniform_over_hues():
    hue = Draws(0, "ink").uniform(20_000)
    counts = torch.histc(hue_of(inked(torch.full((20_000, 1, 2, 2), 200, dtype=torch.uint8), hue)), 10, 0, 1)
    assert (counts - 2_000).abs().max() < 200


def test_each_digit_has_a_hue_of_its_own_in_each_domain():
    y = torch.arange(10)
    a, b = digit_hues(y, "a"), digit_hues(y, "b")
    assert len(set(a.tolist())) == len(set(b.tolist())) == 10
    assert hue_distance(a, b).min() > 0.09
    apart = hue_distance(a.unsqueeze(0).expand(10, 10).reshape(-1), a.repeat_interleave(10))
    assert apart[apart > 1e-6].min().item() == pytest.approx(0.1, abs=1e-6)


def test_primary_colours():
    assert torch.allclose(rgb(torch.tensor([0.0, 1 / 3, 2 / 3])), torch.eye(3), atol=1e-6)
    assert hue_distance(torch.tensor([0.95]), torch.tensor([0.05])).item() == pytest.approx(0.1, abs=1e-6)
