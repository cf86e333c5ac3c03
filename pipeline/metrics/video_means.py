"""J and F over the objects of many videos, kept video by video: objects of one video are not independent of each other."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from edgewright.pipeline.metrics.image_sums import Floats, ImageSums, Ints, SummedScores, sums_of
from edgewright.pipeline.metrics.video import ObjectScores
from edgewright.pipeline.report.schema import Measurement

_COLUMNS = ("objects", "J", "J-recall", "J-decay", "F", "F-recall", "F-decay")
_OBJECTS, _J, _F = (_COLUMNS.index(name) for name in ("objects", "J", "F"))
_DECAYS = ("J-decay", "F-decay")


@dataclass(frozen=True, eq=False)
class VideoMeans:
    """Sums (videos, 7) of every video: how many objects it has, and what their scores add up to; other rows are 0.

    The ids of its "images" number the videos.
    """

    names: tuple[str, ...]
    sums: ImageSums

    @property
    def image_ids(self) -> Ints:
        return self.sums.image_ids

    def of_images(self, images: Ints) -> "VideoMeans":
        return replace(self, sums=self.sums.of_images(images))

    def scores(self, names: Collection[str] | None = None) -> SummedScores:
        """What is better when higher, as functions of how often every video occurs."""
        return SummedScores(self.sums, self._rising, names=names, support=self._support)

    def measurements(self) -> tuple[Measurement, ...]:
        """`J&F`, `J`, `F`, their recalls and decays, and `J&F/VIDEO`, means over objects; none where there is no object."""
        return tuple(
            Measurement(name=name, value=value, unit="fraction", higher_is_better=name not in _DECAYS)
            for name, value in self._values(self.sums.total()).items()
        )

    def _rising(self, total: Floats) -> Mapping[str, float]:
        return {name: value for name, value in self._values(total).items() if name not in _DECAYS}

    def _values(self, total: Floats) -> Mapping[str, float]:
        whole = total.sum(axis=0)
        if not whole[_OBJECTS]:
            return {}
        means = dict(zip(_COLUMNS[1:], (whole[1:] / whole[_OBJECTS]).tolist(), strict=True))
        present = np.flatnonzero(total[:, _OBJECTS]).tolist()
        return {"J&F": _both(whole), **means, **{f"J&F/{self.names[row]}": _both(total[row]) for row in present}}

    def _support(self, name: str) -> int:
        cells = np.zeros(self.sums.shape, bool)
        video = name.partition("/")[2]
        cells[self.names.index(video) if video else slice(None), _OBJECTS] = True
        return self.sums.images_with(cells)


def video_means(videos: Mapping[str, Mapping[int, ObjectScores]]) -> VideoMeans:
    """Of the scores of every object by its number, by the name of its video."""
    shape = (len(videos), len(_COLUMNS))
    tables = []
    for row, scores in enumerate(videos.values()):
        table = np.zeros(shape)
        for one in scores.values():
            table[row] += (1, one.j.mean, one.j.recall, one.j.decay, one.f.mean, one.f.recall, one.f.decay)
        tables.append(table)
    return VideoMeans(tuple(videos), sums_of(range(1, len(videos) + 1), tables, shape))


def _both(row: Floats) -> float:
    return float((row[_J] + row[_F]) / (2 * row[_OBJECTS]))
