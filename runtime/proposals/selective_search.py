"""Selective search (Uijlings et al. 2013): segments that are alike are merged, each merger is a region. Needs OpenCV's contrib.

`selective_search?mode=quality&size=500`: `mode` is fast (default), quality or single; `size` is what the image's longer side
is reduced to before the search (default 320), whose time grows with the area: seconds for a picture of 640x480.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from edgewright.runtime import plugins
from edgewright.runtime.backends import Setting
from edgewright.runtime.errors import MissingDependencyError, UsageError
from edgewright.runtime.results import Boxes, Image
from edgewright.runtime.uri import positive_number, split_options

_MODES = {
    "fast": "switchToSelectiveSearchFast",
    "quality": "switchToSelectiveSearchQuality",
    "single": "switchToSingleStrategy",
}
_SIZE = 320


def from_uri(text: str) -> "SelectiveSearch":
    """The search with its options; MissingDependencyError when this OpenCV lacks it."""
    location, options = split_options("proposals selective_search", text, ("mode", "size"))
    if location:
        raise UsageError(
            f"proposals selective_search reads no file, got '{location}'; it has the options mode and size"
        )
    mode = options.get("mode", "fast")
    if mode not in _MODES:
        raise UsageError(
            f"proposals selective_search has no mode '{mode}'{plugins.suggestion(mode, tuple(_MODES))}; "
            f"it has: {', '.join(_MODES)}"
        )
    _search()
    size = positive_number("size of proposals selective_search", options.get("size", str(_SIZE)), at_most=10_000)
    return SelectiveSearch(mode, int(size))


@dataclass(frozen=True)
class SelectiveSearch:
    """The same regions in the same order for the same picture, whatever was searched before."""

    mode: str = "fast"
    size: int = _SIZE

    @property
    def settings(self) -> dict[str, Setting]:
        return asdict(self)

    def __call__(self, image: Image, names: Sequence[str] = ()) -> Boxes:
        """Regions (N, 4) of the image, the large ones rather first."""
        height, width = image.shape[:2]
        ratio = min(1.0, self.size / max(height, width))
        small_hw = max(1, round(height * ratio)), max(1, round(width * ratio))
        small = cv2.resize(image, small_hw[::-1], interpolation=cv2.INTER_AREA) if ratio < 1 else image
        search = _search()
        search.setBaseImage(small)
        getattr(search, _MODES[self.mode])()
        corners = np.asarray(search.process(), np.float32).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        return _ranked(corners) * np.array([width / small_hw[1], height / small_hw[0]] * 2, np.float32)


def _ranked(boxes: Boxes) -> Boxes:
    """Boxes by the product of their place by size and a random number.

    As section 3.3 of the paper ranks them, so that small ones have a chance among the first. OpenCV draws its numbers from
    the C library, which nobody can seed: the same picture twice gives two orders, and another choice of the best.
    """
    order = np.lexsort((*boxes.T, -(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])))
    ranks = (1 + np.arange(len(boxes))) * np.random.default_rng(0).random(len(boxes))
    return np.asarray(boxes[order][np.argsort(ranks, kind="stable")], np.float32)


def _search() -> Any:
    contrib = getattr(cv2, "ximgproc", None)
    if contrib is None or not hasattr(contrib, "segmentation"):
        raise MissingDependencyError(
            "proposals selective_search need OpenCV's contrib modules (cv2.ximgproc), which this OpenCV was built without; "
            "run: pip install 'edgewright[proposals]', or take another method: windows, or file:BOXES.json"
        )
    return contrib.segmentation.createSelectiveSearchSegmentation()
