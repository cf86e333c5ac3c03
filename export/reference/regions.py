"""Regions that selective search proposes in drawn scenes, for networks that are told where to look."""

from functools import partial

import numpy as np
import numpy.typing as npt

from edgewright.export.reference.scenes import mapped
from edgewright.runtime.conveyor import render_scene
from edgewright.runtime.proposals.selective_search import SelectiveSearch

MOST = 400

Regions = npt.NDArray[np.uint16]


def propose_in_scenes(seed: int, count: int, *, processes: int) -> Regions:
    """Regions (S, MOST, 4) x1 y1 x2 y2 in whole pixels of the picture, best first, padded with zeros."""
    return np.stack(list(mapped(partial(_propose, seed), range(count), processes=processes)))


def _propose(seed: int, index: int) -> Regions:
    found = SelectiveSearch()(render_scene(seed, index).image)[:MOST]
    regions = np.zeros((MOST, 4), np.uint16)
    regions[: len(found)] = np.rint(found)
    return regions
