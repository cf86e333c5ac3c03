"""The distribution of a tensor's values over many images, in a fixed amount of memory."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

# At least half of them, and so a quarter on each side of zero, lie within the range that was seen.
BINS = 8192


@dataclass(eq=False)
class Histogram:
    """Counts over [-limit, limit] in `BINS` equal bins; the limit doubles when values exceed it, so that one pass is enough.

    `low` and `high` are the extremes of all values, exactly.
    """

    limit: float
    counts: npt.NDArray[np.int64]
    low: float
    high: float

    @staticmethod
    def empty() -> "Histogram":
        """A histogram that has seen nothing."""
        return Histogram(0.0, np.zeros(BINS, np.int64), np.inf, -np.inf)

    def add(self, values: npt.NDArray[np.floating[Any]]) -> None:
        """Count the values; NaN and infinity are the caller's to refuse."""
        flat = np.ascontiguousarray(values, np.float32).reshape(-1)
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._widen(max(-low, high, 0.0))
        if self.limit == 0.0:
            # Nothing but zeros so far: they belong into the middle of whatever range comes.
            self.counts[BINS // 2] += flat.size
            return
        self.counts += self._count(flat)

    def _widen(self, largest: float) -> None:
        if self.limit == 0.0 and largest > 0.0:
            self.limit = float(2.0 ** np.ceil(np.log2(largest)))
        while self.limit < largest:
            pairs = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([np.zeros(BINS // 4, np.int64), pairs, np.zeros(BINS // 4, np.int64)])
            self.limit *= 2.0

    def _count(self, flat: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        # OpenCV counts ten times as fast as NumPy; its upper bound is exclusive.
        upper = float(np.nextafter(np.float32(self.limit), np.float32(np.inf)))
        counts = cv2.calcHist([flat.reshape(-1, 1)], [0], None, [BINS], [-self.limit, upper])
        return np.asarray(counts.reshape(-1), np.int64)

    @property
    def largest(self) -> float:
        """The largest absolute value, 0 when nothing was seen."""
        return max(-self.low, self.high, 0.0)

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    def magnitudes(self) -> tuple[npt.NDArray[np.int64], float]:
        """The counts of absolute values in BINS / 2 equal bins from 0 to the limit, and the width of a bin."""
        half = BINS // 2
        return self.counts[half:] + self.counts[:half][::-1], self.limit / half

    def merged(self, other: "Histogram") -> "Histogram":
        """The distribution of both together."""
        both = Histogram(self.limit, self.counts.copy(), self.low, self.high)
        both._widen(other.limit)
        rest = Histogram(other.limit, other.counts.copy(), other.low, other.high)
        rest._widen(both.limit)
        both.counts = both.counts + rest.counts
        both.low, both.high = min(self.low, other.low), max(self.high, other.high)
        return both
