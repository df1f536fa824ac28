"""What studies of digits share: the data set, which is verified and counted in the same way by all of them."""

from __future__ import annotations

from dataclasses import dataclass

from genlib.data.images import GreyName, ImageSet, images
from genlib.study import Model, Study, setting


@dataclass(frozen=True, kw_only=True)
class DigitStudy(Study[Model]):
    """A study of a data set of grey digits."""

    data_set: GreyName = setting("mnist")
    """Data set of the images; `digits` ship with scikit-learn and need no file."""

    @property
    def images(self) -> ImageSet:
        """The grey digits."""
        return images(self.data_set)

    @property
    def rows(self) -> int:
        return len(self.images.train.x)

    def checksums(self) -> dict[str, str]:
        return self.images.checksums
