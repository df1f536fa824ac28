"""Image data sets in their official formats, and the digits that ship with scikit-learn, which need no file.

All are held as bytes; `colours` makes coloured digits of grey ones, in batches, on whatever device they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from genlib.data.files import Source, data_folder, fetch
from genlib.data.images.cifar import read_batch
from genlib.data.images.idx import read_idx
from genlib.draws import Draws
from genlib.errors import InputError

ImageName = Literal["digits", "mnist", "fashion_mnist", "cifar10"]


GreyName = Literal["digits", "mnist", "fashion_mnist"]
"""Names of the data sets of grey images, which can be coloured."""


class Labelled(NamedTuple):
    """Images as bytes, and the class of each."""

    x: UInt8[Tensor, "n c h w"]
    y: Int64[Tensor, " n"]

    def rows(self, chosen: Int64[Tensor, " m"]) -> Labelled:
        """The images in the chosen rows, with their classes."""
        return Labelled(self.x[chosen], self.y[chosen])

    def to(self, device: torch.device | str) -> Labelled:
        """The images and classes on a device."""
        return Labelled(self.x.to(device), self.y.to(device))


Part = Literal["validation", "evaluation", "test"]


@dataclass(frozen=True)
class ImageSet:
    """A data set: images to train on, and test images, a fifth of them to choose models by, the others to report on.

    The set is read, and its files are verified, when the first image is asked for.

    Arguments:
        files: number of CIFAR-10's five training files to use, from the first; other sets are read whole.

    Raises:
        InputError: its files are missing or damaged and cannot be had; the message says which files go where.
    """

    name: ImageName
    files: int = 5

    @property
    def train(self) -> Labelled:
        """The images to train on."""
        return self._content[0]

    @property
    def test(self) -> Labelled:
        """All test images, in the order of their file."""
        return self._content[1]

    @cached_property
    def _content(self) -> tuple[Labelled, Labelled]:
        with torch.device("cpu"):
            return _cifar10(self.files) if self.name == "cifar10" else READERS[self.name]()

    @cached_property
    def order(self) -> dict[Part, Int64[Tensor, " n"]]:
        """Rows of the test images by part, shuffled once and for all: MNIST's come in order of difficulty."""
        rows = Draws(0, "held out").uniform(len(self.test.x)).argsort()
        return {"validation": rows[: len(rows) // 5], "evaluation": rows[len(rows) // 5 :], "test": rows}

    @property
    def validation(self) -> Labelled:
        """The fifth of the test images by which anything may be chosen."""
        return self.test.rows(self.order["validation"])

    @property
    def evaluation(self) -> Labelled:
        """The other test images, on which results are reported."""
        return self.test.rows(self.order["evaluation"])

    @property
    def checksums(self) -> dict[str, str]:
        """The published checksums of the files, known without reading them; empty for digits, which need no file."""
        sources = _cifar10_files(self.files) if self.name == "cifar10" else SOURCES.get(self.name, {}).values()
        return {source.path: f"md5:{source.md5}" for source in sources}


def _idx(folder: str, addresses: tuple[str, ...], files: dict[str, tuple[int, str]]) -> dict[str, Source]:
    return {
        name: Source(f"{folder}/{name}.gz", size, md5, tuple(f"{address}/{name}.gz" for address in addresses))
        for name, (size, md5) in files.items()
    }


MNIST = _idx(
    "mnist",
    ("https://storage.googleapis.com/cvdf-datasets/mnist", "https://ossci-datasets.s3.amazonaws.com/mnist"),
    {
        "train-images-idx3-ubyte": (9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        "train-labels-idx1-ubyte": (28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
        "t10k-images-idx3-ubyte": (1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
        "t10k-labels-idx1-ubyte": (4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
    },
)
FASHION_MNIST = _idx(
    "fashion-mnist",
    ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",),
    {
        "train-images-idx3-ubyte": (26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        "train-labels-idx1-ubyte": (29_515, "25c81989df183df01b3e8a0aad5dffbe"),
        "t10k-images-idx3-ubyte": (4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
        "t10k-labels-idx1-ubyte": (5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
    },
)
CIFAR10 = {
    name: Source(f"cifar-10-batches-py/{name}", size, md5, ())
    for name, (size, md5) in {
        "data_batch_1": (31_035_704, "c99cafc152244af753f735de768cd75f"),
        "data_batch_2": (31_035_320, "d4bba439e000b95fd0a9bffe97cbabec"),
        "data_batch_3": (31_035_999, "54ebc095f3ab1f0389bbae665268c751"),
        "data_batch_4": (31_035_696, "634d18415352ddfa80567beed471001a"),
        "data_batch_5": (31_035_623, "482c414d41f54cd18b22e5b47cb7c3cb"),
        "test_batch": (31_035_526, "40351d587109b95175f43aff81a1287e"),
    }.items()
}
CIFAR10_ARCHIVE = Source(
    "cifar-10-python.tar.gz",
    170_498_071,
    "c58f30108f718f92721af3b95e74349a",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
)


SOURCES: dict[str, dict[str, Source]] = {"mnist": MNIST, "fashion_mnist": FASHION_MNIST, "cifar10": CIFAR10}


def class_names(name: ImageName) -> tuple[str, ...]:
    """The names of a data set's classes, in the order of their numbers."""
    return CLASS_NAMES.get(name, tuple("0123456789"))


CLASS_NAMES: dict[ImageName, tuple[str, ...]] = {
    "cifar10": ("aeroplane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "lorry"),
    "fashion_mnist": (
        "T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "trainer", "bag", "ankle boot",
    ),
}  # fmt: skip


@cache
def images(name: ImageName, files: int = 5) -> ImageSet:
    """A data set by its name, CIFAR-10 perhaps in part; read at most once per process."""
    return ImageSet(name, files)


def _idx_images(sources: dict[str, Source]) -> tuple[Labelled, Labelled]:
    train, train_labels, test, test_labels = (read_idx(path) for path in _fetched(sources.values()))
    return (_labelled(train[:, None], train_labels), _labelled(test[:, None], test_labels))


def _fetched(sources: Iterable[Source]) -> list[Path]:
    """All files of a data set; where one cannot be had, the others that are missing are named with it."""
    try:
        return [fetch(source) for source in sources]
    except InputError as error:
        missing = [source.path for source in sources if not (data_folder() / source.path).exists()]
        also = f" {len(missing)} files of the set are missing: {', '.join(missing)}." if len(missing) > 1 else ""
        raise InputError(f"{error}{also}") from error


def _cifar10_files(files: int) -> list[Source]:
    """The first training files, and the test file."""
    *train, test = CIFAR10.values()
    return [*train[:files], test]


def _cifar10(files: int = 5) -> tuple[Labelled, Labelled]:
    sources = _cifar10_files(files)
    missing = [source.path for source in sources if not (data_folder() / source.path).exists()]
    if missing:
        _unpack_cifar10(missing)
    *train, test = (read_batch(fetch(source)) for source in sources)
    pixels, labels = (np.concatenate(parts) for parts in zip(*train, strict=True))
    return _labelled(pixels, labels), _labelled(*test)


def _unpack_cifar10(missing: list[str]) -> None:
    """Unpack missing batches from the archive they come in; each is verified by itself when it is read."""
    import tarfile

    try:
        archive = fetch(CIFAR10_ARCHIVE)
    except InputError as error:
        there = [(data_folder() / source.path).exists() for source in CIFAR10.values()]
        first = there.index(False)
        fewer = f" To train on the first {first} files, say so: --training-files {first}." if first and there[5] else ""
        raise InputError(f"{', '.join(missing)} missing from {data_folder()}; {error}{fewer}") from error
    with tarfile.open(archive) as content:
        for path in missing:
            member = content.extractfile(path)
            assert member is not None  # the archive's checksum is right
            target = data_folder() / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.with_name(f"{target.name}.part").write_bytes(member.read())
            target.with_name(f"{target.name}.part").replace(target)


def _digits() -> tuple[Labelled, Labelled]:
    """1,797 handwritten digits of 8 × 8, three times as large with a margin of two; every fifth is for testing."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = torch.from_numpy(digits.images).float().unsqueeze(1) / 16
    large = torch.nn.functional.interpolate(small, size=(24, 24), mode="bilinear", align_corners=False)
    x = (torch.nn.functional.pad(large, (2, 2, 2, 2)) * 255).round().to(torch.uint8)
    y = torch.from_numpy(digits.target).long()
    test = torch.arange(len(x)) % 5 == 0
    return Labelled(x[~test], y[~test]), Labelled(x[test], y[test])


def _labelled(pixels: np.ndarray, labels: np.ndarray) -> Labelled:
    if len(pixels) != len(labels):
        raise InputError(f"{len(pixels):,} images and {len(labels):,} labels do not belong together.")
    return Labelled(torch.from_numpy(pixels.copy()), torch.from_numpy(labels.astype(np.int64)))


READERS: dict[ImageName, Callable[[], tuple[Labelled, Labelled]]] = {
    "digits": _digits,
    "mnist": lambda: _idx_images(MNIST),
    "fashion_mnist": lambda: _idx_images(FASHION_MNIST),
    "cifar10": _cifar10,
}
