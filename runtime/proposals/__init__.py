"""Where an object may be, proposed without the network: for R-CNN and Fast R-CNN, which take regions from outside.

Every file of this folder is a method with `from_uri(text) -> Method`. A method is named `NAME[:LOCATION][?option=value&...]`:
`selective_search?mode=quality`, `file:boxes.json`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgewright.runtime import plugins
from edgewright.runtime.backends import Setting
from edgewright.runtime.errors import UsageError
from edgewright.runtime.geometry import Placement, box_area, clip_boxes
from edgewright.runtime.results import Boxes, Image

_URI = re.compile(r"([a-z][a-z0-9_]*)(?::|(?=\?)|$)(.*)", re.DOTALL)

NONE: Boxes = np.zeros((0, 4), np.float32)


class Method(Protocol):
    """Gives the regions (N, 4) x1 y1 x2 y2 of a BGR image in its pixels, best first.

    `names` are what a picture is known by: its file, its number in the source, its id in a data set. `settings` are what a
    report says of the method.
    """

    @property
    def settings(self) -> Mapping[str, Setting]: ...

    def __call__(self, image: Image, names: Sequence[str], /) -> Boxes: ...


def open_method(uri: str) -> Method:
    """The method that `uri` names; UsageError for an unknown one or an unknown option."""
    name, rest = _parts(uri)
    method: Method = plugins.load(__name__, name).from_uri(rest)
    return method


def method_name(uri: str) -> str:
    """The method's name alone, whether or not it can be opened here; UsageError when there is no such method."""
    name, known = _parts(uri)[0], plugins.names(__name__)
    if name not in known:
        raise UsageError(
            f"there is no method of region proposals '{name}'{plugins.suggestion(name, known)}; there are: {', '.join(known)}"
        )
    return name


def region_tensor(regions_xyxy: Boxes, placement: Placement, count: int) -> npt.NDArray[np.float32]:
    """The network's input (1, count, 4): the best regions in pixels of the tensor, zeros behind them.

    Regions are cut to the image; what then is empty, or no number, is left out.
    """
    regions = np.asarray(regions_xyxy, np.float32).reshape(-1, 4)
    inside = clip_boxes(regions[np.isfinite(regions).all(axis=1)], placement.source_hw)
    placed = placement.to_tensor(inside[box_area(inside) > 0])
    # Rounding may close a sliver.
    best = placed[box_area(placed) > 0][:count]
    tensor = np.zeros((1, count, 4), np.float32)
    tensor[0, : len(best)] = best
    return tensor


def _parts(uri: str) -> tuple[str, str]:
    match = _URI.fullmatch(uri)
    if match is None:
        raise UsageError(
            f"'{uri}' names no method of region proposals; write NAME, NAME:LOCATION or NAME?option=value, "
            f"with one of: {', '.join(plugins.names(__name__))}"
        )
    return match[1], match[2]
