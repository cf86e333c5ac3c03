"""Drawn scenes as network inputs, drawn by several processes, and batches of them."""

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgewright.runtime.conveyor import render_scene
from edgewright.runtime.geometry import Placement, place
from edgewright.runtime.preprocess import preprocess
from edgewright.runtime.spec import PreprocessSpec

T = TypeVar("T")

# Cameras differ in gain and colour more than a few thousand scenes show.
_GAIN_SPREAD = 0.12


@dataclass(frozen=True, eq=False)
class Scene:
    """One scene: an input tensor (3, H, W) uint8 for every size that is wanted; boxes (N, 4) in pixels of the picture; class
    ids (N,); the owner (h, w) of every pixel of the picture, 0 for none and i + 1 for object i."""

    tensors: tuple[npt.NDArray[np.uint8], ...]
    boxes_xyxy: npt.NDArray[np.float32]
    class_ids: npt.NDArray[np.int64]
    owners: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Truth:
    """The objects of one picture: boxes (N, 4) x1 y1 x2 y2 in pixels of the input, class ids (N,)."""

    boxes_xyxy: Tensor
    class_ids: Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """Pictures (B, 3, H, W) float BGR 0..255; the objects of each; the owners (B, H, W) of the pixels, 0 for none and
    i + 1 for object i; and where regions were proposed, the regions (K, 4) of each, in pixels of the input."""

    pictures: Tensor
    truths: list[Truth]
    owners: Tensor
    regions: list[Tensor] | None = None

    @property
    def class_maps(self) -> Tensor:
        """The class (B, H, W) of every pixel: 0 for the background, then the labels."""
        maps = []
        for owners, truth in zip(self.owners, self.truths, strict=True):
            table = torch.cat([truth.class_ids.new_zeros(1), truth.class_ids + 1])
            maps.append(table[owners.long()])
        return torch.stack(maps)


@dataclass(frozen=True, eq=False)
class Collection:
    """Many scenes: tensors (S, 3, H, W) uint8, owners (S, h, w) uint8, boxes (S, N, 4) in pixels of the picture and class ids
    (S, N), of which the first counts (S,) are real; and proposed regions (S, K, 4) where there are any, padded with zeros."""

    spec: PreprocessSpec
    tensors: Tensor
    owners: Tensor
    boxes_xyxy: Tensor
    class_ids: Tensor
    counts: Tensor
    regions: Tensor | None = None

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def placement(self) -> Placement:
        h, w = self.owners.shape[1:]
        return place((int(h), int(w)), self.spec)

    def on(self, device: str) -> "Collection":
        """The same in the memory of a device."""
        moved = {name: getattr(self, name).to(device) for name in _TENSORS}
        return replace(self, **moved, regions=None if self.regions is None else self.regions.to(device))

    def first(self, count: int) -> "Collection":
        """The first so many scenes."""
        return replace(self, **{name: getattr(self, name)[:count] for name in _TENSORS})

    def batch(self, indices: Sequence[int]) -> Batch:
        """The scenes of these indices as they are."""
        chosen = torch.as_tensor(indices, device=self.tensors.device)
        counts = self.counts[chosen].tolist()
        scale = self.boxes_xyxy.new_tensor(self.placement.scale_xy * 2)
        boxes, classes = self.boxes_xyxy[chosen] * scale, self.class_ids[chosen]
        truths = [Truth(b[:n], c[:n]) for b, c, n in zip(boxes, classes, counts, strict=True)]
        regions = None
        if self.regions is not None:
            regions = [r[(r[:, 2] > r[:, 0])] * scale for r in self.regions[chosen].float()]
        return Batch(self.tensors[chosen].float(), truths, self._owners(chosen), regions)

    def _owners(self, chosen: Tensor) -> Tensor:
        """The owners at the size of the tensors, nobody in the padding, which lies below and to the right."""
        (h, w), (th, tw) = self.placement.placed_hw, self.spec.size_hw
        placed = torch.nn.functional.interpolate(self.owners[chosen][:, None], (h, w), mode="nearest-exact")
        return torch.nn.functional.pad(placed[:, 0], (0, tw - w, 0, th - h))


_TENSORS = ("tensors", "owners", "boxes_xyxy", "class_ids", "counts")


def draw_scene(seed: int, specs: Sequence[PreprocessSpec], index: int) -> Scene:
    """Scene `index` of the collection `seed`, through the same pre-processing as on the device; specs without scaling."""
    picture = render_scene(seed, index)
    tensors = tuple(np.asarray(preprocess(picture.image, spec)[0][0], np.uint8) for spec in specs)
    size_hw = picture.image.shape[0], picture.image.shape[1]
    owners = np.zeros(size_hw, np.uint8)
    for number, mask in enumerate(picture.masks, start=1):
        owners[mask.paste(size_hw)] = number
    return Scene(tensors, picture.boxes_xyxy, picture.class_ids, owners)


