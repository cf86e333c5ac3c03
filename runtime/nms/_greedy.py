"""Greedy suppression of any rule, exact and vectorized: a box goes when a better box of its class stays and hits it.

The rule is greedy, from the best score down. Two ways to apply it without comparing one pair at a time:

*All classes of up to 128 boxes together* (`_solve_small`). Greedy is the only solution of
`stay[j] = no better i with stay[i] and IoU(i, j) > threshold`. So begin with "all stay", apply the rule to all boxes at
once, and repeat until nothing changes: round r settles every box that ends a chain of r suppressions, and chains are
short. Sorted by class, then score, the better boxes of its class stand right in front of box j: row e of the view
`front` holds, for every j, box j - depth + e. So all IoUs are a few array operations on a band (depth, N), not (N, N).

*A larger class* (`_solve_large`). Its best 64 boxes are compared with each other and gone through one by one, each
row of the comparison being one integer of bits; the boxes that stay remove what they overlap from the rest; repeat.

Memory: below 400 bytes a candidate plus 1 MiB.
"""

from collections.abc import Iterator
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from edgewright.runtime.nms import ClassIds, FloatArray, IndexArray, Suppressed, checked_candidates

BoolArray = npt.NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)

_BLOCK = 64
_SMALL = 2 * _BLOCK
_PAIRS_AT_ONCE = 1 << 15  # float32 work arrays of 128 KiB: six of them stay in a 1 MiB L2 cache
_ZEROS = np.zeros((2, _PAIRS_AT_ONCE), np.float32)  # NumPy's minimum with an array is three times faster than with 0.0


class Rule(Protocol):
    """Whether a better box that stays removes a worse one: columns (5, R, N) or (5, R, 1) with (5, 1, N) give (R, N) bool.

    The five are x1, y1, -x2, -y2 and the area; there are at most 32768 pairs at once.
    """

    def __call__(self, better: FloatArray, worse: FloatArray, /) -> BoolArray: ...


def suppress_greedily(
    boxes_xyxy: npt.ArrayLike,
    scores: npt.ArrayLike,
    class_ids: npt.ArrayLike,
    rule: Rule,
    *,
    class_agnostic: bool,
    max_detections: int | None,
) -> Suppressed:
    """The candidates that stay under the `rule`, at most `max_detections`, by falling score, ties in input order."""
    boxes, confidences, labels = checked_candidates(boxes_xyxy, scores, class_ids)
    one_class = class_agnostic or bool((labels == labels[:1]).all())
    kept = _keep(boxes, confidences, None if one_class else labels, rule, max_detections)
    return Suppressed(kept, boxes.take(kept, axis=0), confidences.take(kept))


