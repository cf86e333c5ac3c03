"""Whether pictures, or a bundle's colour order, are the wrong way round: a network is surer of the colours it was trained on."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.calibration.samples import Candidate
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import CalibrationError
from edgewright.runtime.predictor import Predictor, open_predictor
from edgewright.runtime.results import Detections, Image
from edgewright.runtime.spec import Strict

# A network that does not care for colours is refused on one set of images in 700.
SURE = 3.0
_MOST_IMAGES = 64
_LEAST_SCORE = 0.05
_OBJECTS = 10


class ColorOrder(Strict):
    """How sure a network is on average of pictures as they are, and with red and blue exchanged; t is that of the paired
    differences, above 0 where it is surer as they are."""

    images: int
    given: float
    exchanged: float
    t: float


def check_color_order(found: ColorOrder | None, bundle: Bundle) -> None:
    """CalibrationError when the network is surer of the images with red and blue exchanged, beyond chance."""
    if found is not None and found.t < -SURE:
        raise CalibrationError(
            f"{bundle.spec.name} is surer of the calibration images with red and blue exchanged ({found.exchanged:.3f} for "
            f"{found.given:.3f} on {found.images} images, t = {-found.t:.1f}): either they or the bundle's colour order "
            f"{bundle.spec.preprocess.color} is the wrong way round; read the images anew, or export with the other --color; "
            "--allow-color-order insists"
        )


def color_order(
    bundle: Bundle, images: Sequence[Candidate], *, backend: str, threads: int | None = None
) -> ColorOrder | None:
    """How sure the network is, on at most 64 of the images; None where its outputs say nothing of that, or colours do not count."""
    spec = bundle.spec
    if spec.task not in ("detect", "instance", "semantic") or spec.preprocess.color == "gray":
        return None
    settings = spec.postprocess.model_copy(update={"conf_threshold": _LEAST_SCORE})
    with open_predictor(bundle, backend=backend, threads=threads, postprocess=settings) as predictor:
        pairs = [_pair(predictor, candidate) for candidate in images[:_MOST_IMAGES]]
    given, exchanged = np.array([pair for pair in pairs if None not in pair], np.float64).reshape(-1, 2).T
    spread = float((given - exchanged).std(ddof=1)) if len(given) > 1 else 0.0
    if spread == 0:
        return None
    t = float((given - exchanged).mean()) / (spread / math.sqrt(len(given)))
    return ColorOrder(images=len(given), given=float(given.mean()), exchanged=float(exchanged.mean()), t=t)


def _pair(predictor: Predictor, candidate: Candidate) -> tuple[float | None, float | None]:
    image = candidate.image()
    regions = predictor.propose(image, (candidate.name,))
    exchanged = np.ascontiguousarray(image[:, :, ::-1])
    return _sureness(predictor, image, regions), _sureness(predictor, exchanged, regions)


def _sureness(predictor: Predictor, image: Image, regions: Any) -> float | None:
    """The mean score of the ten surest objects, or the mean probability of the pixels' classes."""
    feeds, placement = predictor.prepare(image, regions)
    outputs = predictor.infer(feeds)
    if predictor.spec.task == "semantic":
        ((role, name),) = predictor.spec.head.outputs.items()
        return sureness_of_pixels(role, np.asarray(outputs[name], np.float32))
    result = predictor.finish(outputs, placement)
    if not isinstance(result, Detections):
        return None
    return float(np.sort(result.scores)[::-1][:_OBJECTS].sum()) / _OBJECTS


def sureness_of_pixels(role: str, values: npt.NDArray[np.float32]) -> float | None:
    """The mean probability of every pixel's class, of an output of the semantic head; None for class ids."""
    if role == "class_ids":
        return None
    if role == "probability":
        return float(np.maximum(values, 1 - values).mean())
    planes = values.reshape(-1, *values.shape[-2:])
    if planes.min() >= 0 and np.allclose(planes.sum(axis=0), 1, atol=1e-3):
        return float(planes.max(axis=0).mean())
    return float((1 / np.exp(planes - planes.max(axis=0)).sum(axis=0)).mean())
