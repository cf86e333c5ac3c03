"""Hard NMS, exact and vectorized: a box goes when a better box of its class stays and overlaps it above the threshold.

The rule is greedy, from the best score down. Two ways to apply it without comparing one pair at a time:

*All classes of up to 128 boxes together* (`_solve_small`). Greedy is the only solution of
`stay[j] = no better i with stay[i] and IoU(i, j) > threshold`. So begin with "all stay", apply the rule to all boxes at
once, and repeat until nothing changes: round r settles every box that ends a chain of r suppressions, and chains are
short. Sorted by class, then score, the better boxes of its class stand right in front of box j: row e of the view
`front` holds, for every j, box j - depth + e. So all IoUs are a few array operations on a band (depth, N), not (N, N).

*A larger class* (`_solve_large`). Its best 64 boxes are compared with each other and gone through one by one, each
row of the comparison being one integer of bits; the boxes that stay remove what they overlap from the rest; repeat.

The arithmetic is float32 in the order of torchvision's CPU kernel, so the same boxes stay to the last bit, also where
an IoU equals the threshold. Classes are kept apart by sorting and not, as in torchvision's `batched_nms` for up to
1000 boxes, by moving them apart, which rounds the coordinates. Memory: below 400 bytes a candidate plus 1 MiB.
"""

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from edgewright.runtime.nms import ClassIds, FloatArray, IndexArray, Suppressed, check_limits, checked_candidates

BoolArray = npt.NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)

_BLOCK = 64
_SMALL = 2 * _BLOCK
_PAIRS_AT_ONCE = 1 << 15  # float32 work arrays of 128 KiB: six of them stay in a 1 MiB L2 cache
_ZEROS = np.zeros((2, _PAIRS_AT_ONCE), np.float32)  # NumPy's minimum with an array is three times faster than with 0.0


def suppress(
    boxes_xyxy: npt.ArrayLike,
    scores: npt.ArrayLike,
    class_ids: npt.ArrayLike,
    *,
    iou_threshold: float,
    class_agnostic: bool = False,
    max_detections: int | None = None,
) -> Suppressed:
    """The candidates that stay, at most `max_detections`, by falling score, ties in input order.

    Boxes (N, 4) and scores (N,) count as float32, class ids (N,) are any integers. A box without area overlaps
    nothing; infinite values are allowed. UsageError for NaN, other shapes, or a threshold outside 0..1.
    """
    boxes, confidences, labels = checked_candidates(boxes_xyxy, scores, class_ids)
    check_limits(iou_threshold, max_detections)
    one_class = class_agnostic or bool((labels == labels[:1]).all())
    kept = _keep(boxes, confidences, None if one_class else labels, iou_threshold, max_detections)
    return Suppressed(kept, boxes.take(kept, axis=0), confidences.take(kept))


def keep_indices(
    boxes_xyxy: npt.ArrayLike,
    scores: npt.ArrayLike,
    class_ids: npt.ArrayLike,
    *,
    iou_threshold: float,
    class_agnostic: bool = False,
    max_detections: int | None = None,
) -> IndexArray:
    """Only the indices (K,) int64 of `suppress`."""
    return suppress(
        boxes_xyxy,
        scores,
        class_ids,
        iou_threshold=iou_threshold,
        class_agnostic=class_agnostic,
        max_detections=max_detections,
    ).indices


def _keep(
    boxes: FloatArray, scores: FloatArray, labels: ClassIds | None, iou_threshold: float, limit: int | None
) -> IndexArray:
    """The indices that stay; `labels` is None where there is one class."""
    order = (-scores).argsort(kind="stable")
    # Only better boxes suppress: what stays among the best M is the beginning of the full answer.
    size = len(order) if limit is None else 4 * limit
    with np.errstate(all="ignore"):
        overlaps = _Overlaps(iou_threshold)
        while True:
            best = order[:size]
            stay = _solve(_columns(boxes.take(best, axis=0)), None if labels is None else labels.take(best), overlaps)
            if size >= len(order) or (limit is not None and len(stay) >= limit):
                return best[stay][:limit]
            size *= 4


def _columns(boxes: FloatArray) -> FloatArray:
    """Contiguous rows (5, N): x1, y1, -x2, -y2, area; negated, so that one maximum gives all of an intersection."""
    columns = np.empty((5, len(boxes)), np.float32)
    columns[:4] = boxes.T
    np.negative(columns[2:4], out=columns[2:4])
    minus_size = columns[:2] + columns[2:4]
    np.multiply(minus_size[0], minus_size[1], out=columns[4])
    return columns


class _Overlaps:
    """Whether IoU(a, b) > threshold, for columns that broadcast: (5, R, N) or (5, R, 1) with (5, 1, N) gives (R, N)."""

    def __init__(self, iou_threshold: float) -> None:
        # torchvision compares a float32 IoU with a double; the largest float32 up to that double decides the same.
        nearest = np.float32(iou_threshold)
        self._threshold = nearest if float(nearest) <= iou_threshold else np.nextafter(nearest, np.float32(-1))
        self._work = np.empty((4, _PAIRS_AT_ONCE), np.float32)  # once: touching fresh memory costs more than computing

    def __call__(self, a: FloatArray, b: FloatArray) -> BoolArray:
        shape = (a.shape[1], b.shape[2])
        pairs = shape[0] * shape[1]
        work = self._work[:, :pairs].reshape(4, *shape)
        np.maximum(a[:4], b[:4], out=work)
        minus_size, intersection, union = work[:2], work[2], work[3]
        np.add(minus_size, work[2:], out=minus_size)
        np.minimum(minus_size, _ZEROS[:, :pairs].reshape(2, *shape), out=minus_size)
        np.multiply(minus_size[0], minus_size[1], out=intersection)
        np.add(a[4], b[4], out=union)
        np.subtract(union, intersection, out=union)
        np.divide(intersection, union, out=intersection)
        too_much: BoolArray = intersection > self._threshold
        return too_much


