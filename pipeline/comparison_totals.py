"""Sums of what two networks have found, frame by frame."""

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.agreement import (
    Floats,
    Ints,
    Pairing,
    class_pixels,
    class_table,
    pair_detections,
    pair_segments,
    renumbered,
)
from edgewright.pipeline.comparison import (
    ClassObjects,
    ClassPixels,
    Flip,
    FrameDifference,
    Limit,
    Objects,
    Pixels,
    Spread,
)
from edgewright.runtime.errors import UsageError
from edgewright.runtime.results import Detections, Frame, Image, PanopticMap, Result, SemanticMap

_WORST = 5

# What may be limited: the share of A's objects that B does not find, the share of B's that A does not have, the share of A's that
# B calls otherwise, the 95th percentile of the matched scores' change, and the share of pixels of another class.
LIMITS = ("lost", "new", "flipped", "score-drift", "pixels")


@dataclass(frozen=True, eq=False)
class WorstFrame:
    """A frame on which the two differ much, with what each of them found there, classes in its own numbers."""

    difference: FrameDifference
    image: Image
    a: Result
    b: Result

    @property
    def differs(self) -> bool:
        """Whether there is something to see: a score that moves by less than a hundredth is not."""
        unmatched, disagreement, drift = _badness(self.difference)
        return unmatched > 0 or disagreement > 0 or drift > 0.01


