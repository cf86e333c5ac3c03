"""Small objects in large images: a detector looks at overlapping slices of an image, and at all of it; what it says twice is joined.

The idea of Akyon et al., "Slicing Aided Hyper Inference", arXiv:2202.06934; the joining is another. Two slices that overlap have both
seen what lies in both: there, and not in the whole boxes, two detections of one class are compared. A box that ends at an inner edge
of its slice is cut. Uncut ones are the same object when their IoU is a half or more; of a cut one it is enough that half of the smaller
lies in the other. What is uncut in one slice stands for all that is the same; what is cut in all of them becomes the box around them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.runtime.backends import Backend, Setting, Tensors
from edgewright.runtime.errors import UsageError
from edgewright.runtime.geometry import Placement, box_area
from edgewright.runtime.heads import Decode, Outputs
from edgewright.runtime.preprocess import Preprocessor, Tensor
from edgewright.runtime.results import Boxes, BoxMask, Detections, Image
from edgewright.runtime.spec import ModelSpec, PostprocessSpec, PreprocessSpec
from edgewright.runtime.uri import split_options

SizeHW = tuple[int, int]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
# First and last pixel + 1: x1, y1, x2, y2.
Window = tuple[int, int, int, int]

_SIZE = re.compile(r"([1-9]\d*)x([1-9]\d*)")
_SAME = 0.5
# A network ends the box of what it sees in part about so near to the edge, as a share of the slice's side.
_NEAR = 0.02


@dataclass(frozen=True)
class Slicing:
    """Slices of `size_hw` pixels of the image that overlap by at least the share `overlap`, and the `whole` image, if asked for."""

    size_hw: SizeHW
    overlap: float = 0.2
    whole: bool = True

    @property
    def settings(self) -> Mapping[str, Setting]:
        """What reports say of it."""
        size = f"{self.size_hw[0]}x{self.size_hw[1]}"
        return {"tiles": size, "tiles.overlap": self.overlap, "tiles.whole": self.whole}


def parse_slicing(text: str) -> Slicing:
    """`640x640?overlap=0.2&whole=no` (height x width); UsageError for anything else."""
    size, options = split_options("--tiles", text, ("overlap", "whole"))
    match = _SIZE.fullmatch(size)
    if match is None:
        raise UsageError(f"--tiles wants height x width in pixels of the picture, such as 640x640, got '{size}'")
    overlap, whole = options.get("overlap", "0.2"), options.get("whole", "yes")
    if not re.fullmatch(r"0?\.\d+|0", overlap) or float(overlap) > 0.9:
        raise UsageError(f"option overlap of --tiles is a share of a tile from 0 to 0.9, got '{overlap}'")
    if whole not in ("yes", "no"):
        raise UsageError(f"option whole of --tiles is yes or no, got '{whole}'")
    return Slicing((int(match[1]), int(match[2])), float(overlap), whole == "yes")


def check_slicing(spec: ModelSpec) -> None:
    """UsageError unless the network finds objects, and needs nothing but the image."""
    if spec.task not in ("detect", "instance"):
        raise UsageError(
            f"tiles are for networks that find objects, {spec.name} is a {spec.task} network; leave --tiles out"
            + ("; export it with --tile-overlap" if spec.task == "semantic" else "")
        )
    if spec.proposals is not None:
        raise UsageError(f"{spec.name} takes regions from outside, which lie in no tile; leave --tiles out")


def windows(image_hw: SizeHW, slicing: Slicing) -> tuple[Window, ...]:
    """The slices of an image, row by row, all of one size and evenly spread, then the whole image; one where one covers it."""
    height, width = (min(side, length) for side, length in zip(slicing.size_hw, image_hw, strict=True))
    rows, columns = _starts(image_hw[0], height, slicing.overlap), _starts(image_hw[1], width, slicing.overlap)
    slices = tuple((x, y, x + width, y + height) for y in rows for x in columns)
    return (*slices, (0, 0, image_hw[1], image_hw[0])) if slicing.whole and len(slices) > 1 else slices


def _starts(length: int, side: int, overlap: float) -> list[int]:
    step = max(int(side * (1 - overlap)), 1)
    count = -(-(length - side) // step) + 1
    starts: list[int] = np.linspace(0, length - side, count).astype(np.int64).tolist()
    return starts


@dataclass(frozen=True)
class SlicedPlacement(Placement):
    """An image as a whole, with every slice of it and where that lies in its own tensor."""

    slices: tuple[tuple[Window, Placement], ...] = ()


class SlicedPreprocessor:
    """Turns an image into one tensor (T, 1, ...) of all its slices."""

    def __init__(self, spec: PreprocessSpec, slicing: Slicing) -> None:
        self._slicing = slicing
        # Apart, since one that gets images of different sizes in turn clears its canvas every time.
        self._slice, self._whole = Preprocessor(spec), Preprocessor(spec)
        self._tensors = np.empty((0, *spec.tensor_shape), spec.dtype)

    def __call__(self, image: Image) -> tuple[Tensor, Placement]:
        """The tensor of a BGR uint8 image (H, W, 3), overwritten by the next call, and where everything lies in it."""
        source_hw = (image.shape[0], image.shape[1])
        places = windows(source_hw, self._slicing)
        if len(self._tensors) != len(places):
            self._tensors = np.empty((len(places), *self._tensors.shape[1:]), self._tensors.dtype)
        slices = []
        for index, (x1, y1, x2, y2) in enumerate(places):
            is_whole = (y2 - y1, x2 - x1) == source_hw
            tensor, placement = (self._whole if is_whole else self._slice)(image[y1:y2, x1:x2])
            self._tensors[index] = tensor
            slices.append((places[index], placement))
        return self._tensors, SlicedPlacement(source_hw, source_hw, (0, 0), tuple(slices))


class SlicedBackend:
    """A backend that takes the tensor of all slices; the engine sees one slice at a time."""

    def __init__(self, engine: Backend, slicing: Slicing) -> None:
        self.engine = engine
        self.inputs, self.outputs = engine.inputs, engine.outputs
        self.settings: Mapping[str, Setting] = {**engine.settings, **slicing.settings}

    def infer(self, feeds: Tensors) -> dict[str, npt.NDArray[Any]]:
        """The outputs of every slice (T, ...) by name."""
        ((name, tensors),) = feeds.items()
        every: dict[str, npt.NDArray[Any]] = {}
        for index, tensor in enumerate(tensors):
            for output, values in self.engine.infer({name: tensor}).items():
                if index == 0:
                    every[output] = np.empty((len(tensors), *values.shape), values.dtype)
                every[output][index] = values
        return every

    def close(self) -> None:
        self.engine.close()

    def __enter__(self) -> "SlicedBackend":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def sliced(decode: Decode) -> Decode:
    """A head that decodes the outputs of all slices, and joins what it finds in them."""

    def decode_all(outputs: Outputs, spec: ModelSpec, placement: Placement, settings: PostprocessSpec) -> Detections:
        if not isinstance(placement, SlicedPlacement):
            raise UsageError(
                "outputs of tiles came without the places of the tiles; prepare the image with the same predictor"
            )
        found = []
        for index, (_, place) in enumerate(placement.slices):
            result = decode({role: values[index] for role, values in outputs.items()}, spec, place, settings)
            if not isinstance(result, Detections):
                raise UsageError(f"{spec.name} finds no objects; leave --tiles out")
            found.append(result)
        places = [window for window, _ in placement.slices]
        joined = join_slices(found, places, placement.source_hw, class_agnostic=settings.class_agnostic)
        return joined[: settings.max_detections]

    return decode_all


def join_slices(
    found: Sequence[Detections], places: Sequence[Window], image_hw: SizeHW, *, class_agnostic: bool = False
) -> Detections:
    """What was found in slices, in pixels of each, as detections of the whole image, every object once, best first."""
    every = _together(found, places)
    slice_of = np.repeat(np.arange(len(found)), [len(part) for part in found])
    cut = _is_cut(every.boxes_xyxy, np.array(places)[slice_of], image_hw)
    groups = np.zeros(len(every), np.int64) if class_agnostic else every.class_ids
    same = _same_objects(every.boxes_xyxy, groups, cut, slice_of, places)
    objects = list(_objects(every.scores, cut, same))
    joined = replace(
        every[np.array([whole[0] for whole, _ in objects], np.int64)],
        boxes_xyxy=np.array([_around(every.boxes_xyxy[whole]) for whole, _ in objects], np.float32).reshape(-1, 4),
        scores=np.array([every.scores[seen].max() for _, seen in objects], np.float32),
        masks=None
        if every.masks is None
        else tuple(_union([every.masks[index] for index in whole]) for whole, _ in objects),
    )
    return joined[np.argsort(-joined.scores, kind="stable")]


def _together(found: Sequence[Detections], places: Sequence[Window]) -> Detections:
    """All detections in pixels of the image, slice by slice."""
    boxes = [
        part.boxes_xyxy + np.array((x, y, x, y), np.float32) for part, (x, y, *_) in zip(found, places, strict=True)
    ]
    masks = [
        BoxMask((mask.top_left_xy[0] + x, mask.top_left_xy[1] + y), mask.pixels)
        for part, (x, y, *_) in zip(found, places, strict=True)
        for mask in part.masks or ()
    ]
    return Detections(
        np.concatenate(boxes),
        np.concatenate([part.scores for part in found]),
        np.concatenate([part.class_ids for part in found]),
        tuple(masks) if any(part.masks is not None for part in found) else None,
    )


def _is_cut(boxes: Boxes, places: IntArray, image_hw: SizeHW) -> BoolArray:
    """Which boxes (N, 4) end at an edge of their slice (N, 4) that is none of the image."""
    near = (places[:, 2:] - places[:, :2]) * _NEAR
    low = (boxes[:, :2] - places[:, :2] < near) & (places[:, :2] > 0)
    high = (places[:, 2:] - boxes[:, 2:] < near) & (places[:, 2:] < np.array(image_hw[::-1]))
    return np.asarray((low | high).any(axis=1))


def _same_objects(
    boxes: Boxes, groups: IntArray, cut: BoolArray, slice_of: IntArray, places: Sequence[Window]
) -> list[list[int]]:
    """For every detection those of other slices that show the same object."""
    same: list[list[int]] = [[] for _ in boxes]
    members = [np.flatnonzero(slice_of == index) for index in range(len(places))]
    for a, b in combinations(range(len(places)), 2):
        one, two = members[a], members[b]
        shared = _shared(places[a], places[b])
        if shared is None or not len(one) or not len(two):
            continue
        overlap = _overlap(_clipped(boxes[one], shared), _clipped(boxes[two], shared), cut[one][:, None] | cut[two])
        for row, column in np.argwhere((overlap >= _SAME) & (groups[one][:, None] == groups[two])):
            same[one[row]].append(int(two[column]))
            same[two[column]].append(int(one[row]))
    return same


def _shared(a: Window, b: Window) -> Window | None:
    x1, y1, x2, y2 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None


def _clipped(boxes: Boxes, window: Window) -> Boxes:
    low, high = np.array(window[:2] * 2, np.float32), np.array(window[2:] * 2, np.float32)
    return np.asarray(np.clip(boxes, low, high), np.float32)


def _overlap(a: Boxes, b: Boxes, any_cut: BoolArray) -> Boxes:
    """Of boxes (N, 4) and (M, 4) their intersection over their union, or over the smaller where `any_cut` (N, M); 0 for empty
    ones."""
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared = np.maximum(sides, 0).prod(axis=2)
    first, second = box_area(a)[:, None], box_area(b)[None, :]
    whole = np.where(any_cut, np.minimum(first, second), first + second - shared)
    return np.asarray(np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0), np.float32)


def _objects(
    scores: npt.NDArray[np.float32], cut: BoolArray, same: Sequence[Sequence[int]]
) -> Iterator[tuple[list[int], list[int]]]:
    """Of every object the detections that its box is made of, and all that show it; what is uncut comes before what is cut."""
    free = np.ones(len(scores), bool)
    for index in np.lexsort((-scores, cut)).tolist():
        if not free[index]:
            continue
        seen = [index]
        free[index] = False
        for known in seen:
            if known == index or cut[index]:
                further = [other for other in dict.fromkeys(same[known]) if free[other]]
                free[further] = False
                seen.extend(further)
        yield (seen if cut[index] else [index]), seen


def _around(boxes: Boxes) -> Boxes:
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def _union(masks: Sequence[BoxMask]) -> BoxMask:
    """One mask of all the pixels of several."""
    if len(masks) == 1:
        return masks[0]
    corners = np.array([(*mask.top_left_xy, *mask.pixels.shape) for mask in masks])
    x, y = corners[:, :2].min(axis=0).tolist()
    height, width = (corners[:, 1::-1] + corners[:, 2:]).max(axis=0) - (y, x)
    pixels = np.zeros((height, width), bool)
    for mask in masks:
        left, top = mask.top_left_xy[0] - x, mask.top_left_xy[1] - y
        pixels[top : top + mask.pixels.shape[0], left : left + mask.pixels.shape[1]] |= mask.pixels
    return BoxMask((x, y), pixels)