def _solve(columns: FloatArray, labels: ClassIds | None, overlaps: _Overlaps) -> IndexArray:
    """The positions of the boxes that stay, ascending; the boxes come sorted by score."""
    if labels is None:
        return _solve_large(columns, overlaps)
    if len(labels) <= _BLOCK:
        return _greedy(overlaps(columns[:, :, None], columns[:, None, :]) & (labels[:, None] == labels))
    order, starts, sizes = _classes(labels)
    large = sizes > _SMALL
    stay = np.zeros(len(labels), dtype=bool)
    for start, size in zip(starts[large], sizes[large], strict=True):
        members = order[start : start + size]
        stay[members[_solve_large(columns.take(members, axis=1), overlaps)]] = True
    small = np.repeat(~large, sizes)
    rank = np.arange(len(labels)) - np.repeat(starts, sizes)
    members = order[small]
    stay[members] = _solve_small(columns.take(members, axis=1), rank[small].astype(np.int16), overlaps)
    return stay.nonzero()[0]


def _classes(labels: ClassIds) -> tuple[IndexArray, IndexArray, IndexArray]:
    """A stable order by class, and in it the start and the size of every class."""
    narrow = labels.astype(np.int16)  # NumPy sorts 16 bits by radix, ten times faster
    order = (narrow if np.array_equal(narrow, labels) else labels).argsort(kind="stable")
    ordered = labels[order]
    is_first = np.ones(len(labels), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    starts = is_first.nonzero()[0]
    return order, starts, np.diff(starts, append=len(labels))


def _solve_small(columns: FloatArray, rank: npt.NDArray[np.int16], overlaps: _Overlaps) -> BoolArray:
    """Which boxes stay, sorted by class and score; `rank` counts them within the class."""
    count, depth = len(rank), int(rank.max(initial=0))
    padded = np.zeros((5, depth + count), np.float32)
    padded[:, depth:] = columns
    front, first = _front(padded, depth), depth - rank  # rows of `front` from `first` on are of the same class
    row = np.arange(depth, dtype=np.int16)[:, None]
    hits = np.zeros((depth, count), dtype=bool)
    for part in _parts(count, depth):
        top = int(first[part].min())
        hits[top:, part] = overlaps(front[:, top:, part], columns[:, None, part]) & (row[top:] >= first[part])
    return _fixed_point(hits)


def _fixed_point(hits: BoolArray) -> BoolArray:
    """`stay` (N,) with stay[j] = no e with hits[e, j] and stay[j - depth + e]."""
    depth, count = hits.shape
    padded = np.ones((1, depth + count), dtype=bool)
    stay, front, work = padded[0, depth:], _front(padded, depth)[0], np.empty_like(hits)
    while True:
        settled: BoolArray = np.logical_not(np.logical_and(hits, front, out=work).any(axis=0))
        if (settled == stay).all():
            return settled
        stay[:] = settled


def _front(padded: npt.NDArray[Scalar], depth: int) -> npt.NDArray[Scalar]:
    """A view (R, depth, N) of rows (R, depth + N) that begin with `depth` fillers: [r, e, j] is element j - depth + e."""
    shape = (len(padded), depth, padded.shape[1] - depth)
    return np.ndarray(shape, padded.dtype, padded, strides=(*padded.strides, padded.itemsize))


def _solve_large(columns: FloatArray, overlaps: _Overlaps) -> IndexArray:
    """The positions of the boxes of one class that stay, ascending; the boxes come sorted by score."""
    rest, stay = np.arange(columns.shape[1]), []
    while len(rest):
        head, columns = columns[:, :_BLOCK], columns[:, _BLOCK:]
        best = _greedy(overlaps(head[:, :, None], head[:, None, :]))
        stay.append(rest[best])
        rest = rest[_BLOCK:]
        if len(rest):
            free = _free(columns, head.take(best, axis=1), overlaps)
            columns, rest = columns.take(free, axis=1), rest.take(free)
    return np.concatenate(stay) if stay else rest


def _greedy(hits: BoolArray) -> IndexArray:
    """The positions of the boxes that stay, if hits[i, j] says that j goes with i; the boxes come sorted by score."""
    width = (len(hits) + 7) // 8
    rows = np.packbits(hits, axis=1, bitorder="little").tobytes()
    stay, gone = [], 0
    for index in range(len(hits)):
        if not gone >> index & 1:
            stay.append(index)
            gone |= int.from_bytes(rows[index * width : (index + 1) * width], "little")
    return np.array(stay, np.int64)


def _free(columns: FloatArray, winners: FloatArray, overlaps: _Overlaps) -> IndexArray:
    """The positions of the boxes that no winner overlaps."""
    free = np.empty(columns.shape[1], dtype=bool)
    for part in _parts(len(free), winners.shape[1]):
        free[part] = ~overlaps(winners[:, :, None], columns[:, None, part]).any(axis=0)
    return free.nonzero()[0]


def _parts(count: int, depth: int) -> Iterator[slice]:
    """Slices of range(count), each with at most `_PAIRS_AT_ONCE` pairs at `depth` pairs an element."""
    length = _PAIRS_AT_ONCE // max(depth, 1)
    return (slice(start, start + length) for start in range(0, count, length))
