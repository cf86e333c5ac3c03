"""Drawn scenes as network inputs, drawn by several processes, and batches of them."""

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from edgewright.runtime.conveyor import render_scene
from edgewright.runtime.geometry import Placement
from edgewright.runtime.preprocess import preprocess
from edgewright.runtime.spec import PreprocessSpec


@dataclass(frozen=True, eq=False)
class Scene:
    """One scene: the input tensor (3, H, W) uint8; boxes (N, 4) in pixels of the tensor; class ids (N,); areas (N,) of
    the masks in pixels of the picture; where the picture lies in the tensor."""

    tensor: npt.NDArray[np.uint8]
    boxes_xyxy: npt.NDArray[np.float32]
    class_ids: npt.NDArray[np.int64]
    areas: npt.NDArray[np.int64]
    placement: Placement


def draw_scene(seed: int, spec: PreprocessSpec, index: int) -> Scene:
    """Scene `index` of the collection `seed`, through the same pre-processing as on the device."""
    picture = render_scene(seed, index)
    tensor, placement = preprocess(picture.image, spec)
    areas = np.array([mask.pixels.sum() for mask in picture.masks], np.int64)
    boxes = placement.to_tensor(picture.boxes_xyxy)
    return Scene(np.asarray(tensor[0], np.uint8), boxes, picture.class_ids, areas, placement)


def draw_scenes(seed: int, count: int, spec: PreprocessSpec, *, processes: int) -> Iterator[Scene]:
    """Scenes 0 .. count - 1 in order."""
    draw = partial(draw_scene, seed, spec)
    if processes < 2:
        yield from map(draw, range(count))
        return
    # A fresh interpreter, since a fork would copy the locks of the training library's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_prepare_worker) as pool:
        yield from pool.map(draw, range(count), chunksize=8)


def flipped(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene, by chance mirrored left to right and top to bottom; the padding stays where it is."""
    tensor, boxes = scene.tensor, scene.boxes_xyxy
    h, w = scene.placement.placed_hw
    if rng.random() < 0.5:
        tensor = np.concatenate([tensor[:, :, w - 1 :: -1], tensor[:, :, w:]], axis=2)
        boxes = np.stack([w - boxes[:, 2], boxes[:, 1], w - boxes[:, 0], boxes[:, 3]], axis=1)
    if rng.random() < 0.5:
        tensor = np.concatenate([tensor[:, h - 1 :: -1], tensor[:, h:]], axis=1)
        boxes = np.stack([boxes[:, 0], h - boxes[:, 3], boxes[:, 2], h - boxes[:, 1]], axis=1)
    return Scene(tensor, boxes, scene.class_ids, scene.areas, scene.placement)


def _prepare_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
