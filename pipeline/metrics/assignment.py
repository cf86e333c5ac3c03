"""Which detection finds which object, by COCO's rules, for all images, thresholds and areas at once."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Bits = npt.NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Detections and objects that overlap (P,): those of a group together, in it those of a detection, the best first.

    Detections compete for objects only within their group.
    """

    group: Ints
    found: Ints
    objects: Ints
    overlap: Floats


@dataclass(frozen=True, eq=False)
class Objects:
    """Which objects do not count, in each area (areas, O), and which may be found more than once (O,): crowds."""

    ignored: Bools
    reusable: Bools


def assign(pairs: Pairs, objects: Objects, thresholds: Floats, *, detections: int) -> tuple[Bits, Bits]:
    """Bits t of threshold t, each (areas, detections): found an object that counts, found one that does not.

    Detections take their turn; each takes the free object that it overlaps most, one that counts before one that does not;
    of equal ones the last, as pycocotools does.
    """
    pairs = _in_rising_order(pairs)
    hit, ignored = (np.zeros((len(objects.ignored), detections), np.uint16) for _ in range(2))
    taken = np.zeros((len(objects.ignored), len(thresholds), len(objects.reusable)), bool)
    bits = (1 << np.arange(len(thresholds))).astype(np.uint16)[:, None]
    for turn in _turns(pairs):
        starts = _starts(pairs.found[turn])
        target = pairs.objects[turn]
        free = ~taken[:, :, target] | objects.reusable[target]
        # pycocotools, COCOeval.evaluateImg: an overlap that misses a threshold of 1 by rounding reaches it.
        free &= pairs.overlap[turn] >= np.minimum(thresholds, 1 - 1e-10)[:, None]
        preference = np.arange(1, len(turn) + 1) + len(turn) * ~objects.ignored[:, None, target]
        best = np.maximum.reduceat(np.where(free, preference, 0), starts, axis=2)
        chosen = target[(best - 1) % len(turn)]
        counts = best > len(turn)
        hit[:, pairs.found[turn][starts]] = np.bitwise_or.reduce(np.where(counts, bits, 0), axis=1)
        ignored[:, pairs.found[turn][starts]] = np.bitwise_or.reduce(np.where((best > 0) & ~counts, bits, 0), axis=1)
        area, threshold, place = np.nonzero(best)
        taken[area, threshold, chosen[area, threshold, place]] = True
    return hit, ignored


def _in_rising_order(pairs: Pairs) -> Pairs:
    """The pairs of a detection by rising overlap, so that the one to take is the last of those that are free."""
    order = np.lexsort((pairs.objects, pairs.overlap, _number_of_run(pairs.found)))
    return Pairs(pairs.group[order], pairs.found[order], pairs.objects[order], pairs.overlap[order])


def _turns(pairs: Pairs) -> Iterator[Ints]:
    """Indices of the pairs of every group's first detection, then of every group's second, ..."""
    number = _number_of_run(pairs.found)
    turn = number - number[_starts(pairs.group)][_number_of_run(pairs.group)]
    order = np.argsort(turn, kind="stable")
    return iter(np.split(order, _starts(turn[order])[1:])) if len(order) else iter(())


def _starts(values: Ints) -> Ints:
    """Where runs of equal values start."""
    return np.flatnonzero(np.diff(values, prepend=values[:1] - 1))


def _number_of_run(values: Ints) -> Ints:
    """0 for the first run of equal values, 1 for the second, ..."""
    return np.cumsum(np.diff(values, prepend=values[:1]) != 0)