def draw_scenes(seed: int, count: int, specs: Sequence[PreprocessSpec], *, processes: int) -> Iterator[Scene]:
    """Scenes 0 .. count - 1 in order."""
    yield from mapped(partial(draw_scene, seed, specs), range(count), processes=processes)


def mapped(function: Callable[[int], T], indices: Iterable[int], *, processes: int) -> Iterator[T]:
    """What the function makes of the indices, in order, by so many processes."""
    if processes < 2:
        yield from map(function, indices)
        return
    # A fresh interpreter, since a fork would copy the locks of the training library's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_prepare_worker) as pool:
        yield from pool.map(function, indices, chunksize=8)


def collected(scenes: Iterable[Scene], count: int, specs: Sequence[PreprocessSpec]) -> list[Collection]:
    """The scenes, `count` of them, as a collection for each of the specs; they share all but the tensors."""
    drawn = iter(scenes)
    first = next(drawn)
    tensors = [np.empty((count, *tensor.shape), np.uint8) for tensor in first.tensors]
    owners = np.empty((count, *first.owners.shape), np.uint8)
    objects: list[tuple[Tensor, Tensor]] = []
    for index, scene in enumerate(chain([first], drawn)):
        owners[index] = scene.owners
        for of_size, tensor in zip(tensors, scene.tensors, strict=True):
            of_size[index] = tensor
        objects.append((torch.from_numpy(scene.boxes_xyxy.copy()), torch.from_numpy(scene.class_ids)))
    pad = partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
    boxes, class_ids = pad([boxes for boxes, _ in objects]), pad([classes for _, classes in objects])
    counts = torch.tensor([len(classes) for _, classes in objects])
    return [
        Collection(spec, torch.from_numpy(of_size), torch.from_numpy(owners), boxes, class_ids, counts)
        for spec, of_size in zip(specs, tensors, strict=True)
    ]


def varied(batch: Batch, placement: Placement, rng: np.random.Generator) -> Batch:
    """The batch, each scene by chance mirrored left to right and top to bottom, under light of another colour.

    The padding stays where it is.
    """
    h, w = placement.placed_hw
    size, device = len(batch.truths), batch.pictures.device
    mirrored = rng.random((2, size)) < 0.5
    pictures, owners = batch.pictures.clone(), batch.owners.clone()
    for axis, chosen in ((-1, mirrored[0]), (-2, mirrored[1])):
        which = torch.from_numpy(np.flatnonzero(chosen)).to(device)
        pictures[which, :, :h, :w] = pictures[which, :, :h, :w].flip(axis)
        owners[which, :h, :w] = owners[which, :h, :w].flip(axis)
    gains = torch.from_numpy(np.exp(rng.normal(0, _GAIN_SPREAD, (size, 3, 1, 1))).astype(np.float32)).to(device)
    flips = [(bool(a), bool(b)) for a, b in mirrored.T]
    truths = [
        replace(truth, boxes_xyxy=_mirrored(truth.boxes_xyxy, flip, (h, w)))
        for truth, flip in zip(batch.truths, flips, strict=True)
    ]
    regions = batch.regions and [_mirrored(r, flip, (h, w)) for r, flip in zip(batch.regions, flips, strict=True)]
    return Batch((pictures * gains).clamp_(0, 255), truths, owners, regions)


def save(collections: Sequence[Collection], path: Path) -> None:
    """Write what `collected` made to a safetensors file."""
    from safetensors.torch import save_file

    shared = {name: getattr(collections[0], name) for name in _TENSORS[1:]}
    save_file({**shared, **{_size(c.spec): c.tensors for c in collections}}, str(path))


def load(path: Path, spec: PreprocessSpec) -> Collection:
    """The collection for a spec of a file that `save` wrote."""
    from safetensors import safe_open

    with safe_open(str(path), "pt") as file:
        return Collection(spec, *(file.get_tensor(name) for name in (_size(spec), *_TENSORS[1:])))


def _size(spec: PreprocessSpec) -> str:
    return f"{spec.size_hw[0]}x{spec.size_hw[1]}"


def _mirrored(boxes: Tensor, flip: tuple[bool, bool], size_hw: tuple[int, int]) -> Tensor:
    (h, w), (x1, y1, x2, y2) = size_hw, boxes.unbind(1)
    if flip[0]:
        x1, x2 = w - x2, w - x1
    if flip[1]:
        y1, y2 = h - y2, h - y1
    return torch.stack([x1, y1, x2, y2], dim=1)


def _prepare_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
