"""Panoptic quality: Kirillov et al., "Panoptic Segmentation", CVPR 2019, by the rules of COCO's evaluation."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.metrics.image_sums import Floats, ImageSums, Ints, SummedScores
from edgewright.pipeline.report.schema import Measurement
from edgewright.runtime.errors import DataError

# Pixels of the truth that belong to no segment, and of a result that were assigned to none.
VOID = 0
# The columns of a class: sum of the overlaps of its hits, hits, false alarms, misses.
OVERLAP, HITS, FALSE, MISSED = range(4)


@dataclass(frozen=True)
class LabelledSegment:
    """A segment of a panoptic map: its number there, its class (an index), and whether it stands for a crowd of objects."""

    segment_id: int
    class_id: int
    is_crowd: bool = False


@dataclass(frozen=True, eq=False)
class SegmentCounts:
    """What became of the segments of every image: sums (C, 4) of overlaps of hits, hits, false alarms and misses."""

    labels: tuple[str, ...]
    things: npt.NDArray[np.bool_]
    sums: ImageSums

    @property
    def image_ids(self) -> Ints:
        return self.sums.image_ids

    def scores(self, names: Collection[str] | None = None) -> SummedScores:
        """Those of the names that can be measured, as a function of how often every image occurs."""
        score = partial(_values, labels=self.labels, things=self.things)
        return SummedScores(self.sums, score, names=names, support=self._support)

    def of_images(self, images: Ints) -> "SegmentCounts":
        return replace(self, sums=self.sums.of_images(images))

    def _support(self, name: str) -> int:
        cells = np.zeros(self.sums.shape, bool)
        rows = {"PQ-things": self.things, "PQ-stuff": ~self.things}.get(name, np.ones(len(self.labels), bool))
        if "/" in name:
            rows = np.array(self.labels) == name.partition("/")[2]
        cells[rows] = (False, True, False, True)
        return self.sums.images_with(cells)


def count_segments(
    truth_ids: npt.NDArray[np.int32],
    truth: Sequence[LabelledSegment],
    found_ids: npt.NDArray[np.int32],
    found: Sequence[LabelledSegment],
    *,
    classes: int,
) -> Floats:
    """The counts (classes, 4) of an image, from segment numbers per pixel (H, W) and what the numbers mean.

    A found segment hits the one of its class that it overlaps by more than half; void pixels do not count in the union. One
    that lies for more than half in void or in crowds of its class is no false alarm. Crowds can be neither hit nor missed.
    """
    shared = _shared(truth_ids, found_ids, [s.segment_id for s in truth], [s.segment_id for s in found])
    true_class, found_class = (np.array([s.class_id for s in some], np.int64) for some in (truth, found))
    crowd = np.array([s.is_crowd for s in truth], bool)
    same = (
        (true_class[:, None] == found_class) if len(truth) and len(found) else np.zeros((len(truth), len(found)), bool)
    )
    both, in_void = shared[1:, 1:], shared[0, 1:]
    true_area, found_area = shared[1:].sum(axis=1), shared[:, 1:].sum(axis=0)
    union = true_area[:, None] + found_area - both - in_void
    overlap = np.divide(both, union, out=np.zeros(both.shape), where=union > 0)
    hit = (overlap > 0.5) & same & ~crowd[:, None]
    excused = in_void + (both * (same & crowd[:, None])).sum(axis=0)
    missed, false = ~hit.any(axis=1) & ~crowd, ~hit.any(axis=0) & (2 * excused <= found_area) & (found_area > 0)
    counts = np.zeros((classes, 4))
    rows = np.nonzero(hit)[0]
    np.add.at(counts[:, OVERLAP], true_class[rows], overlap[hit])
    np.add.at(counts[:, HITS], true_class[rows], 1)
    np.add.at(counts[:, FALSE], found_class[false], 1)
    np.add.at(counts[:, MISSED], true_class[missed], 1)
    return counts


def segment_scores(counts: SegmentCounts) -> tuple[tuple[Measurement, ...], tuple[str, ...]]:
    """Measurements in [0, 1] of all images, and notes on classes that appear nowhere, which do not count."""
    total = counts.sums.total()
    if not total[:, [HITS, MISSED]].sum():
        raise DataError("the labels hold no segment that counts, so nothing can be scored; use other images")
    values = _values(total, labels=counts.labels, things=counts.things)
    absent = [label for label, row in zip(counts.labels, total, strict=True) if not row[HITS:].any()]
    few = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
    notes = (f"{len(absent)} of {len(counts.labels)} classes appear nowhere and do not count: {few}",) if absent else ()
    measured = (Measurement(name=n, value=v, unit="fraction", higher_is_better=True) for n, v in values.items())
    return tuple(measured), notes


def _values(total: Floats, *, labels: Sequence[str], things: npt.NDArray[np.bool_]) -> Mapping[str, float]:
    """PQ, SQ and RQ as means over the classes that appear, and PQ of every class; what is undefined is left out."""
    hits = total[:, HITS]
    weight = hits + 0.5 * total[:, FALSE] + 0.5 * total[:, MISSED]
    present = weight > 0
    pq, rq = (np.divide(part, weight, out=np.zeros(len(weight)), where=present) for part in (total[:, OVERLAP], hits))
    sq = np.divide(total[:, OVERLAP], hits, out=np.zeros(len(hits)), where=hits > 0)
    values: dict[str, float] = {}
    for suffix, chosen in (("", present), ("-things", present & things), ("-stuff", present & ~things)):
        if chosen.any():
            measured = {"PQ": pq, "SQ": sq, "RQ": rq} if not suffix else {"PQ": pq}
            values |= {f"{name}{suffix}": float(per_class[chosen].mean()) for name, per_class in measured.items()}
    return {**values, **{f"PQ/{label}": float(pq[k]) for k, label in enumerate(labels) if present[k]}}


def _shared(
    truth_ids: npt.NDArray[np.int32], found_ids: npt.NDArray[np.int32], truth: Sequence[int], found: Sequence[int]
) -> Ints:
    """The pixels (T + 1, F + 1) that every pair shares; the first row and column are VOID."""
    rows, columns = _index(truth_ids, truth, "truth"), _index(found_ids, found, "result")
    width = len(found) + 1
    counts = np.bincount(rows * width + columns, minlength=(len(truth) + 1) * width)
    return counts.reshape(-1, width).astype(np.int64)


def _index(ids: npt.NDArray[np.int32], segments: Sequence[int], what: str) -> Ints:
    """Which of the segments every pixel belongs to, counting from 1, 0 where it is VOID."""
    if len(set(segments)) < len(segments) or VOID in segments:
        raise DataError(f"the segments of the {what} are numbered {sorted(segments)}, wanted unique numbers from 1 on")
    numbers = np.array([VOID, *segments])
    order = np.argsort(numbers)
    flat, known = ids.ravel(), numbers[order]
    place = np.searchsorted(known, flat).clip(max=len(known) - 1)
    strange = flat[known[place] != flat]
    if len(strange):
        raise DataError(f"the map of the {what} holds segment {strange.min()}, which its list of segments lacks")
    found: Ints = order[place]
    return found
