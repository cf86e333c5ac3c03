"""How many of the objects a set of regions covers, whatever their class: recall, and COCO's AR for proposals."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from edgewright.pipeline.metrics.image_sums import Floats, ImageSums, Ints, SummedScores, tallied
from edgewright.pipeline.metrics.matches import IOU_THRESHOLDS, match_boxes

# Hosang et al., "What Makes for Effective Detection Proposals?", TPAMI 2016: recall is shown at these numbers of regions, and
# at overlaps of 0.5 and 0.7.
LIMITS = (10, 100, 1000)
_RECALLS = {"recall50": 0, "recall70": 4}


@dataclass(frozen=True, eq=False)
class RegionCounts:
    """The objects of every image that its best regions find, as sums (limits, thresholds + 1); the last column is all objects.

    `prefix` is put before the names of the measurements, as in "proposal-AR100".
    """

    prefix: str
    limits: tuple[int, ...]
    sums: ImageSums

    @property
    def image_ids(self) -> Ints:
        return self.sums.image_ids

    def scores(self, names: Collection[str] | None = None) -> SummedScores:
        """AR at every limit, and recall at overlaps of 0.5 and 0.7, as a function of how often every image occurs."""
        score = partial(_values, prefix=self.prefix, limits=self.limits)
        objects = np.zeros(self.sums.shape, bool)
        objects[:, -1] = True
        return SummedScores(self.sums, score, names=names, support=lambda _: self.sums.images_with(objects))

    def of_images(self, images: Ints) -> "RegionCounts":
        return replace(self, sums=self.sums.of_images(images))


def count_regions(
    truth: dict[str, Any], regions: Sequence[Any], *, prefix: str, most: int = LIMITS[-1]
) -> RegionCounts:
    """The objects of COCO ground truth that regions find, as records with `image_id`, `bbox` and `score`; at most `most` of an image.

    Matched as pycocotools does without categories (Params.useCats = 0).
    """
    one: dict[str, Any] = {
        **truth,
        "categories": [{"id": 1, "name": "object"}],
        "annotations": [{**annotation, "category_id": 1} for annotation in truth["annotations"]],
    }
    limits = tuple(sorted({limit for limit in (*LIMITS, most) if limit <= most}))
    matches = match_boxes(one, [{**region, "category_id": 1} for region in regions], max_detections=most)
    columns = len(IOU_THRESHOLDS) + 1
    objects = matches.object_image[matches.object_areas & 1 > 0]
    images, cells = [], []
    for row, limit in enumerate(limits):
        images.append(objects)
        cells.append(np.full(len(objects), row * columns + columns - 1))
        best = matches.rank < limit
        for t in range(columns - 1):
            hit = matches.image[best & (matches.hit[0] >> t & 1 > 0)]
            images.append(hit)
            cells.append(np.full(len(hit), row * columns + t))
    sums = tallied(matches.image_ids, np.concatenate(images), np.concatenate(cells), (len(limits), columns))
    return RegionCounts(prefix, limits, sums)


def _values(total: Floats, *, prefix: str, limits: Sequence[int]) -> Mapping[str, float]:
    objects = total[0, -1]
    if not objects:
        return {}
    recall = total[:, :-1] / objects
    return {
        **{f"{prefix}AR{limit}": float(row.mean()) for limit, row in zip(limits, recall, strict=True)},
        **{f"{prefix}{name}": float(recall[-1, t]) for name, t in _RECALLS.items()},
    }
