"""Which objects that are followed from frame to frame only one of two sides has seen."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edgewright.pipeline.agreement import Pairing
from edgewright.pipeline.comparison import Track, Tracks
from edgewright.runtime.results import Detections, Frame
from edgewright.runtime.steps import film_of


@dataclass(eq=False)
class _Seen:
    """One track of one side."""

    first: int
    last: int = 0
    frames: int = 0
    also: int = 0
    labels: Counter[int] = field(default_factory=Counter)
    other_labels: Counter[int] = field(default_factory=Counter)

    def add(self, index: int, label: int, other_label: int | None) -> None:
        self.last = index
        self.frames += 1
        self.labels[label] += 1
        if other_label is not None:
            self.also += 1
            self.other_labels[other_label] += 1


_Side = dict[tuple[str, int], _Seen]


class TrackTotals:
    """Counts frame by frame; `names` are those of the class numbers, which must mean the same on both sides."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._a: _Side = {}
        self._b: _Side = {}

    def add(self, frame: Frame, a: Detections, b: Detections, pairing: Pairing) -> None:
        """One frame; objects without a track count on neither side."""
        pairs = [*pairing.matched.tolist(), *pairing.flipped.tolist()]
        _count(self._a, frame, a, {i: int(b.class_ids[j]) for i, j in pairs})
        _count(self._b, frame, b, {j: int(a.class_ids[i]) for i, j in pairs})

    def tracks(self) -> Tracks | None:
        """The sums; None when neither side was tracked."""
        if not self._a and not self._b:
            return None
        return Tracks(
            a=len(self._a),
            b=len(self._b),
            lost=self._longest(self._a, _is_missed),
            new=self._longest(self._b, _is_missed),
            flipped=self._longest(self._a, _is_flipped),
        )

    def _longest(self, side: _Side, which: Callable[[_Seen], bool]) -> tuple[Track, ...]:
        chosen = [(key, seen) for key, seen in side.items() if which(seen)]
        return tuple(self._track(*entry) for entry in sorted(chosen, key=lambda entry: (-entry[1].frames, entry[0])))

    def _track(self, key: tuple[str, int], seen: _Seen) -> Track:
        return Track(
            label=self._name(_most(seen.labels)),
            source=key[0],
            track_id=key[1],
            first=seen.first,
            last=seen.last,
            frames=seen.frames,
            also=seen.also,
            other_label=self._name(_most(seen.other_labels)) if _is_flipped(seen) else None,
        )

    def _name(self, number: int) -> str:
        return self._names[number] if 0 <= number < len(self._names) else f"class {number}"


def _count(side: _Side, frame: Frame, found: Detections, other_labels: dict[int, int]) -> None:
    if found.track_ids is None:
        return
    for place, track_id in enumerate(found.track_ids.tolist()):
        if track_id >= 0:
            seen = side.setdefault((film_of(frame), track_id), _Seen(frame.index))
            seen.add(frame.index, int(found.class_ids[place]), other_labels.get(place))


def _is_missed(seen: _Seen) -> bool:
    return 2 * seen.also < seen.frames


def _is_flipped(seen: _Seen) -> bool:
    return not _is_missed(seen) and _most(seen.labels) != _most(seen.other_labels)


def _most(counts: Counter[int]) -> int:
    return counts.most_common(1)[0][0]
