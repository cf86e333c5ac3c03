"""What the scoring of a task gives to the report."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from edgewright.pipeline.per_image import PerImage
from edgewright.pipeline.report.schema import Measurement


@dataclass(frozen=True, eq=False)
class Scored:
    """Measurements of a data set, what a reader has to know of them, and the results of every image."""

    measurements: tuple[Measurement, ...]
    notes: tuple[str, ...]
    per_image: PerImage


def further(results: PerImage, known: Collection[Measurement]) -> tuple[Measurement, ...]:
    """What follows from the results of the images beyond the measurements that are known; what is undefined is left out."""
    names = {measurement.name for measurement in known}
    scores = results.scores()
    values = zip(scores.names, scores.values(np.ones(scores.images, np.int64)).tolist(), strict=True)
    return tuple(
        Measurement(name=name, value=value, unit="fraction", higher_is_better=True)
        for name, value in values
        if name not in names and np.isfinite(value)
    )
