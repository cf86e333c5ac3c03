"""A labelled film of a conveyor belt, drawn by seed: `synthetic:7:100?size=480x640&fps=30`."""

import re
import time
from collections.abc import Iterator

import numpy as np

from edgewright.runtime import conveyor
from edgewright.runtime.errors import UsageError
from edgewright.runtime.results import Detections, Frame
from edgewright.runtime.sources import Source
from edgewright.runtime.uri import positive_number, size_hw, split_options

_GRAMMAR = "synthetic:[SEED[:COUNT]][?size=HEIGHTxWIDTH&fps=RATE]"
_MEDIA_FPS = 30.0


def from_uri(text: str) -> "SyntheticSource":
    """The film of `[SEED[:COUNT]]`, seed 0 and no end by default: 30 frames a second of belt, as fast as they are drawn.

    With `fps` it is a live film: that many frames a second of belt and of wall clock.
    """
    location, options = split_options("source synthetic", text, ("size", "fps"))
    match = re.fullmatch(r"(\d*)(?::(\d+))?", location)
    if match is None or (match[2] is not None and int(match[2]) == 0):
        raise UsageError(f"source 'synthetic:{location}' does not follow {_GRAMMAR} with a COUNT of at least 1")
    fps = options.get("fps")
    return SyntheticSource(
        int(match[1] or 0),
        int(match[2]) if match[2] else None,
        size_hw=size_hw("option size of source synthetic", options.get("size", "480x640")),
        fps=_MEDIA_FPS if fps is None else positive_number("option fps of source synthetic", fps, at_most=1000),
        live=fps is not None,
    )


class SyntheticSource(Source):
    """Frames 0, 1, 2, ... of the film of one seed, with their boxes and masks as `truth`."""

    labels = conveyor.LABELS

    def __init__(
        self, seed: int, count: int | None, *, size_hw: tuple[int, int], fps: float, live: bool = False
    ) -> None:
        self.name = f"synthetic:{seed}" + (f":{count}" if count else "")
        self.length = count
        self.fps: float = fps
        self.live = live
        self._seed = seed
        self._size_hw = size_hw

    def __iter__(self) -> Iterator[Frame]:
        start, index = time.monotonic(), 0
        while self.length is None or index < self.length:
            drawn = conveyor.render(self._seed, index, self._size_hw, frame_rate=self.fps)
            if self.live:
                time.sleep(max(0.0, start + index / self.fps - time.monotonic()))
            truth = Detections(
                drawn.boxes_xyxy, np.ones(len(drawn.class_ids), np.float32), drawn.class_ids, drawn.masks
            )
            meta = {"pos_msec": index / self.fps * 1000}
            yield Frame(drawn.image, index, time.monotonic(), self.name, truth, meta)
            index += 1
