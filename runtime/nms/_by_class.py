"""Candidates side by side with others of their class, for variants that lower scores class by class."""

from collections.abc import Iterator

import numpy as np

from edgewright.runtime.nms import ClassIds, FloatArray, IndexArray, Suppressed
from edgewright.runtime.nms._greedy import classes_of

# The work arrays of a table of this size stay in a cache; a larger one is several times slower per cell.
_CELLS = 1 << 13


def rows_of_classes(scores: FloatArray, labels: ClassIds | None) -> Iterator[IndexArray]:
    """Tables (C, K) of candidates, a row for every class, best first, ties in input order; -1 fills up.

    Classes of similar size share a table, as many as make it no larger than a cache. `labels` None is one class.
    """
    best_first = (-scores).argsort(kind="stable")
    if labels is None or not len(labels):
        yield best_first[None, :]
        return
    order, starts, sizes = classes_of(labels[best_first])
    by_size, done = np.argsort(-sizes, kind="stable"), 0
    while done < len(by_size):
        length = int(sizes[by_size[done]])
        chosen = by_size[done : done + max(_CELLS // length, 1)]
        done += len(chosen)
        place = np.arange(length)
        filled = place < sizes[chosen, None]
        yield np.where(filled, best_first[order[np.where(filled, starts[chosen, None] + place, 0)]], -1)


def row_columns(boxes: FloatArray, rows: IndexArray) -> FloatArray:
    """x1, y1, -x2, -y2 and the area (5, C, K) of the boxes in a table; fillers have no area."""
    columns = np.empty((5, *rows.shape), np.float32)
    columns[:4] = np.moveaxis(boxes[rows], -1, 0)
    columns[:4, rows < 0] = 0
    columns[2:4] *= -1
    minus_size = columns[:2] + columns[2:4]
    np.multiply(minus_size[0], minus_size[1], out=columns[4])
    return columns


def overlaps_of(a: FloatArray, b: FloatArray) -> FloatArray:
    """The IoU of columns (5, ...) that broadcast; 0 where it is no number, as of boxes without area."""
    edges = np.maximum(a[:4], b[:4])
    minus_size = np.minimum(edges[:2] + edges[2:], np.float32(0))
    shared = minus_size[0] * minus_size[1]
    union = a[4] + b[4] - shared
    return np.asarray(np.fmax(shared / union, np.float32(0)), np.float32)


def best_of(
    boxes: FloatArray, indices: IndexArray, scores: FloatArray, original: FloatArray, limit: int | None
) -> Suppressed:
    """What remains with its new scores, best first; ties by the original score, then in input order."""
    order = np.lexsort((indices, -original[indices], -scores))[:limit]
    kept = indices[order]
    return Suppressed(kept, boxes[kept], scores[order])