class Overlaps:
    """The rule of hard suppression: IoU(better, worse) > threshold.

    The arithmetic is float32 in the order of torchvision's CPU kernel.
    """

    def __init__(self, iou_threshold: float) -> None:
        self.threshold = float32_at_most(iou_threshold)
        self._work = np.empty((4, _PAIRS_AT_ONCE), np.float32)  # once: touching fresh memory costs more than computing

    def __call__(self, better: FloatArray, worse: FloatArray) -> BoolArray:
        too_much: BoolArray = self.iou(better, worse) > self.threshold
        return too_much

    def iou(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """The overlaps (R, N), overwritten by the next call; NaN where both boxes have no area."""
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
        iou: FloatArray = np.divide(intersection, union, out=intersection)
        return iou


def float32_at_most(value: float) -> np.float32:
    """The largest float32 up to `value`: comparing a float32 with it decides as comparing with the double itself."""
    nearest = np.float32(value)
    return nearest if float(nearest) <= value else np.float32(np.nextafter(nearest, np.float32(-1)))


def columns_of(boxes: FloatArray) -> FloatArray:
    """Contiguous rows (5, N): x1, y1, -x2, -y2, area; negated, so that one maximum gives all of an intersection."""
    columns = np.empty((5, len(boxes)), np.float32)
    columns[:4] = boxes.T
    np.negative(columns[2:4], out=columns[2:4])
    minus_size = columns[:2] + columns[2:4]
    np.multiply(minus_size[0], minus_size[1], out=columns[4])
    return columns


def classes_of(labels: ClassIds) -> tuple[IndexArray, IndexArray, IndexArray]:
    """A stable order by class, and in it the start and the size of every class."""
    narrow = labels.astype(np.int16)  # NumPy sorts 16 bits by radix, ten times faster
    order = (narrow if np.array_equal(narrow, labels) else labels).argsort(kind="stable")
    ordered = labels[order]
    is_first = np.ones(len(labels), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    starts = is_first.nonzero()[0]
    return order, starts, np.diff(starts, append=len(labels))


def parts(count: int, depth: int) -> Iterator[slice]:
    """Slices of range(count), each with at most as many pairs as a `Rule` takes at once, at `depth` pairs an element."""
    length = max(_PAIRS_AT_ONCE // max(depth, 1), 1)
    return (slice(start, start + length) for start in range(0, count, length))


def _keep(boxes: FloatArray, scores: FloatArray, labels: ClassIds | None, rule: Rule, limit: int | None) -> IndexArray:
    """The indices that stay; `labels` is None where there is one class."""
    order = (-scores).argsort(kind="stable")
    # Only better boxes suppress: what stays among the best M is the beginning of the full answer.
    size = len(order) if limit is None else 4 * limit
    with np.errstate(all="ignore"):
        while True:
            best = order[:size]
            stay = _solve(columns_of(boxes.take(best, axis=0)), None if labels is None else labels.take(best), rule)
            if size >= len(order) or (limit is not None and len(stay) >= limit):
                return best[stay][:limit]
            size *= 4


def _solve(columns: FloatArray, labels: ClassIds | None, rule: Rule) -> IndexArray:
    """The positions of the boxes that stay, ascending; the boxes come sorted by score."""
    if labels is None:
        return _solve_large(columns, rule)
    if len(labels) <= _BLOCK:
        return _greedy(rule(columns[:, :, None], columns[:, None, :]) & (labels[:, None] == labels))
    order, starts, sizes = classes_of(labels)
    large = sizes > _SMALL
    stay = np.zeros(len(labels), dtype=bool)
    for start, size in zip(starts[large], sizes[large], strict=True):
        members = order[start : start + size]
        stay[members[_solve_large(columns.take(members, axis=1), rule)]] = True
    small = np.repeat(~large, sizes)
    rank = np.arange(len(labels)) - np.repeat(starts, sizes)
    members = order[small]
    stay[members] = _solve_small(columns.take(members, axis=1), rank[small].astype(np.int16), rule)
    return stay.nonzero()[0]


def _solve_small(columns: FloatArray, rank: npt.NDArray[np.int16], rule: Rule) -> BoolArray:
    """Which boxes stay, sorted by class and score; `rank` counts them within the class."""
    count, depth = len(rank), int(rank.max(initial=0))
    padded = np.zeros((5, depth + count), np.float32)
    padded[:, depth:] = columns
    front, first = _front(padded, depth), depth - rank  # rows of `front` from `first` on are of the same class
    row = np.arange(depth, dtype=np.int16)[:, None]
    hits = np.zeros((depth, count), dtype=bool)
    for part in parts(count, depth):
        top = int(first[part].min())
        hits[top:, part] = rule(front[:, top:, part], columns[:, None, part]) & (row[top:] >= first[part])
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


def _solve_large(columns: FloatArray, rule: Rule) -> IndexArray:
    """The positions of the boxes of one class that stay, ascending; the boxes come sorted by score."""
    rest, stay = np.arange(columns.shape[1]), []
    while len(rest):
        head, columns = columns[:, :_BLOCK], columns[:, _BLOCK:]
        best = _greedy(rule(head[:, :, None], head[:, None, :]))
        stay.append(rest[best])
        rest = rest[_BLOCK:]
        if len(rest):
            free = _free(columns, head.take(best, axis=1), rule)
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


def _free(columns: FloatArray, winners: FloatArray, rule: Rule) -> IndexArray:
    """The positions of the boxes that no winner overlaps."""
    free = np.empty(columns.shape[1], dtype=bool)
    for part in parts(len(free), winners.shape[1]):
        free[part] = ~rule(winners[:, :, None], columns[:, None, part]).any(axis=0)
    return free.nonzero()[0]
