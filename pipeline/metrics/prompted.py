"""How well masks cover what was pointed at: the mean overlap (IoU) over objects."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgewright.pipeline.metrics.image_sums import Floats, ImageSums, Ints, SummedScores
from edgewright.pipeline.report.schema import Measurement

# Columns of the counts of a class.
OBJECTS, ANSWER, BEST = range(3)


@dataclass(frozen=True, eq=False)
class PromptedOverlaps:
    """Sums (classes, 3) of every image: how many objects were pointed at, the overlaps (IoU) of the answers with them, and
    those of the best masks, an answer or one of its alternatives. `prompts` is how they were pointed at."""

    prompts: str
    labels: tuple[str, ...]
    sums: ImageSums

    @property
    def image_ids(self) -> Ints:
        return self.sums.image_ids

    def of_images(self, images: Ints) -> "PromptedOverlaps":
        return replace(self, sums=self.sums.of_images(images))

    def scores(self, names: Collection[str] | None = None) -> SummedScores:
        """The mean overlaps as functions of how often every image occurs."""
        return SummedScores(self.sums, self._values, names=names, support=self._support)

    def measurements(self) -> tuple[Measurement, ...]:
        """`box-mIoU` of prompts called "box", `box-best-mIoU` and `box-mIoU/bolt`, in [0, 1]."""
        values = self._values(self.sums.total())
        return tuple(Measurement(name=n, value=v, unit="fraction", higher_is_better=True) for n, v in values.items())

    def _values(self, total: Floats) -> Mapping[str, float]:
        return overlap_values(total, prompts=self.prompts, labels=self.labels)

    def _support(self, name: str) -> int:
        cells = np.zeros(self.sums.shape, bool)
        label = name.partition("/")[2]
        cells[self.labels.index(label) if label else slice(None), OBJECTS] = True
        return self.sums.images_with(cells)


def overlap_values(total: Floats, *, prompts: str, labels: Sequence[str]) -> Mapping[str, float]:
    """The means over all objects, and over those of every class; what no object shows is left out."""
    objects, answer, best = total.sum(axis=0)
    if not objects:
        return {}
    present = [index for index in range(len(labels)) if total[index, OBJECTS]]
    return {
        f"{prompts}-mIoU": float(answer / objects),
        f"{prompts}-best-mIoU": float(best / objects),
        **{f"{prompts}-mIoU/{labels[k]}": float(total[k, ANSWER] / total[k, OBJECTS]) for k in present},
    }
