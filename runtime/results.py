"""What comes in and what goes out: a frame of a source, and what a network found on it."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.runtime.errors import UsageError

Image = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]
BoolMask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class BoxMask:
    """One instance mask, kept cropped: `pixels` (h, w) bool with its top left corner at `top_left_xy` of the image."""

    top_left_xy: tuple[int, int]
    pixels: BoolMask

    def paste(self, size_hw: tuple[int, int]) -> BoolMask:
        """The mask as a full image (H, W) bool; what lies outside the image is cut off."""
        full = np.zeros(size_hw, dtype=bool)
        x, y = self.top_left_xy
        x1, y1 = max(x, 0), max(y, 0)
        x2, y2 = min(x + self.pixels.shape[1], size_hw[1]), min(y + self.pixels.shape[0], size_hw[0])
        if x2 > x1 and y2 > y1:
            full[y1:y2, x1:x2] = self.pixels[y1 - y : y2 - y, x1 - x : x2 - x]
        return full


@dataclass(frozen=True, eq=False)
class Detections:
    """Objects of one image: boxes (N, 4) float32 x1 y1 x2 y2 in source-image pixels, scores (N,) float32 in [0, 1],
    class_ids (N,) int64 into the labels; masks are N cropped masks, track_ids (N,) int64, -1 for what is no track (yet)."""

    boxes_xyxy: Boxes
    scores: npt.NDArray[np.float32]
    class_ids: npt.NDArray[np.int64]
    masks: tuple[BoxMask, ...] | None = None
    track_ids: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.boxes_xyxy.shape != (count, 4) or self.class_ids.shape != (count,):
            raise UsageError(
                f"detections need boxes (N, 4), scores (N,) and class ids (N,), got {self.boxes_xyxy.shape}, "
                f"{self.scores.shape} and {self.class_ids.shape}"
            )
        for name in ("masks", "track_ids"):
            value = getattr(self, name)
            if value is not None and len(value) != count:
                raise UsageError(f"detections hold {count} boxes but {len(value)} {name}")

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, selection: npt.NDArray[Any] | slice) -> "Detections":
        """The selected objects, by boolean mask, indices or slice; every field is filtered alike."""
        chosen = np.arange(len(self))[selection]
        return replace(
            self,
            boxes_xyxy=self.boxes_xyxy[chosen],
            scores=self.scores[chosen],
            class_ids=self.class_ids[chosen],
            masks=None if self.masks is None else tuple(self.masks[i] for i in chosen),
            track_ids=None if self.track_ids is None else self.track_ids[chosen],
        )

    @staticmethod
    def empty() -> "Detections":
        """No objects."""
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


@dataclass(frozen=True, eq=False)
class SemanticMap:
    """A class for every pixel: class_ids (H, W) integer, in source-image pixels."""

    class_ids: npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic map; `score` is None where the network gives none (stuff, ground truth)."""

    segment_id: int
    class_id: int
    is_thing: bool
    score: float | None = None


@dataclass(frozen=True, eq=False)
class PanopticMap:
    """A segment for every pixel: segment_ids (H, W) int32, 0 where nothing was assigned."""

    segment_ids: npt.NDArray[np.int32]
    segments: tuple[Segment, ...]


Result = Detections | SemanticMap | PanopticMap


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a source: image BGR uint8 (H, W, 3), monotonic capture time in seconds, and the labels that a
    labelled source knows (`truth`). `origin` is the name of its source among several of one run, else ""."""

    image: Image
    index: int
    time_s: float
    source: str
    truth: Result | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    origin: str = ""

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.image.shape[0], self.image.shape[1]

    @property
    def names(self) -> tuple[str, str]:
        """What files may know the picture by: the file that it comes from, and its number in the source."""
        return Path(self.source).name, str(self.index)
