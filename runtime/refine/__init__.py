"""A map of classes is fitted to the edges of the picture that it was made from.

Every file of this folder has `refine(probabilities (C, h, w) float32, image BGR uint8 (h, w, 3)) -> (C, h, w) float32`, the
probabilities after a look at the picture.
"""

from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgewright.runtime import plugins
from edgewright.runtime.errors import UsageError
from edgewright.runtime.results import Image
from edgewright.runtime.spec import ModelSpec

Probabilities = npt.NDArray[np.float32]


class Refine(Protocol):
    def __call__(self, probabilities: Probabilities, image: Image) -> Probabilities: ...


@lru_cache
def refinement(name: str) -> Refine:
    """The function of a refinement; looked up once, not in every frame."""
    refine: Refine = plugins.load(__name__, name).refine
    return refine


def check_refinement(spec: ModelSpec, name: str | None) -> None:
    """UsageError unless the network gives what the refinement `name` works on; None is always right."""
    if name is None:
        return
    if spec.task != "semantic":
        raise UsageError(
            f"refinement '{name}' is for maps of classes, {spec.name} is a {spec.task} network; leave it out"
        )
    if "class_ids" in spec.head.outputs:
        raise UsageError(
            f"refinement '{name}' needs probabilities, {spec.name} gives class ids alone; export it without its arg-max"
        )
    refinement(name)
