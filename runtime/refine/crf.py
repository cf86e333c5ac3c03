"""A fully connected conditional random field: pixels of like colour that lie close together get the same class.

Krähenbühl, Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", arXiv:1210.5644; as DeepLab
uses it (Chen et al., arXiv:1606.00915, section 3.3).
"""

import numpy as np
from pydensecrf.densecrf import DenseCRF2D

from edgewright.runtime.refine import Probabilities
from edgewright.runtime.results import Image

# arXiv:1606.00915, section 4.1: 10 mean-field iterations, and weights and widths from a search on PASCAL VOC. These are the
# ones published with DeepLab-v2 ResNet-101. Widths are in pixels of pictures 500 px long, and in levels of 255.
_ITERATIONS = 10
_NEAR_WEIGHT, _NEAR_WIDTH_PX = 3, 1
_ALIKE_WEIGHT, _ALIKE_WIDTH_PX, _ALIKE_WIDTH_LEVELS = 4, 67, 3
# A class that is nowhere more likely takes no part: the time grows with the classes, and few of them are in a picture.
_LEAST_PEAK = 0.05
_LEAST_PROBABILITY = 1e-8


def refine(probabilities: Probabilities, image: Image) -> Probabilities:
    """The probabilities (C, h, w) after the mean-field iterations; 0 for classes that are nowhere likely."""
    present = np.flatnonzero(probabilities.max(axis=(1, 2)) >= _LEAST_PEAK)
    if len(present) < 2:
        return probabilities
    height, width = probabilities.shape[1:]
    field = DenseCRF2D(width, height, len(present))
    likely = np.maximum(probabilities[present], _LEAST_PROBABILITY)
    field.setUnaryEnergy(np.ascontiguousarray(-np.log(likely).reshape(len(present), -1), np.float32))
    field.addPairwiseGaussian(sxy=_NEAR_WIDTH_PX, compat=_NEAR_WEIGHT)
    field.addPairwiseBilateral(
        sxy=_ALIKE_WIDTH_PX, srgb=_ALIKE_WIDTH_LEVELS, rgbim=np.ascontiguousarray(image), compat=_ALIKE_WEIGHT
    )
    refined = np.zeros_like(probabilities)
    refined[present] = np.asarray(field.inference(_ITERATIONS), np.float32).reshape(len(present), height, width)
    return refined
