"""Images for calibration from any data set, folder or video."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgewright.calibration.observe import Feeds
from edgewright.calibration.samples import Candidate
from edgewright.pipeline.datasets import BoxDataset, Dataset, MaskDataset, Sample, open_dataset
from edgewright.runtime.backends import Setting, Tensors
from edgewright.runtime.bundle import Bundle, file_sha256
from edgewright.runtime.errors import CalibrationError
from edgewright.runtime.predictor import Predictor
from edgewright.runtime.proposals import open_method
from edgewright.runtime.results import Image
from edgewright.runtime.sources import IMAGE_SUFFIXES, open_source
from edgewright.runtime.spec import ModelSpec, TensorSpec

# Frames of a video that are kept as candidates: neighbours show the same.
_MOST_FRAMES = 1200
_TILES_OF_AN_IMAGE = 4


def candidates(uri: str) -> list[Candidate]:
    """Every image that `uri` names: a data set, a folder of images, a video file, or what a run recorded, `replay:DIR`."""
    path = Path(uri)
    if uri.startswith("replay:") or (path.is_file() and path.suffix.lower() not in IMAGE_SUFFIXES):
        return list(_frames(uri))
    dataset = open_dataset(uri)
    known = _known_of(dataset)
    return [_candidate(sample, *known.get(sample.image_id, ((), ()))) for sample in dataset]


def digests(dataset: Dataset) -> frozenset[str]:
    """The digests of the images of a data set, as candidates have them."""
    return frozenset(_candidate(sample, (), ()).sha256 for sample in dataset)


def feeds_of(bundle: Bundle, images: tuple[Candidate, ...], *, seed: int = 0) -> list[Callable[[], Feeds]]:
    """What the network's graph is fed with for each image, through the bundle's own pre-processing.

    Of an image that is cut into tiles, four of them.
    """
    if bundle.spec.task == "prompted":
        raise CalibrationError(
            f"{bundle.spec.name} is a promptable network of several graphs, which is not quantized yet; run it in fp32"
        )
    tap = _Tap(bundle.spec)
    wanted = bundle.spec.proposals
    method = None if wanted is None else open_method(wanted.method)
    predictor = Predictor(bundle.spec, tap, bundle.spec.postprocess, method=method)
    tiles = 1 if bundle.spec.tiling is None else _TILES_OF_AN_IMAGE
    return [
        partial(_tapped, predictor, tap, image, tile, seed + number)
        for number, image in enumerate(images)
        for tile in range(tiles)
    ]


def _tapped(predictor: Predictor, tap: "_Tap", image: Candidate, tile: int, seed: int) -> Feeds:
    picture = image.image()
    tap.seen.clear()
    feeds, _ = predictor.prepare(picture, predictor.propose(picture, (image.name,)))
    predictor.infer(feeds)
    order = np.random.default_rng(seed).permutation(len(tap.seen))
    return tap.seen[int(order[tile % len(order)])]


class _Tap:
    """A backend that remembers what it is fed with and answers zeros."""

    def __init__(self, spec: ModelSpec) -> None:
        self.inputs: tuple[TensorSpec, ...] = spec.inputs
        self.outputs: tuple[TensorSpec, ...] = spec.outputs
        self.settings: dict[str, Setting] = {}
        self.seen: list[Feeds] = []

    def infer(self, feeds: Tensors) -> dict[str, Any]:
        self.seen.append({name: value.copy() for name, value in feeds.items()})
        return {tensor.name: np.zeros([int(size) for size in tensor.shape], tensor.dtype) for tensor in self.outputs}

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> "_Tap":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _candidate(sample: Sample, classes: tuple[str, ...], sizes: tuple[float, ...]) -> Candidate:
    if sample.path is None:
        return Candidate(str(sample.image_id), _pixels_sha256(sample.image()), sample.image, classes, sizes)
    try:
        digest = file_sha256(sample.path)
    except OSError as err:
        raise CalibrationError(
            f"calibration image {sample.path} cannot be read ({err.strerror}); remove or replace it"
        ) from err
    return Candidate(sample.path.name, digest, sample.image, classes, sizes)


def _pixels_sha256(image: Image) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()


def _known_of(dataset: Dataset) -> dict[int, tuple[tuple[str, ...], tuple[float, ...]]]:
    """Labels and object sizes (shares of the image) by image id, where the data set knows them."""
    if isinstance(dataset, MaskDataset) and not isinstance(dataset, BoxDataset):
        return _known_of_masks(dataset)
    if not isinstance(dataset, BoxDataset):
        return {}
    truth = dataset.coco_ground_truth()
    names = {category["id"]: category["name"] for category in truth["categories"]}
    areas = {image["id"]: max(image["height"] * image["width"], 1) for image in truth["images"]}
    classes: dict[int, list[str]] = defaultdict(list)
    sizes: dict[int, list[float]] = defaultdict(list)
    for entry in truth["annotations"]:
        number = entry["image_id"]
        classes[number].append(names[entry["category_id"]])
        sizes[number].append(entry["area"] / areas[number])
    return {number: (tuple(classes[number]), tuple(sizes[number])) for number in areas}


def _known_of_masks(dataset: MaskDataset) -> dict[int, tuple[tuple[str, ...], tuple[float, ...]]]:
    names = {category.id: category.name for category in dataset.classes}
    known: dict[int, tuple[tuple[str, ...], tuple[float, ...]]] = {}
    for sample in dataset:
        ids = np.unique(dataset.class_mask(sample.image_id))
        known[sample.image_id] = (tuple(names.get(int(number), str(number)) for number in ids), ())
    return known


def _frames(uri: str) -> Iterator[Candidate]:
    """Frames of a video or a recording, evenly spread; they are kept in memory, compressed."""
    import cv2

    with open_source(uri) as source:
        step = max(1, (source.length or _MOST_FRAMES) // _MOST_FRAMES)
        for frame in source:
            if frame.index % step:
                continue
            done, packed = cv2.imencode(".png", frame.image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
            if not done:
                raise CalibrationError(f"frame {frame.index} of {uri} cannot be kept; check what it comes from")
            yield Candidate(f"{Path(uri).name}#{frame.index}", _pixels_sha256(frame.image), partial(_unpacked, packed))


def _unpacked(packed: Any) -> Image:
    import cv2

    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
