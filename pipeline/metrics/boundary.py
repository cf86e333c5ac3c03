"""Boundary IoU: Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", CVPR 2021."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgewright.pipeline.metrics.image_sums import Floats, ImageSums, Ints, SummedScores
from edgewright.pipeline.metrics.matches import Matches, match
from edgewright.pipeline.metrics.semantic import IGNORED

# The width of a boundary as a share of the image's diagonal: section 5 of the paper.
_SHARE = 0.02
# The columns of a class: boundary pixels that truth and prediction share, those of the truth, those of the prediction.
_SHARED, _TRUE, _FOUND = range(3)
_NONE = -2
NAME = "boundary-IoU"


@dataclass(frozen=True, eq=False)
class BoundaryCounts:
    """The boundary pixels of every image, as sums (C, 3): shared, true, predicted; `ignored_id` is no class."""

    labels: tuple[str, ...]
    ignored_id: int | None
    sums: ImageSums

    @property
    def image_ids(self) -> Ints:
        return self.sums.image_ids

    def scores(self, names: Collection[str] | None = None) -> SummedScores:
        """Boundary IoU of every class and their mean, as a function of how often every image occurs."""
        score = partial(_values, labels=self.labels, ignored_id=self.ignored_id)
        return SummedScores(self.sums, score, names=names, support=self._support)

    def of_images(self, images: Ints) -> "BoundaryCounts":
        return replace(self, sums=self.sums.of_images(images))

    def _support(self, name: str) -> int:
        cells = np.ones(self.sums.shape, bool)
        if "/" in name:
            cells[:] = (np.array(self.labels) == name.partition("/")[2])[:, None]
        return self.sums.images_with(cells)


def boundary_width(size_hw: tuple[int, int]) -> int:
    """How many pixels inside of its border belong to the boundary of an object in an image of this size."""
    return max(1, round(_SHARE * float(np.hypot(*size_hw))))


def count_boundaries(
    truth: npt.NDArray[np.integer[Any]], predicted: npt.NDArray[np.integer[Any]], classes: int
) -> Ints:
    """The counts (C, 3) of an image, both maps (H, W), the true one with classes below C or IGNORED.

    A pixel is on the boundary of its class when a pixel of another class, or the outside of the image, lies within the
    boundary's width in rows and columns. Ignored pixels are alike in both maps, so that their borders favour neither.
    """
    scored = truth != IGNORED
    width = boundary_width((truth.shape[0], truth.shape[1]))
    found = np.where(scored, np.where(predicted < classes, predicted, classes), IGNORED)
    rows, columns = (np.where(_near_border(ids, width) & scored, ids, _NONE)[scored] for ids in (truth, found))
    shared = rows[(rows == columns) & (rows != _NONE)]
    counts = [
        np.bincount(some[(some != _NONE) & (some < classes)], minlength=classes) for some in (shared, rows, columns)
    ]
    return np.stack(counts, axis=1).astype(np.int64)


def match_boundaries(truth: dict[str, Any], results: Sequence[Any], *, max_detections: int = 100) -> Matches:
    """COCO results matched by the lesser of the overlaps of masks and of their boundaries; every `segmentation` is a run-length
    code, of objects too. Crowds are matched by masks."""
    from faster_coco_eval.core import mask as coding

    found, objects = ([record["segmentation"] for record in records] for records in (results, truth["annotations"]))
    crowd = np.array([annotation["iscrowd"] for annotation in truth["annotations"]], bool)
    edge_of_found, edge_of_object = (cache(lambda n, some=some: _mask_boundary(some[n])) for some in (found, objects))

    def overlap(rows: Ints, columns: Ints) -> Floats:
        table = coding.iou([found[n] for n in rows], [objects[n] for n in columns], crowd[columns].tolist())
        values = np.array(table, np.float64)
        # Pairs below 0.5 by their masks stay there.
        for i, j in np.argwhere((values >= 0.5) & ~crowd[columns]):
            edges = coding.iou([edge_of_found(int(rows[i]))], [edge_of_object(int(columns[j]))], [0])
            values[i, j] = min(values[i, j], float(np.asarray(edges)[0, 0]))
        return values

    area = np.asarray(coding.area(found) if found else [], np.float64)
    return match(truth, results, found_area=area, overlap=overlap, max_detections=max_detections)


def mask_boundary(mask: npt.NDArray[np.bool_], width: int) -> npt.NDArray[np.bool_]:
    """The pixels of a mask (h, w) that lie within `width` of a pixel outside of it, in rows and columns."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inner = cv2.erode(padded, _square(width), borderType=cv2.BORDER_CONSTANT, borderValue=0)[1:-1, 1:-1]
    return np.asarray(mask & (inner == 0))


def _mask_boundary(code: Mapping[str, Any]) -> Any:
    from faster_coco_eval.core import mask as coding

    height, width = code["size"]
    x, y, w, h = (int(side) for side in np.asarray(coding.toBbox([code]))[0])
    pixels = np.zeros((height, width), np.uint8, order="F")
    inside = np.asarray(coding.decode(code), bool)[y : y + h, x : x + w]
    if inside.size:
        pixels[y : y + h, x : x + w] = mask_boundary(inside, boundary_width((height, width)))
    return coding.encode(pixels)


def _near_border(ids: npt.NDArray[np.integer[Any]], width: int) -> npt.NDArray[np.bool_]:
    """Where a pixel of another number, or the outside, lies within `width` in rows and columns."""
    numbers, square = ids.astype(np.float32), _square(width)
    near = np.asarray(cv2.dilate(numbers, square) != cv2.erode(numbers, square))
    for edge in (np.s_[:width], np.s_[-width:], np.s_[:, :width], np.s_[:, -width:]):
        near[edge] = True
    return near


def _square(width: int) -> npt.NDArray[np.uint8]:
    return np.ones((2 * width + 1, 2 * width + 1), np.uint8)


def _values(total: Floats, *, labels: Sequence[str], ignored_id: int | None) -> Mapping[str, float]:
    union = total[:, _TRUE] + total[:, _FOUND] - total[:, _SHARED]
    iou = {
        label: float(total[k, _SHARED] / union[k]) for k, label in enumerate(labels) if union[k] > 0 and k != ignored_id
    }
    if not iou:
        return {}
    return {NAME: float(np.mean(list(iou.values()))), **{f"{NAME}/{label}": value for label, value in iou.items()}}