@dataclass(eq=False)
class Totals:
    """Sums over the frames, and the few worst of them."""

    labels_a: tuple[str, ...]
    labels_b: tuple[str, ...]
    frames: int = 0
    _counts: dict[str, Counter[int]] = field(
        default_factory=lambda: {key: Counter() for key in ("a", "b", "matched", "lost", "new", "flipped")}
    )
    _flips: Counter[tuple[int, int]] = field(default_factory=Counter)
    _drift: list[Floats] = field(default_factory=list)
    _overlap: list[Floats] = field(default_factory=list)
    _mask_overlap: list[Floats] = field(default_factory=list)
    _heap: list[tuple[tuple[int, float, float], int, WorstFrame]] = field(default_factory=list)
    _has_objects: bool = False
    _confusion: Ints | None = None

    def __post_init__(self) -> None:
        self._names, self._numbers = class_table(self.labels_a, self.labels_b)

    def add(self, frame: Frame, a: Result, b: Result) -> Pairing | None:
        """Count one frame; which of its objects are the same, None for class maps."""
        same = renumbered(b, self._numbers)
        pairing, agreement = None, None
        if isinstance(a, Detections) and isinstance(same, Detections):
            pairing = pair_detections(a, same)
            self._count(pairing, a.class_ids, same.class_ids)
        elif isinstance(a, PanopticMap) and isinstance(same, PanopticMap):
            pairing = pair_segments(a, same)
            self._count(pairing, *(np.array([s.class_id for s in side.segments], np.int64) for side in (a, same)))
        if isinstance(a, SemanticMap | PanopticMap) and isinstance(same, SemanticMap | PanopticMap):
            agreement = self._count_pixels(class_pixels(a), class_pixels(same))
        difference = _difference(frame, pairing, agreement)
        self._remember(WorstFrame(difference, frame.image, a, b))
        self.frames += 1
        return pairing

    def worst(self) -> tuple[WorstFrame, ...]:
        return tuple(entry for _, _, entry in sorted(self._heap, key=lambda item: item[:2], reverse=True))

    def objects(self) -> Objects | None:
        if not self._has_objects:
            return None
        drift, overlap, masks = (
            np.concatenate([np.zeros(0), *parts]) for parts in (self._drift, self._overlap, self._mask_overlap)
        )
        return Objects(
            **{key: counts.total() for key, counts in self._counts.items()},
            score_drift=_spread(np.abs(drift[~np.isnan(drift)])),
            box_shift=_spread(1 - overlap),
            mask_shift=_spread(1 - masks),
        )

    def classes(self) -> Iterator[ClassObjects]:
        """The classes that occur, those with the most differences first."""
        counts = self._counts
        numbers = sorted(
            set().union(*counts.values()),
            key=lambda n: (-(counts["lost"][n] + counts["new"][n] + counts["flipped"][n]), n),
        )
        for number in numbers:
            yield ClassObjects(label=self._names[number], **{key: counts[key][number] for key in counts})

    def flips(self) -> Iterator[Flip]:
        for (ours, theirs), count in self._flips.most_common():
            yield Flip(a=self._names[ours], b=self._names[theirs], count=count)

    def pixels(self) -> Pixels | None:
        if self._confusion is None:
            return None
        table = self._confusion
        union = table.sum(axis=1) + table.sum(axis=0) - table.diagonal()
        return Pixels(
            agreement=float(np.trace(table) / max(int(table.sum()), 1)),
            classes=tuple(
                ClassPixels(
                    label=self._names[number] if number < len(self._names) else "(no class)",
                    a=int(table[number].sum()),
                    b=int(table[:, number].sum()),
                    overlap=float(table[number, number] / union[number]),
                )
                for number in np.flatnonzero(union).tolist()
            ),
        )

    def limits(self, limits: Mapping[str, float]) -> Iterator[Limit]:
        objects, pixels = self.objects(), self.pixels()
        values: dict[str, float] = {}
        if objects is not None:
            values = {
                "lost": objects.lost / max(objects.a, 1),
                "new": objects.new / max(objects.b, 1),
                "flipped": objects.flipped / max(objects.a, 1),
                "score-drift": objects.score_drift.p95 if objects.score_drift else 0.0,
            }
        if pixels is not None:
            values["pixels"] = 1 - pixels.agreement
        for name, limit in limits.items():
            if name not in values:
                raise UsageError(
                    f"--max-{name} is of no meaning for these networks; what may be limited: {', '.join(values)}"
                )
            yield Limit(name=name, limit=limit, value=values[name])

    def _count(self, pairing: Pairing, classes_a: Ints, classes_b: Ints) -> None:
        self._has_objects = True
        flipped = list(
            zip(classes_a[pairing.flipped[:, 0]].tolist(), classes_b[pairing.flipped[:, 1]].tolist(), strict=True)
        )
        for key, numbers in (
            ("a", classes_a),
            ("b", classes_b),
            ("matched", classes_a[pairing.matched[:, 0]]),
            ("lost", classes_a[pairing.lost]),
            ("new", classes_b[pairing.new]),
            ("flipped", classes_a[pairing.flipped[:, 0]]),
        ):
            self._counts[key].update(numbers.tolist())
        self._flips.update(flipped)
        self._drift.append(pairing.score_change)
        self._overlap.append(pairing.overlap)
        if pairing.mask_overlap is not None:
            self._mask_overlap.append(pairing.mask_overlap)

    def _count_pixels(self, a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
        """The share of equal pixels; the last number stands for pixels of no class."""
        size = len(self._names) + 1
        ours, theirs = (np.where((ids < 0) | (ids >= size), size - 1, ids).astype(np.int64) for ids in (a, b))
        table = np.bincount((ours * size + theirs).ravel(), minlength=size * size).reshape(size, size)
        self._confusion = table if self._confusion is None else self._confusion + table
        return float(np.trace(table) / table.sum())

    def _remember(self, frame: WorstFrame) -> None:
        """Ties go to the earlier frame."""
        entry = (_badness(frame.difference), -self.frames, frame)
        if len(self._heap) < _WORST:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)


def _difference(frame: Frame, pairing: Pairing | None, agreement: float | None) -> FrameDifference:
    if pairing is None:
        return FrameDifference(index=frame.index, source=frame.source, agreement=agreement)
    drift = np.abs(pairing.score_change[~np.isnan(pairing.score_change)])
    return FrameDifference(
        index=frame.index,
        source=frame.source,
        lost=len(pairing.lost),
        new=len(pairing.new),
        flipped=len(pairing.flipped),
        largest_drift=float(drift.max(initial=0.0)),
        agreement=agreement,
    )


def _badness(frame: FrameDifference) -> tuple[int, float, float]:
    disagreement = 0.0 if frame.agreement is None else 1 - frame.agreement
    return frame.lost + frame.new + frame.flipped, disagreement, frame.largest_drift


def _spread(values: Floats) -> Spread | None:
    if not len(values):
        return None
    return Spread(mean=float(values.mean()), p95=float(np.percentile(values, 95)), most=float(values.max()))
