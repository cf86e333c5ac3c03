"""What adds up over images (pixels of a confusion matrix, hits, overlaps), kept image by image where it is not zero."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ImageSums:
    """Tables of `shape`, one for each of N images: `amount` (n,) in `cell` (n,), an index into the flat table, of `image` (n,).

    Images are indices into `image_ids` (N,).
    """

    image_ids: Ints
    shape: tuple[int, ...]
    image: npt.NDArray[np.int32]
    cell: npt.NDArray[np.int32]
    amount: Floats

    def total(self, weights: Ints | None = None) -> Floats:
        """The sum of the tables when image i occurs `weights[i]` times, once by default."""
        amount = self.amount if weights is None else self.amount * weights[self.image]
        total = np.bincount(self.cell, amount, int(np.prod(self.shape))).astype(np.float64)
        return total.reshape(self.shape)

    def images_with(self, cells: npt.NDArray[Any]) -> int:
        """How many images have something in one of the cells where `cells` (of `shape`) is true."""
        chosen = np.asarray(cells, bool).ravel()[self.cell] & (self.amount > 0)
        return len(np.unique(self.image[chosen]))

    def of_images(self, images: Ints) -> "ImageSums":
        """Those of some images only; `images` are indices in rising order, and image i becomes the i-th of them."""
        number = np.full(len(self.image_ids), -1, np.int32)
        number[images] = np.arange(len(images))
        kept = number[self.image] >= 0
        return replace(
            self,
            image_ids=self.image_ids[images],
            image=number[self.image[kept]],
            cell=self.cell[kept],
            amount=self.amount[kept],
        )


def sums_of(image_ids: Collection[int], tables: Collection[npt.NDArray[Any]], shape: tuple[int, ...]) -> ImageSums:
    """The tables (each of `shape`) of the images, in this order."""
    flat = [np.asarray(table).ravel() for table in tables]
    cells = [np.flatnonzero(table) for table in flat]
    return ImageSums(
        image_ids=np.array(list(image_ids), np.int64),
        shape=shape,
        image=np.repeat(np.arange(len(cells), dtype=np.int32), [len(some) for some in cells]),
        cell=np.concatenate([*cells, np.zeros(0, np.int64)]).astype(np.int32),
        amount=np.concatenate([*(table[some] for table, some in zip(flat, cells, strict=True)), np.zeros(0)]).astype(
            np.float64
        ),
    )


def tallied(image_ids: Ints, image: Ints, cell: Ints, shape: tuple[int, ...]) -> ImageSums:
    """How often every `cell` (n,), an index into a flat table of `shape`, occurs in every `image` (n,), an index."""
    size = int(np.prod(shape))
    both, amount = np.unique(image.astype(np.int64) * size + cell, return_counts=True)
    return ImageSums(
        image_ids=image_ids,
        shape=shape,
        image=(both // size).astype(np.int32),
        cell=(both % size).astype(np.int32),
        amount=amount.astype(np.float64),
    )


class SummedScores:
    """Measurements of what is summed over images: confusion matrices (IoU, Dice, accuracy), hits and misses (PQ)."""

    def __init__(
        self,
        sums: ImageSums,
        score: Callable[[Floats], Mapping[str, float]],
        *,
        names: Collection[str] | None = None,
        support: Callable[[str], int] | None = None,
    ) -> None:
        """`score` turns the sum of the tables into values by name; `names` None means all of them.

        The names are those of the whole set; where `score` leaves one out, it is undefined.
        """
        self.images = len(sums.image_ids)
        self.names = tuple(name for name in score(sums.total()) if names is None or name in names)
        self._sums = sums
        self._score = score
        self._support = support or (lambda _: self.images)

    def values(self, weights: Ints) -> Floats:
        values = self._score(self._sums.total(weights)) if self.names else {}
        return np.array([values.get(name, np.nan) for name in self.names])

    def support(self) -> Ints:
        return np.array([self._support(name) for name in self.names], np.int64)
