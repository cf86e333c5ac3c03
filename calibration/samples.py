"""Which images a network is calibrated on: chosen for coverage, checked, and written down."""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgewright.runtime.errors import CalibrationError, EdgeError
from edgewright.runtime.results import Image
from edgewright.runtime.spec import Strict

# Ranges of a detector were off by several percent below it (and those of eight images by tens).
FEWEST = 32
# NVIDIA and NNCF both recommend about 300 (TensorRT developer guide, NNCF's default subset size).
USUAL = 300
# Images that are looked at for each one that is chosen: reading a large data set whole takes longer than calibrating.
_LOOKED_AT = 4
_DULL = 2.0  # grey levels of standard deviation: a lens cap, a wall, an empty buffer
_SCENES = 8
_THUMBNAIL = 8
# Limits of small and medium objects as a share of the image: 32 and 96 pixels squared of 640 x 480 (COCO).
_SIZES = (32**2 / (640 * 480), 96**2 / (640 * 480))


@dataclass(frozen=True)
class Candidate:
    """An image that may be taken: its name, the digest of its content, and what the labels know of it.

    `sizes` are the areas of its objects as shares of the image.
    """

    name: str
    sha256: str
    image: Callable[[], Image]
    classes: tuple[str, ...] = ()
    sizes: tuple[float, ...] = ()


@dataclass(frozen=True)
class CalibrationSet:
    """The chosen images, in a fixed order, and the record of how they were chosen."""

    images: tuple[Candidate, ...]
    audit: "Audit"


class Audit(Strict):
    """What a network was calibrated on. `classes` counts the chosen images that show each class, `unseen` names the classes
    that none does; `brightness` counts images by tenths of the range; `overlap` are images that are scored on as well."""

    source: str
    available: int
    looked_at: int
    count: int
    seed: int
    digest: str
    files: tuple[tuple[str, str], ...]
    classes: dict[str, int]
    unseen: tuple[str, ...]
    brightness: tuple[int, ...]
    overlap: tuple[str, ...] = ()
    curve: tuple[tuple[int, float], ...] = ()
    enough: int | None = None


@dataclass(frozen=True, eq=False)
class _Look:
    brightness: float
    spread: float
    thumbnail: npt.NDArray[np.float32]


def choose(
    candidates: Sequence[Candidate],
    *,
    source: str,
    count: int = USUAL,
    seed: int = 0,
    labels: Sequence[str] = (),
    evaluation: Collection[str] = (),
    allow_overlap: bool = False,
    fewest: int = FEWEST,
) -> CalibrationSet:
    """`count` images, or all where there are fewer, that cover classes, brightness, object sizes and scenes evenly.

    `evaluation` holds the digests of the images that will be scored. CalibrationError for fewer than `fewest` images, for
    unreadable ones, for pictures of nothing, and for images that are scored on as well unless that is allowed.
    """
    distinct = list({candidate.sha256: candidate for candidate in candidates}.values())
    _check_count(len(distinct), len(candidates), count, source, fewest)
    order = np.random.default_rng(seed).permutation(len(distinct))
    looked_at = [distinct[index] for index in order[: _LOOKED_AT * count]]
    looks = [_look(candidate) for candidate in looked_at]
    _refuse_dull(looked_at, looks, source)
    picked = _covering(_attributes(looked_at, looks, seed), min(count, len(looked_at)))
    chosen = tuple(looked_at[index] for index in picked)
    overlap = tuple(image.name for image in chosen if image.sha256 in evaluation)
    if overlap and not allow_overlap:
        raise CalibrationError(
            f"{source}: {len(overlap)} of {len(chosen)} calibration images are scored on as well (first: {overlap[0]}), so the "
            "score would flatter the quantized network; calibrate on other images, or insist with --allow-overlap"
        )
    brightness, _ = np.histogram([looks[index].brightness for index in picked], bins=10, range=(0, 256))
    classes = _images_by_class(chosen)
    audit = Audit(
        source=source,
        available=len(distinct),
        looked_at=len(looked_at),
        count=len(chosen),
        seed=seed,
        digest=hashlib.sha256("\n".join(image.sha256 for image in chosen).encode()).hexdigest(),
        files=tuple((image.name, image.sha256) for image in chosen),
        classes=classes,
        unseen=tuple(label for label in labels if classes and label not in classes),
        brightness=tuple(int(number) for number in brightness),
        overlap=overlap,
    )
    return CalibrationSet(chosen, audit)


def _check_count(distinct: int, given: int, count: int, source: str, fewest: int) -> None:
    if min(distinct, count) < fewest:
        same = f" ({given} files, but the same pictures again)" if distinct < given else ""
        raise CalibrationError(
            f"{source}: {min(distinct, count)} calibration images{same}, at least {fewest} are wanted: ranges of fewer miss what "
            f"the camera will see; give more images, or insist with --min-images {max(min(distinct, count), 1)}"
        )


def _look(candidate: Candidate) -> _Look:
    try:
        image = candidate.image()
    except EdgeError as err:
        raise CalibrationError(
            f"calibration image {candidate.name} cannot be read ({err}); remove or replace it"
        ) from err
    small = cv2.resize(image, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32)
    return _Look(float(image.mean()), float(image.std()), small.reshape(-1))


def _refuse_dull(candidates: Sequence[Candidate], looks: Sequence[_Look], source: str) -> None:
    dull = [candidate.name for candidate, look in zip(candidates, looks, strict=True) if look.spread < _DULL]
    if dull:
        raise CalibrationError(
            f"{source}: {len(dull)} calibration images show one colour only (first: {dull[0]}); ranges are not measured on "
            "pictures of nothing, remove them"
        )


def _attributes(candidates: Sequence[Candidate], looks: Sequence[_Look], seed: int) -> list[frozenset[str]]:
    """What each image contributes: its classes, sizes of objects, brightness, contrast and kind of scene."""
    scenes = _scenes(np.stack([look.thumbnail for look in looks]), seed)
    return [
        frozenset(
            (
                *(f"class {name}" for name in candidate.classes),
                *(f"size {int(np.searchsorted(_SIZES, size))}" for size in candidate.sizes),
                f"brightness {int(look.brightness // 25.6)}",
                f"contrast {min(int(look.spread // 16), 5)}",
                f"scene {scene}",
            )
        )
        for candidate, look, scene in zip(candidates, looks, scenes, strict=True)
    ]


def _scenes(thumbnails: npt.NDArray[np.float32], seed: int) -> list[int]:
    clusters = min(_SCENES, len(thumbnails))
    if clusters == 1:
        return [0]
    cv2.setRNGSeed(seed & 0x7FFFFFFF)
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 1.0)
    _, assigned, _ = cv2.kmeans(thumbnails, clusters, np.empty(0, np.int32), criteria, 2, cv2.KMEANS_PP_CENTERS)
    return [int(number) for number in np.asarray(assigned).reshape(-1)]


def _covering(attributes: Sequence[frozenset[str]], count: int) -> list[int]:
    """Indices in the order in which they were picked: each time the image whose attributes are the rarest so far."""
    seen: Counter[str] = Counter()
    left, picked = list(range(len(attributes))), []
    for _ in range(count):
        best = max(left, key=lambda index: sum(1.0 / (1 + seen[name]) for name in attributes[index]))
        left.remove(best)
        picked.append(best)
        seen.update(attributes[best])
    return picked


def _images_by_class(chosen: Sequence[Candidate]) -> dict[str, int]:
    """How many images show each class; empty without labels."""
    return dict(sorted(Counter(name for candidate in chosen for name in set(candidate.classes)).items()))
