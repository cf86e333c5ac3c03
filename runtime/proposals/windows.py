"""Windows of several sizes and shapes that slide over the picture: no search, for a fixed cost of microseconds.

`windows?smallest=0.125&overlap=0.5`: `smallest` is the side of the smallest windows as a share of the picture's (each size is
half the one before), `overlap` how much of a window its neighbour shares.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np

from edgewright.runtime.backends import Setting
from edgewright.runtime.errors import UsageError
from edgewright.runtime.results import Boxes, Image
from edgewright.runtime.uri import positive_number, split_options

_SHAPES = (1.0, 0.5, 2.0)  # height : width, where the picture's own is 1
_MOST = 100_000


def from_uri(text: str) -> "Windows":
    """The windows with their options."""
    location, options = split_options("proposals windows", text, ("smallest", "overlap"))
    if location:
        raise UsageError(
            f"proposals windows read no file, got '{location}'; they have the options smallest and overlap"
        )
    smallest = positive_number("smallest of proposals windows", options.get("smallest", "0.125"), at_most=1)
    overlap = positive_number("overlap of proposals windows", options.get("overlap", "0.5"), at_most=0.9)
    return Windows(smallest, overlap)


@dataclass(frozen=True)
class Windows:
    """A pyramid of windows, the largest first."""

    smallest: float = 0.125
    overlap: float = 0.5

    @property
    def settings(self) -> dict[str, Setting]:
        return asdict(self)

    def __call__(self, image: Image, names: Sequence[str] = ()) -> Boxes:
        """The windows (N, 4) of every image of this size."""
        height, width = image.shape[:2]
        return _unit_windows(self.smallest, self.overlap) * np.array([width, height] * 2, np.float32)


@lru_cache
def _unit_windows(smallest: float, overlap: float) -> Boxes:
    sizes = [side for side in (0.5**power for power in range(24)) if side >= smallest]
    windows = np.concatenate([_of_size(side, overlap) for side in sizes])
    if len(windows) > _MOST:
        raise UsageError(
            f"proposals windows with smallest={smallest:g} and overlap={overlap:g} are {len(windows)} windows, "
            f"{_MOST} are the most; take larger or fewer ones"
        )
    return windows


def _of_size(side: float, overlap: float) -> Boxes:
    return np.concatenate(list(_of_each_shape(side, overlap)))


def _of_each_shape(side: float, overlap: float) -> Iterator[Boxes]:
    for shape in _SHAPES:
        # Of equal area where the picture has room for it.
        h, w = min(1.0, side * shape**0.5), min(1.0, side / shape**0.5)
        y, x = np.meshgrid(_starts(h, overlap), _starts(w, overlap), indexing="ij")
        corners = np.stack([x.ravel(), y.ravel()], 1)
        yield np.concatenate([corners, corners + np.array([w, h])], 1).astype(np.float32)


def _starts(side: float, overlap: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Where windows of this side begin, evenly spread from one end to the other, sharing at least `overlap`."""
    steps = int(np.ceil((1 - side) / (side * (1 - overlap)) - 1e-9))
    return np.linspace(0, 1 - side, steps + 1)
